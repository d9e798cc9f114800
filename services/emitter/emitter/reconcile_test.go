package emitter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

// Entries of a later version may be many, and stay: each look meets them again.
func TestEntriesThatCannotBeReadAreNotSaidAtEveryLook(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	kv := buckettest.New(0)
	for i := range 50 {
		if _, err := kv.Create(t.Context(), fmt.Sprint("s", i), []byte(`{"schema":99}`)); err != nil {
			t.Fatal(err)
		}
	}
	m := mirror.New(kv, mirror.Options{Resync: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	<-m.Synced()
	w := &viewer{me: "me", ns: wire.DefaultNamespace, copies: copies{m, m}, holdings: &holdings{}, idle: claim.NewIdle("me", time.Hour, nil), log: bus.Rarely(zerolog.New(&log))}
	for range 10 {
		for i := range 50 {
			if v := w.decode(w.glance(fmt.Sprint("s", i), nil)); v.Record != nil || !v.PoolNewer {
				t.Errorf("%+v", v)
			}
		}
	}
	if n := bytes.Count(log.Bytes(), []byte("cannot be read")); n < 1 || n > 5 {
		t.Errorf("said %d times, want a few", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A comparison of everything goes through every pool, and mostly finds nothing.
func TestAComparisonNeedsNoSlotForPoolsThatAreSettled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.emitter(time.Second)
	b.run(s, nil)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		b.subscribe(name)
	}
	b.live(names...)
	natstest.Await(t, "the copies to show what was written", func() error {
		for _, name := range names {
			if !s.view.settled(name, s.view.candidates()) {
				return fmt.Errorf("%s is not settled", name)
			}
		}
		return nil
	})
	q := s.claims.queue
	natstest.Await(t, "a comparison without slots", func() error {
		if err := s.reconciler.slots.Acquire(t.Context(), maxActions); err != nil {
			return err
		}
		defer s.reconciler.slots.Release(maxActions) // a pool that was dirty before may wait for one: then once more
		q.addAll()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if q.idle() {
				return nil
			}
			select {
			case <-ctx.Done():
				return errors.New("pools are still to be looked at")
			case <-tick.C:
			}
		}
	})
}

func TestComparisonsTakeAHundredthOfTheTimeAtMost(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: compareEvery, 100 * time.Millisecond: compareEvery, 500 * time.Millisecond: 50 * time.Second, time.Hour: maxCompare,
	} {
		if got := comparedAgain(took); got != want {
			t.Errorf("a comparison that took %s is made again after %s, want %s", took, got, want)
		}
	}
}

// roomless is a bucket that has no room, and counts who finds that out.
type roomless struct {
	bucket.KeyValue
	tries atomic.Int32
}

func (r *roomless) Update(context.Context, string, []byte, uint64) (uint64, error) {
	r.tries.Add(1)
	return 0, &jsapi.FullError{What: "the bucket", Err: errors.New("full")}
}

func TestReconciler_TriesAClaimThatFailedAgainLongBeforeTheNextComparison(t *testing.T) {
	t.Parallel()
	b, full := newBed(t), &roomless{}
	s := b.emitter(0)
	b.run(s, func(kv bucket.KeyValue) bucket.KeyValue {
		full.KeyValue = kv
		return full
	})
	b.subscribe("s")
	natstest.Await(t, "more tries than there are comparisons in that time", func() error {
		if n := full.tries.Load(); n < 4 {
			return fmt.Errorf("%d tries", n)
		}
		return nil
	})
}

func TestFollow_HasEverythingComparedWhenTheConnectionIsBack(t *testing.T) {
	t.Parallel()
	b, queue := newBed(t), newWorkQueue()
	s := b.emitter(0)
	nc, err := bus.Connect(t.Context(), s.common.NATS, "ctl", s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		copies := newCopies(buckettest.New(0), buckettest.New(0), queue, mirror.Options{})
		done <- (&parts{Service: s.Service, link: link{ctl: nc}, queue: queue, view: &viewer{copies: copies}}).follow(ctx)
	}()
	for _, what := range []string{"the first comparison", "another one"} {
		natstest.Await(t, what, func() error {
			if !queue.takeAll() {
				return errors.New("nothing is to be compared")
			}
			return nil
		})
		b.srv.Stop()
		b.srv.Restart()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
