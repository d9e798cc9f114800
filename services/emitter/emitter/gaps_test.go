package emitter

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/reader"
)

// aside returns an emitter that runs nothing, and a record in its bucket, the
// first update of which fails.
func aside(t *testing.T) (*Service, *wire.Record) {
	t.Helper()
	s, err := New(Config{MaxReaders: 16, EventBytes: 1 << 20, CheckpointRate: 1000}, service.Discard(service.Common{Namespace: wire.DefaultNamespace}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.metrics.close)
	kv := buckettest.New(0)
	s.records = subscription.NewStore(kv, wire.DefaultNamespace)
	spec := subscription.Default()
	spec.Store, spec.Selector.ByStream, spec.OnGap = testStore, wire.StringList{">"}, wire.GapPause
	spec.Deliver.Subject = "to.s"
	rec := subscription.NewRecord("s", "uid", spec, subscription.Start{Sequence: 1, StoreCreated: time.Now()}, time.Now())
	if _, err := s.records.Create(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	var updates atomic.Int32
	kv.Before = func(_ context.Context, op, _ string) error {
		if op == "update" && updates.Add(1) == 1 {
			return context.DeadlineExceeded
		}
		return nil
	}
	return s, rec
}

func TestAPauseAtAGapIsNotLostAmongAdvisories(t *testing.T) {
	t.Parallel()
	s, rec := aside(t)
	for range maxNotices + 1 {
		s.tell(wire.AdvPoolWaiting, "other", "", nil)
	}
	s.metGap(rec, wire.Gap{From: 6, To: 40, Generation: rec.Generation})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.pauseAtGaps(ctx) }()
	natstest.Await(t, "the pause", func() error {
		if now, _, err := s.records.Get(t.Context(), rec.Name); err != nil || !now.Paused || now.Generation != rec.Generation+1 {
			return errors.New("not paused")
		}
		return nil
	})
	natstest.Await(t, "the end of the request", func() error {
		if n := len(s.openGaps()); n > 0 {
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
	s, rec := aside(t)
	gap := wire.Gap{From: 6, To: 40, Generation: rec.Generation}
	later := gap
	later.Generation++
	for _, g := range []gapped{{"uid of an earlier subscription", gap}, {rec.UID, later}} {
		if err := s.pauseAtGap(t.Context(), rec.Name, g); err != nil {
			t.Error(err)
		}
	}
	if now, _, err := s.records.Get(t.Context(), rec.Name); err != nil || now.Paused {
		t.Errorf("it is paused (%v)", err)
	}
	if err := s.pauseAtGap(t.Context(), "gone", gapped{"uid", gap}); err != nil {
		t.Error(err)
	}
}

func TestAClaimKeepsThePlaceOfTheSameSubscriptionOnly(t *testing.T) {
	t.Parallel()
	s, rec := aside(t)
	s.readers = reader.NewSet(reader.Config{}) // which knows no store
	h := &holding{name: rec.Name, me: s.instance, rev: 9, entry: wire.Pool{
		Name: rec.Name, UID: rec.UID, Epoch: 3, Checkpoint: wire.Checkpoint{Floor: 29}, Begin: 30, LostFrom: 11,
		Gap: &wire.Gap{From: 30, To: 40, Generation: 1},
	}}
	next := s.claimed(h, rec, 1, 1)
	if next.Checkpoint.Floor != 29 || next.Begin != 30 || next.LostFrom != 11 || next.Gap == nil || next.Gap.Paused {
		t.Errorf("the same subscription: %+v", next)
	}
	paused := *rec
	paused.Paused = true
	if next = s.claimed(h, &paused, 2, 1); !next.Gap.Paused {
		t.Error("a pause is not taken for one at the gap")
	}
	if h.entry = next; h.entry.Gap.Paused != s.claimed(h, rec, 3, 1).Gap.Paused {
		t.Error("what was paused at the gap is forgotten")
	}
	another := *rec
	another.UID = "another"
	if next = s.claimed(h, &another, 4, 1); next.Checkpoint.Floor != 0 || next.Begin != 0 || next.LostFrom != 0 || next.Gap != nil {
		t.Errorf("another subscription: %+v", next)
	}
}
