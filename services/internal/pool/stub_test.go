package pool_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// blocking is a spec whose events block their lane after one failure.
func blocking() wire.Spec {
	s := spec()
	s.OnExhausted, s.Retry.MaxAttempts, s.Breaker.Failures = wire.ExhaustedBlock, 1, 100_000
	return s
}

// hold is an answer after which an event is not tried again for an hour.
const hold = `-NAK {"delay": 3600000000000}`

// blocked is a pool whose lane a is blocked by event 1, with 2, 3 and 4 behind
// it, and whose lane b holds nothing.
func (b *bed) blocked() {
	b.Helper()
	b.offer(1, "a.x", "a.x", "a.x")
	b.answer(b.one("1/1"), hold)
	b.offer(4, "a.x", "b.x")
	b.answer(b.one("5/1"), "")
	b.wantState(wire.PoolBlocked)
}

func TestWhatWaitsBehindABlockedEventLeavesItsBytesToOthers(t *testing.T) {
	const size, each = 1 << 20, 100
	withPool(t, config{spec: blocking(), budget: core.NewBudget(256 << 20)}, func(t *testing.T, b *bed) {
		seq := uint64(0)
		add := func(subject string) {
			seq++
			if !b.Offer(makeEvent(seq, subject, nil, size)) {
				t.Fatalf("no room for event %d, %d bytes held", seq, b.budget.Used())
			}
			b.position.Store(seq)
			b.Flush()
		}
		for range 20 { // queued before the lane is blocked
			add("a.x")
		}
		b.answer(b.one("1/1"), hold)
		if used := b.budget.Used(); used > size {
			t.Errorf("%d bytes are held for a blocked lane", used)
		}
		for range each {
			add("a.x")
			add("b.x")
			b.answer(b.one(fmt.Sprintf("%d/1", seq)), "")
		}
		if b.fetch.asked() != 0 {
			t.Errorf("%d events were fetched while the lane was blocked", b.fetch.asked())
		}
		after(time.Hour)
		for want := b.one("1/2"); ; { // the lane opens
			b.answer(want, "")
			ds := b.next()
			if len(ds) == 0 {
				break
			}
			if len(ds) != 1 || ds[0].seq <= want.seq || len(ds[0].msg.Data) != size {
				t.Fatalf("after %d: %v", want.seq, ds)
			}
			want = ds[0]
			if used := b.budget.Used(); used > 2*size {
				t.Fatalf("%d bytes are held while the lane empties", used)
			}
		}
		b.wantAllFinished()
		if st := b.Status(); st.Finished != 20+2*each || b.budget.Used() != 0 {
			t.Errorf("%d finished, %d bytes held", st.Finished, b.budget.Used())
		}
	})
}

func TestBlockedEventsDoNotFillTheWindow(t *testing.T) {
	s := blocking()
	s.PoolSize = wire.PoolSize{Min: 1, Max: 1}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		for seq := uint64(1); seq <= 3000; seq++ { // three times the window, each a lane of its own
			b.offer(seq, fmt.Sprintf("k%d.x", seq))
			b.answer(b.one(fmt.Sprintf("%d/1", seq)), hold)
		}
		after(time.Hour)
		for n := 1; n <= 3000; n++ {
			ds := b.next()
			if len(ds) != 1 || ds[0].attempt != 2 {
				t.Fatalf("delivery %d is %v", n, ds)
			}
			b.answer(ds[0], "")
		}
		b.wantAllFinished()
	})
}

func TestAnEventThatIsGoneWhenItsTurnComesIsAGap(t *testing.T) {
	withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
		b.blocked()
		b.fetch.set(func(f *fetcher) { delete(f.stored, 2); delete(f.stored, 3) })
		after(time.Hour)
		b.answer(b.one("1/2"), "")
		if g := b.entry().Gap; g == nil || g.From != 2 || g.To != 3 || g.Generation != 3 || b.count(wire.AdvEventLost) != 2 {
			t.Errorf("gap = %+v, told %d times", g, b.count(wire.AdvEventLost))
		}
		b.answer(b.one("4/1"), "")
		b.wantAllFinished()
	})
}

