package replayer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/history"
)

func (e *env) journal() *journal {
	return &journal{kv: e.buckets.Subscriptions, js: e.js, ns: ns, log: zerolog.Nop()}
}

func TestABarrierPartsWhatWasAcknowledgedFromWhatIsYetToBegin(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for i := range 20 {
		e.create(fmt.Sprintf("n%d", i))
	}
	// Writers never rest; acked is the highest revision that any has seen.
	ctx, stop := context.WithCancel(t.Context())
	var acked atomic.Uint64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				r, rev, err := e.records.Get(ctx, fmt.Sprintf("n%d", i))
				if err != nil {
					continue // ctx has ended
				}
				r.Generation++
				if rev, err = e.records.Update(ctx, r, rev); err != nil {
					continue
				}
				was := acked.Load()
				for was < rev && !acked.CompareAndSwap(was, rev) {
					was = acked.Load()
				}
			}
		})
	}
	for range 20 {
		j := e.journal()
		before := acked.Load()
		b, err := j.putBarrier(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		entries, err := j.read(t.Context(), []string{jetstream.AllKeys}, max(before, 1), b)
		if err != nil {
			t.Fatal(err)
		}
		if b <= before {
			t.Fatalf("barrier %d is not above %d, acknowledged before", b, before)
		}
		if before > 0 && !slices.ContainsFunc(entries, func(x history.Entry) bool { return x.Revision == before }) {
			t.Fatalf("revision %d was acknowledged before the barrier %d, but not read", before, b)
		}
		for i, x := range entries {
			if x.Revision >= b || i > 0 && x.Revision <= entries[i-1].Revision {
				t.Fatalf("revision %d beyond the barrier %d or out of order", x.Revision, b)
			}
		}
	}
	stop()
	wg.Wait()
}

func TestRivalsWriteBarriersOfTheirOwn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const rivals = 4
	revs := make([]uint64, rivals)
	errs := make([]error, rivals)
	var wg sync.WaitGroup
	for i := range rivals {
		wg.Go(func() { revs[i], errs[i] = e.journal().putBarrier(t.Context(), fmt.Sprintf("r%d", i)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	slices.Sort(revs)
	if len(slices.Compact(slices.Clone(revs))) != rivals {
		t.Errorf("barriers at %v, want %d different revisions", revs, rivals)
	}
}

// lossy is a bucket that does not tell of its first write.
type lossy struct {
	jetstream.KeyValue
	writes int
}

func (k *lossy) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	rev, err := k.KeyValue.Update(ctx, key, value, revision)
	if k.writes++; k.writes == 1 && err == nil {
		return 0, nats.ErrTimeout
	}
	return rev, err
}

func TestABarrierWhoseAnswerWasLostIsNotWrittenTwice(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	j := e.journal()
	kv := &lossy{KeyValue: j.kv}
	j.kv = kv
	first, err := j.putBarrier(t.Context(), "test")
	if err != nil || kv.writes != 1 {
		t.Fatalf("%d writes, %v, want one", kv.writes, err)
	}
	if err := e.buckets.Subscriptions.Delete(t.Context(), wire.BarrierKey); err != nil {
		t.Fatal(err)
	}
	if rev, err := j.putBarrier(t.Context(), "test"); err != nil || rev <= first {
		t.Errorf("after a deletion: %d, %v, want a revision above %d", rev, err, first)
	}
}

// TestTheChainsOfAWindowAreThoseOfTheWholeHistory compares a reading from the
// middle, with few names and with many, with a fold of everything.
func TestTheChainsOfAWindowAreThoseOfTheWholeHistory(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for i := range contextNames + 20 {
		e.create(fmt.Sprintf("n%d", i))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	few := []string{"n1", "n2", "n3"}
	for range 16 {
		from := e.revision() + 1
		for range rnd.IntN(7) {
			name := few[rnd.IntN(len(few))]
			_, _, err := e.records.Get(t.Context(), name)
			switch {
			case err != nil:
				e.create(name)
			case rnd.IntN(2) == 0:
				e.remove(name)
			default:
				e.update(name)
			}
		}
		j := e.journal()
		b, err := j.putBarrier(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		from = []uint64{1, 5, from, min(from+2, b)}[rnd.IntN(4)]
		got, err1 := j.chains(t.Context(), from, b)
		all, err2 := j.read(t.Context(), []string{jetstream.AllKeys}, 1, b)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		want := history.Fold(all, from)
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
			t.Fatalf("from %d to %d:\n got %s\nwant %s", from, b, g, w)
		}
	}
}
