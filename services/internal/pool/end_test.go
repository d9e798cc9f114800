package pool_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

func TestDrainWaitsForAnswersAndSendsNothingMore(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x", "b.x", "c.x")
		ds := b.wantSent("1/1", "3/1", "4/1")
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.Drain(t.Context())
		}()
		synctest.Wait()
		if b.Offer(makeEvent(5, "d.x", nil, 0)) || isClosed(b.Room()) {
			t.Error("a pool that drains takes events, or says it would")
		}
		b.answer(ds[0], "")
		b.answer(ds[1], "-NAK")
		b.answer(ds[2], "+TERM")
		synctest.Wait()
		if isClosed(done) {
			t.Fatal("drained, but an event is being parked")
		}
		b.park.store()
		<-done
		after(time.Hour)
		b.wantSent()
		if cp := b.entry().Checkpoint; fmt.Sprint(cp) != "{1 [[4 4]]}" {
			t.Errorf("checkpoint = %v", cp)
		}
	})
}

func TestDrainEndsWithItsContextAndWithTheSubscribersSilence(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		b.Drain(ctx)
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("drained for %v, want 5s", d)
		}
		b.Drain(t.Context())
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("drained for %v, want 30s: the delivery has expired then", d)
		}
		b.Close()
		b.Drain(t.Context()) // of a closed pool returns at once
	})
}

func TestCloseLetsGoOfEverythingAndMayBeRepeated(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x", "b.x", "c.x", "d.x")
		ds := b.next()
		b.answer(ds[0], "")
		b.answer(ds[1], "+TERM")
		b.answer(ds[2], "-NAK")
		room := func() <-chan struct{} {
			for seq := uint64(6); b.Offer(makeEvent(seq, "e.x", nil, 1<<20)); seq++ {
				b.position.Store(seq)
			}
			return b.Room()
		}()
		before := b.entry().Checkpoint
		for range 2 {
			b.Close()
			if !isClosed(room) || !isClosed(b.Room()) {
				t.Error("who waits for room still waits")
			}
			if b.budget.Used() != 0 {
				t.Errorf("%d bytes are not given back", b.budget.Used())
			}
		}
		b.looked = len(b.pub.sent)
		b.park.store()
		if b.answer(ds[3], "") || b.Offer(makeEvent(7777, "e.x", nil, 0)) {
			t.Error("a closed pool takes answers or events")
		}
		b.Flush()
		b.Tick(time.Now())
		after(time.Hour)
		b.wantSent()
		if got := b.entry().Checkpoint; fmt.Sprint(got) != fmt.Sprint(before) || b.budget.Used() != 0 {
			t.Errorf("checkpoint = %v, was %v; %d bytes held", got, before, b.budget.Used())
		}
		b.Status()
	})
}

func TestClosingWhileMessagesAreSentGivesNothingBackTwice(t *testing.T) {
	for _, fail := range []error{nil, nats.ErrConnectionClosed, nats.ErrMaxPayload} {
		s := spec()
		s.Deliver.Mode = wire.ModePublish
		withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
			b.pub.fail = func(uint64) error {
				b.Close()
				return fail
			}
			b.offer(1, "a.x", "a.x", "b.x")
			if b.budget.Used() != 0 || len(b.park.got) != 0 {
				t.Errorf("%d bytes held, parked %v", b.budget.Used(), b.park.got)
			}
		})
	}
}

func TestWhatIsFinishedBeforeTheReaderMovesOnIsInTheCheckpoint(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.position.Store(4)
		b.Offer(makeEvent(5, "a.x", nil, 0))
		b.Flush() // by another goroutine, before the reader's position moves
		moved := b.moved.Load()
		b.answer(b.one("5/1"), "")
		if cp := b.entry().Checkpoint; cp.Floor != 5 || b.moved.Load() == moved {
			t.Errorf("floor = %d, want 5: no later write would bring it", cp.Floor)
		}
	})
}

func TestStateSaysWhatHoldsThePoolUp(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.wantState(wire.PoolLive)
		b.Detach(10)
		b.wantState(wire.PoolCatchingUp)
		b.SkipTo(20)
		b.Hold(wire.PoolStoreLost, "gone")
		b.wantState(wire.PoolStoreLost)
		gap := wire.Gap{From: 3, To: 9}
		b.Lost(gap)
		st := b.Status()
		if st.Position != 20 || st.Floor != 20 || st.Reason != "gone" || st.Gap == nil || *st.Gap != gap || *b.entry().Gap != gap {
			t.Errorf("status = %+v", st)
		}
		b.Attach(&b.position, &b.taken, 20, true)
		b.wantState(wire.PoolLive)
		if b.Finished(1, 20) {
			t.Error("Finished speaks of the restored checkpoint only")
		}
		b.offer(21, "a.x", "b.x")
		if at := b.Status().OldestAt; at == nil || !at.Equal(time.Unix(1000, 21)) {
			t.Errorf("oldest = %v", at)
		}
	})
}

func TestEvaluatedIsWhatItsReadersTookMeanwhile(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		var other atomic.Uint64
		other.Store(1000) // before the pool came
		want := func(n uint64) {
			t.Helper()
			if got := b.Status().Evaluated; got != n {
				t.Errorf("evaluated = %d, want %d", got, n)
			}
		}
		want(0)
		b.taken.Add(5)
		want(5)
		b.Detach(5)
		b.taken.Add(7) // for others
		want(5)
		b.Attach(&b.position, &other, 5, false)
		want(5)
		other.Add(3)
		want(8)
		b.Attach(&b.position, &b.taken, 8, true) // without a Detach in between
		b.taken.Add(2)
		want(10)
	})
}

func TestABadSelectorIsRefused(t *testing.T) {
	s := spec()
	s.Selector.ByEventPayload = []byte(`{"a":[{"nosuch":1}]}`)
	_, err := pool.New(pool.Config{Config: core.Config{Record: &wire.Record{Name: "triage", Spec: s}}})
	if err == nil || !strings.Contains(err.Error(), `pool "triage"`) {
		t.Errorf("New = %v", err)
	}
}

// TestPool_KnowsWhatItsReaderHasRead: the reader moves on without a word where
// nothing matches.
func TestPool_KnowsWhatItsReaderHasRead(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		b.position.Store(7)
		if got, cp := b.Position(), b.entry().Checkpoint; got != 7 || cp.Floor != 0 {
			t.Errorf("position %d, checkpoint %+v, want 7 and nothing finished", got, cp)
		}
		b.answer(b.one("1/1"), "")
		b.position.Store(9)
		b.Detach(9)
		if cp := b.entry().Checkpoint; cp.Floor != 9 {
			t.Errorf("checkpoint %+v, want all up to 9", cp)
		}
	})
}