// TestNoEventIsGivenUpWhileItsStoreIsLost: "not found" says nothing there.
func TestNoEventIsGivenUpWhileItsStoreIsLost(t *testing.T) {
	for name, lose := range map[string]func(*bed){
		"another store":  func(b *bed) { b.Hold(wire.PoolStoreLost, "deleted and created anew") },
		"without an end": func(b *bed) { b.LoseEnd(1) },
	} {
		t.Run(name, func(t *testing.T) {
			withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
				b.blocked()
				before := b.entry().Checkpoint
				b.fetch.set(func(f *fetcher) { clear(f.stored) })
				lose(b)
				after(2 * time.Hour)
				if cp := b.entry().Checkpoint; b.entry().Gap != nil || b.count(wire.AdvEventLost) != 0 || fmt.Sprint(cp) != fmt.Sprint(before) {
					t.Errorf("gap %v, checkpoint %v, was %v", b.entry().Gap, cp, before)
				}
			})
		})
	}
}

func TestAGapThatIsYetToBePassedStaysNamed(t *testing.T) {
	withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
		b.blocked()
		b.Lost(wire.Gap{From: 6, To: 9, Generation: 3}) // the pool is to pause there
		b.fetch.set(func(f *fetcher) { delete(f.stored, 1) })
		after(time.Hour)
		b.one("2/1")
		if g := b.entry().Gap; g == nil || g.From != 6 || b.count(wire.AdvEventLost) != 2 {
			t.Errorf("gap = %+v, want the one that is to be passed", g)
		}
	})
}

// TestToDeleteTheEventThatBlocksOpensItsLane: somebody may mend it so.
func TestToDeleteTheEventThatBlocksOpensItsLane(t *testing.T) {
	withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
		b.blocked()
		b.fetch.set(func(f *fetcher) { delete(f.stored, 1) })
		after(time.Hour)
		b.answer(b.one("2/1"), "")
		b.wantState(wire.PoolLive)
	})
}

func TestAnEventIsFetchedUntilItIsThere(t *testing.T) {
	another := makeEvent(1, "a.x", nil, 0)
	another.Time = another.Time.Add(time.Second)
	for _, tt := range []struct {
		name  string
		spoil func(*fetcher)
	}{
		{"no room in the queue", func(f *fetcher) { f.refuse = true }},
		{"the store does not answer", func(f *fetcher) { f.fail = errors.New("timeout") }},
		{"another store under the same name", func(f *fetcher) { f.stored = map[uint64]*event.Event{1: another} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
				b.blocked()
				good := b.fetch.stored
				b.fetch.set(tt.spoil)
				after(time.Hour + time.Minute)
				b.wantSent()
				b.offer(6, "b.x") // others go on
				b.answer(b.one("6/1"), "")
				b.fetch.set(func(f *fetcher) { f.refuse, f.fail, f.stored = false, nil, good })
				after(2 * time.Second)
				b.answer(b.one("1/2"), "")
				b.one("2/1")
				if b.fetch.asked() > 70 || b.entry().Gap != nil {
					t.Errorf("asked %d times, gap %v", b.fetch.asked(), b.entry().Gap)
				}
			})
		})
	}
}

func TestALateTermOfABlockedEventParksItWithItsBody(t *testing.T) {
	for _, held := range []bool{false, true} { // held: it comes while the event is being fetched
		withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
			b.offer(1, "a.x", "a.x")
			first := b.one("1/1")
			b.answer(first, hold)
			b.fetch.set(func(f *fetcher) { f.hold = held })
			if held {
				after(time.Hour)
			}
			if !b.answer(first, "+TERM") {
				t.Error("the answer was not taken")
			}
			b.fetch.answer()
			if len(b.park.got) != 1 || b.park.got[0].Event == nil || b.park.got[0].Event.Sequence != 1 {
				t.Fatalf("parked %v", b.park.got)
			}
			b.wantSent()
			b.park.store()
			b.fetch.answer()
			b.answer(b.one("2/1"), "")
			b.wantAllFinished()
		})
	}
}

