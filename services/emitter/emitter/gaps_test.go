package emitter

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/reader"
)

// newTestPauser returns a pauser that does not run, and a record in its bucket, the
// first update of which fails.
func newTestPauser(t *testing.T) (*pauser, *subscription.Store, *wire.Record) {
	t.Helper()
	kv := buckettest.New(0)
	records := subscription.NewStore(kv, wire.DefaultNamespace)
	g := &pauser{
		records: kv, ns: wire.DefaultNamespace, holdings: &holdings{}, advisories: newAdvisories(nil, zerolog.Nop()), log: zerolog.Nop(),
	}
	rec := gapRecord()
	if _, err := records.Create(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	var updates atomic.Int32
	kv.Before = func(_ context.Context, op, _ string) error {
		if op == "update" && updates.Add(1) == 1 {
			return context.DeadlineExceeded
		}
		return nil
	}
	return g, records, rec
}

func gapRecord() *wire.Record {
	spec := subscription.Default()
	spec.Store, spec.Selector.ByStream, spec.OnGap = testStore, wire.StringList{">"}, wire.GapPause
	spec.Deliver.Subject = "to.s"
	return subscription.NewRecord("s", "uid", spec, subscription.Start{Sequence: 1, StoreCreated: time.Now()}, time.Now())
}

func TestAPauseAtAGapIsNotLostAmongAdvisories(t *testing.T) {
	t.Parallel()
	g, records, rec := newTestPauser(t)
	for range maxNotices + 1 {
		g.advisories.tell(wire.AdvPoolWaiting, "other", "", nil)
	}
	g.met(rec, wire.Gap{From: 6, To: 40, Generation: rec.Generation})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	natstest.Await(t, "the pause", func() error {
		if now, _, err := records.Get(t.Context(), rec.Name); err != nil || !now.Paused || now.Generation != rec.Generation+1 {
			return errors.New("not paused")
		}
		return nil
	})
	natstest.Await(t, "the end of the request", func() error {
		if _, open := g.open.Load(rec.Name); open {
			return errors.New("it is kept")
		}
		return nil
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnotherRecordIsNotPausedForAGap(t *testing.T) {
	t.Parallel()
	p, records, rec := newTestPauser(t)
	gap := wire.Gap{From: 6, To: 40, Generation: rec.Generation}
	later := gap
	later.Generation++
	for _, g := range []halt{{uid: "uid of an earlier subscription", generation: gap.Generation, gap: gap}, {uid: rec.UID, generation: later.Generation, gap: later}} {
		if err := p.pause(t.Context(), rec.Name, g); err != nil {
			t.Error(err)
		}
	}
	if now, _, err := records.Get(t.Context(), rec.Name); err != nil || now.Paused {
		t.Errorf("it is paused (%v)", err)
	}
	if err := p.pause(t.Context(), "gone", halt{uid: "uid", generation: gap.Generation, gap: gap}); err != nil {
		t.Error(err)
	}
}

func TestASubscriptionWhoseURLIsGoneIsPausedThoughEventsAreUnfinished(t *testing.T) {
	t.Parallel()
	p, records, rec := newTestPauser(t)
	p.gone(rec, "answered 410 Gone")
	noted, _ := p.open.Load(rec.Name)
	at := noted.(halt)
	earlier := at
	earlier.generation++
	if err := p.pause(t.Context(), rec.Name, earlier); err != nil {
		t.Fatal(err)
	}
	if now, _, err := records.Get(t.Context(), rec.Name); err != nil || now.Paused {
		t.Errorf("it is paused for what another URL said (%v)", err)
	}
	p.pauseAt(t.Context(), rec.Name, at) // the first update fails
	p.pauseAt(t.Context(), rec.Name, at)
	if now, _, err := records.Get(t.Context(), rec.Name); err != nil || !now.Paused || now.Generation != rec.Generation+1 {
		t.Errorf("it is not paused (%v)", err)
	}
	if _, open := p.open.Load(rec.Name); open {
		t.Error("it is kept")
	}
}

func TestAClaimKeepsThePlaceOfTheSameSubscriptionOnly(t *testing.T) {
	t.Parallel()
	c := &claimer{me: "me", runner: &runner{readers: reader.NewSet(reader.Config{})}} // which knows no store
	rec := gapRecord()
	h := &holding{name: rec.Name, me: c.me, rev: 9, entry: wire.Pool{
		Name: rec.Name, UID: rec.UID, Epoch: 3, Checkpoint: wire.Checkpoint{Floor: 29}, Begin: 30, LostFrom: 11,
		Gap: &wire.Gap{From: 30, To: 40, Generation: 1},
	}}
	next := c.claimed(h, rec, 1, 1)
	if next.Checkpoint.Floor != 29 || next.Begin != 30 || next.LostFrom != 11 || next.Gap == nil || next.Gap.Paused {
		t.Errorf("the same subscription: %+v", next)
	}
	paused := *rec
	paused.Paused = true
	if next = c.claimed(h, &paused, 2, 1); !next.Gap.Paused {
		t.Error("a pause is not taken for one at the gap")
	}
	if h.entry = next; h.entry.Gap.Paused != c.claimed(h, rec, 3, 1).Gap.Paused {
		t.Error("what was paused at the gap is forgotten")
	}
	another := *rec
	another.UID = "another"
	if next = c.claimed(h, &another, 4, 1); next.Checkpoint.Floor != 0 || next.Begin != 0 || next.LostFrom != 0 || next.Gap != nil {
		t.Errorf("another subscription: %+v", next)
	}
}