// TestAnEventThatWasLetGoIsNoProbe of the breaker, although it was never sent:
// it has to be fetched first.
func TestAnEventThatWasLetGoIsNoProbe(t *testing.T) {
	s := blocking()
	s.Breaker.Failures = 2
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x", "b.x", "c.x")
		ds := b.wantSent("1/1", "3/1", "4/1")
		b.answer(ds[0], hold) // 2 waits behind it, and is let go
		b.answer(ds[1], hold)
		b.wantState(wire.PoolBreakerOpen)
		b.ConnectionLost()  // 4 is to be sent again
		b.answer(ds[0], "") // it is the turn of 2
		after(10 * time.Second)
		b.answer(b.one("4/2"), "")
		b.answer(b.one("2/1"), "")
	})
}

func TestALateAckWhileTheEventIsFetchedCounts(t *testing.T) {
	withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x")
		first := b.one("1/1")
		b.answer(first, hold)
		b.fetch.set(func(f *fetcher) { f.hold = true })
		after(time.Hour)
		b.answer(first, "")
		b.fetch.answer()
		b.fetch.answer()
		b.answer(b.one("2/1"), "")
		b.wantAllFinished()
	})
}

func TestWhatIsFetchedCountsTowardsTheLimitAndIsLetGoByClose(t *testing.T) {
	s := blocking()
	s.PoolSize = wire.PoolSize{Min: 2, Max: 2}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		for seq := uint64(1); seq <= 10; seq++ {
			b.offer(seq, fmt.Sprintf("k%d.x", seq))
			b.answer(b.one(fmt.Sprintf("%d/1", seq)), hold)
		}
		b.fetch.set(func(f *fetcher) { f.hold = true })
		after(time.Hour)
		if b.fetch.asked() != 2 {
			t.Errorf("%d events are fetched at once, want 2", b.fetch.asked())
		}
		var open func() bool
		b.fetch.set(func(f *fetcher) { open = f.got[0].Open })
		if !open() {
			t.Error("an open pool says that it is closed")
		}
		b.Close()
		if open() || b.budget.Used() != 0 {
			t.Errorf("open %v, %d bytes held", open(), b.budget.Used())
		}
		b.fetch.answer()
		b.wantSent()
	})
}

// TestEventsWithoutRoomAreFetchedOneAfterTheOther: others hold the budget.
func TestEventsWithoutRoomAreFetchedOneAfterTheOther(t *testing.T) {
	budget := core.NewBudget(10_000)
	withPool(t, config{spec: blocking(), budget: budget}, func(t *testing.T, b *bed) {
		for seq := uint64(1); seq <= 3; seq++ {
			if !b.Offer(makeEvent(seq, fmt.Sprintf("k%d.x", seq), nil, 6000)) {
				t.Fatal("no room")
			}
			b.position.Store(seq)
			b.Flush()
			b.answer(b.one(fmt.Sprintf("%d/1", seq)), hold)
		}
		after(time.Hour)
		for range 3 {
			ds := b.next()
			if len(ds) != 1 || budget.Used() > 10_000 {
				t.Fatalf("%d deliveries, %d bytes held", len(ds), budget.Used())
			}
			b.answer(ds[0], "")
			after(time.Second)
		}
		b.wantAllFinished()
	})
}

// TestWhatWaitsBehindAnEventDoesNotTakeTheRoomThatItNeeds: the pool would stand
// still for ever.
func TestWhatWaitsBehindAnEventDoesNotTakeTheRoomThatItNeeds(t *testing.T) {
	withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		first := b.one("1/1")
		b.answer(first, hold)
		b.Offer(makeEvent(2, "a.x", nil, 1<<20))
		b.fetch.set(func(f *fetcher) { f.hold, f.fail = true, errors.New("no leader") })
		b.answer(first, "") // 2 is being fetched, so what follows keeps its body
		b.offer(3, "a.x")
		b.fetch.answer() // 2 cannot be fetched, and what follows takes its room
		for seq := uint64(4); seq < 100 && b.Offer(makeEvent(seq, "a.x", nil, 1<<20)); seq++ {
			b.position.Store(seq)
		}
		b.fetch.set(func(f *fetcher) { f.hold, f.fail = false, nil })
		after(time.Second)
		b.answer(b.one("2/1"), "")
		b.one("3/1")
	})
}

func TestALaneThatEmptiesDoesNotFillTheWindow(t *testing.T) {
	s := blocking()
	s.PoolSize = wire.PoolSize{Min: 1, Max: 1}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		first := b.one("1/1")
		b.answer(first, hold)
		for seq := uint64(2); seq <= 40; seq++ { // more than are fetched together
			b.offer(seq, "a.x")
		}
		b.answer(first, "")
		ds := b.wantSent("2/1")
		for seq := uint64(41); seq <= 3000; seq++ { // three times the window
			b.offer(seq, "a.x")
		}
		for seq := uint64(3); seq <= 3000; seq++ {
			b.answer(ds[0], "")
			ds = b.wantSent(fmt.Sprintf("%d/1", seq))
		}
		b.answer(ds[0], "")
		b.wantAllFinished()
	})
}

// TestALaneOfEventsThatWereLetGoEmptiesWhileMoreComeIn from a store that takes
// ten milliseconds for each: as long as its last one was let go, so is what comes.
func TestALaneOfEventsThatWereLetGoEmptiesWhileMoreComeIn(t *testing.T) {
	const behind = 5000
	withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		b.answer(b.one("1/1"), hold)
		last := uint64(1)
		more := func() {
			last++
			b.offer(last, "a.x")
		}
		for range behind {
			more()
		}
		b.fetch.set(func(f *fetcher) { f.hold = true })
		after(time.Hour)
		step := func() {
			more()
			after(10 * time.Millisecond)
			b.fetch.answer()
			for ds := b.next(); len(ds) > 0; ds = b.next() {
				b.answer(ds[0], "")
			}
		}
		for range 1000 { // ten seconds, with a hundred more in each
			step()
		}
		asked := b.fetch.asked()
		for range 100 {
			step()
		}
		if n := b.fetch.asked(); n != asked || b.Status().Finished != last {
			t.Errorf("%d of %d finished; %d of the last 100 were asked for", b.Status().Finished, last, n-asked)
		}
		b.wantAllFinished()
	})
}

func TestAPoolSaysWhichBoundOfItsCheckpointHoldsItBack(t *testing.T) {
	withPool(t, config{spec: blocking(), ranges: 10}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		b.answer(b.one("1/1"), hold)
		moved := b.moved.Load()
		for seq := uint64(2); b.Offer(makeEvent(seq, []string{"a.x", "b.x"}[seq%2], nil, 0)); seq++ {
			b.position.Store(seq)
			b.Flush()
			for _, d := range b.next() {
				b.answer(d, "")
			}
			if seq > 100 {
				t.Fatal("the ranges are not bounded")
			}
			moved = b.moved.Load()
		}
		why := b.entry().Reason
		if want := "an exhausted event holds its lane, and the checkpoint is full"; why != want || b.moved.Load() == moved {
			t.Errorf("reason = %q, want %q; told that it is to be written: %v", why, want, b.moved.Load() != moved)
		}
		b.wantState(wire.PoolBlocked)
		room := b.Room()
		after(time.Hour)
		for ds := b.next(); len(ds) > 0; ds = b.next() {
			b.answer(ds[0], "")
		}
		if why := b.entry().Reason; why != "" || !isClosed(room) {
			t.Errorf("all is finished, but the reason is %q", why)
		}
	})
}

func TestWhatWaitsBehindBlockedEventsIsBounded(t *testing.T) {
	withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		b.answer(b.one("1/1"), hold)
		n := uint64(1)
		for b.Pool.Offer(makeEvent(n+1, "a.x", nil, 0)) {
			n++
		}
		if why := b.entry().Reason; n != 131072 || !strings.Contains(why, "no more events can be remembered") || isClosed(b.Room()) {
			t.Errorf("%d events, %s", n, why)
		}
	})
}
