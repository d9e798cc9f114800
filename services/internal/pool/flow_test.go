package pool_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/checkpoint"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// keys returns n subjects of different streams.
func keys(n int) []string {
	ks := make([]string, n)
	for i := range ks {
		ks[i] = fmt.Sprintf("k%d.x", i)
	}
	return ks
}

func TestTheBreakerOpensAfterFailuresInARowAndOneEventProbes(t *testing.T) {
	s := spec()
	s.Breaker.Failures, s.PoolSize = 3, wire.PoolSize{Min: 8, Max: 8}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, keys(12)...)
		ds := b.next()
		for i, text := range []string{"-NAK", "-NAK", "", "-NAK", "-NAK"} {
			b.answer(ds[i], text)
		}
		b.wantState(wire.PoolLive) // a success lay between
		b.next()
		b.answer(ds[5], "-NAK")
		b.wantState(wire.PoolBreakerOpen)
		if b.count(wire.AdvBreakerOpened) != 1 || b.Status().Breaker != "open" {
			t.Errorf("told %d times, breaker %s", b.count(wire.AdvBreakerOpened), b.Status().Breaker)
		}
		for _, d := range b.pub.sent[6:] {
			b.answer(d, "-NAK") // what is out may still fail
		}
		after(10*time.Second - 1)
		b.wantSent()
		after(2 * time.Millisecond)
		probe := b.next()
		if len(probe) != 1 || b.Status().Breaker != "half-open" || b.count(wire.AdvBreakerHalfOpened) != 1 {
			t.Fatalf("%d probes, breaker %s", len(probe), b.Status().Breaker)
		}
		after(5 * time.Second)
		b.wantSent()
		b.answer(probe[0], "-NAK")
		b.wantState(wire.PoolBreakerOpen)
		after(10*time.Second + 2*time.Millisecond)
		probe = b.next()
		if len(probe) != 1 {
			t.Fatalf("%d probes", len(probe))
		}
		b.answer(probe[0], "")
		b.wantState(wire.PoolLive)
		if n := len(b.next()); n != 8 || b.count(wire.AdvBreakerClosed) != 1 {
			t.Errorf("%d deliveries after it closed", n)
		}
	})
}

func TestNoAttemptIsCountedWhileTheBreakerIsOpen(t *testing.T) {
	s := spec()
	s.Breaker = wire.Breaker{Failures: 2, OpenFor: wire.Duration(time.Hour)}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x")
		for _, d := range b.wantSent("1/1", "2/1") {
			b.answer(d, "-NAK")
		}
		after(2 * time.Second) // both are ready again, and first in the queue
		b.offer(3, "c.x")
		after(time.Hour - 3*time.Second)
		b.wantSent()
		b.Status() // to ask for the state must not spoil the wake-up
		after(2 * time.Second)
		b.answer(b.one("3/1"), "")   // which says more of the target than the two that it has refused
		for _, d := range b.next() { // as many as they are, and in any order
			b.answer(d, "")
		}
		b.wantAllFinished()
	})
}

// TestALongOutageParksNothing: every probe of the outage fails, and each event
// is a probe more often than it has attempts.
func TestALongOutageParksNothing(t *testing.T) {
	s := spec()
	s.Retry.MaxAttempts, s.PoolSize = 2, wire.PoolSize{Min: 4, Max: 4}
	s.Breaker = wire.Breaker{Failures: 3, OpenFor: wire.Duration(time.Second)}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x", "c.x", "d.x", "a.x")
		tokens := map[string]bool{}
		highest := 0
		for range 3600 {
			for _, d := range b.next() {
				if tokens[d.token] {
					t.Fatalf("token %q is used again", d.token)
				}
				tokens[d.token] = true
				highest = max(highest, d.attempt)
				b.answer(d, "-NAK")
			}
			after(time.Second)
		}
		if n := len(b.park.got); n != 0 || highest < 10 {
			t.Fatalf("%d events parked after up to %d attempts: %v", n, highest, b.park.got)
		}
		for range 100 { // the subscriber is back
			for _, d := range b.next() {
				b.answer(d, "")
			}
			after(time.Second)
		}
		b.wantAllFinished()
		if st := b.Status(); st.Finished != 5 {
			t.Errorf("%d finished, want 5", st.Finished)
		}
	})
}

func TestAProbeThatCannotBeSentLeavesThePlaceToTheNext(t *testing.T) {
	s := spec()
	s.Breaker.Failures = 2
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x")
		ds := b.next()
		b.answer(ds[0], "-NAK")
		b.answer(ds[1], "-NAK")
		b.pub.failWith(func(uint64) error { return nats.ErrConnectionClosed })
		after(time.Minute)
		b.pub.failWith(nil)
		after(time.Second)
		b.answer(b.next()[0], "")
		if n := len(b.next()); n != 1 {
			t.Errorf("%d deliveries after the probe, want 1", n)
		}
	})
}

// TestNothingSpinsWhileSeveralThingsHoldDeliveriesBack would never end if the
// pool asked again and again to be woken in the past: the fake clock stands
// still while anybody works.
func TestNothingSpinsWhileSeveralThingsHoldDeliveriesBack(t *testing.T) {
	s := spec()
	s.Breaker = wire.Breaker{Failures: 2, OpenFor: wire.Duration(time.Minute)}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.ask.now(core.Nobody)
		b.offer(1, keys(6)...)
		ds := b.next()
		b.answer(ds[0], "-NAK")
		b.nobody(ds[2])
		// The breaker opens by an answer that is older than the absence.
		b.answer(ds[1], "-NAK")
		b.nobody(ds[3])
		b.wantState(wire.PoolBreakerOpen)
		after(59 * time.Second)
		b.wantSent()
		b.ask.now(core.Unknown)
		after(2 * time.Second)
		if n := len(b.next()); n != 1 {
			t.Errorf("%d probes", n)
		}
		b.nobody(ds[4])
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		b.Drain(ctx)
	})
}

func TestTheLimitBoundsWhatIsInFlightGrowsAndHalves(t *testing.T) {
	s := spec()
	s.PoolSize = wire.PoolSize{Min: 4, Max: 64}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, keys(1000)...)
		out := b.next()
		if len(out) != 4 {
			t.Fatalf("%d in flight at first, want 4", len(out))
		}
		limit := b.Status().Limit
		for range 400 {
			b.answer(out[0], "")
			out = append(out[1:], b.next()...)
			st := b.Status()
			if len(out) != st.InFlight || st.InFlight > st.Limit || st.Limit < limit || st.Limit > 64 {
				t.Fatalf("in flight %d, limit %d after %d", st.InFlight, st.Limit, limit)
			}
			limit = st.Limit
		}
		if limit != 64 {
			t.Fatalf("limit = %d after 400 answers, want 64", limit)
		}
		after(10 * time.Second)
		for i, want := range []int{32, 32, 16, 8} {
			for range 16 { // as many make it move
				b.answer(out[0], "-NAK")
				out = out[1:]
			}
			if got := b.Status().Limit; got != want {
				t.Errorf("limit = %d after failures %d, want %d", got, i+1, want)
			}
			if i > 0 { // two bursts of failures within a second are one
				after(time.Second)
			}
		}
	})
}

func TestTheLimitDoesNotGrowWhereItHoldsNothingBack(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		for seq := uint64(1); seq < 200; seq++ {
			b.offer(seq, "a.x")
			b.answer(b.next()[0], "")
		}
		if got := b.Status().Limit; got != 16 {
			t.Errorf("limit = %d, want 16", got)
		}
	})
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestAFullWindowRefusesUntilHalfOfItIsFinished(t *testing.T) {
	s := spec()
	s.PoolSize = wire.PoolSize{Min: 256, Max: 256}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		if !isClosed(b.Room()) {
			t.Error("an empty pool has no room")
		}
		b.offer(1, keys(1024)...)
		if b.Offer(makeEvent(1025, "z.x", nil, 0)) {
			t.Fatal("1025 events in a window of 1024")
		}
		if b.Position() != 1024 {
			t.Errorf("position = %d, but 1025 was refused", b.Position())
		}
		room := b.Room()
		for range 512 {
			if isClosed(room) {
				t.Fatal("room is told too early")
			}
			b.answer(b.pub.sent[b.looked], "")
			b.looked++
		}
		if !isClosed(room) || !isClosed(b.Room()) {
			t.Fatal("half of the window is empty, but no room is told")
		}
		if !b.Offer(makeEvent(1025, "z.x", nil, 0)) {
			t.Error("no room")
		}
	})
}

func TestARefusedEventIsNotTakenForOneThatFits(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.Offer(makeEvent(1, "a.x", nil, 10<<20))
		b.Flush()
		if b.Offer(makeEvent(2, "b.x", nil, 30<<20)) {
			t.Fatal("40 MB in a pool that holds 32")
		}
		if isClosed(b.Room()) {
			t.Fatal("room is told, but there is none: the reader would spin")
		}
		room := b.Room()
		b.answer(b.one("1/1"), "")
		if !isClosed(room) || !b.Offer(makeEvent(2, "b.x", nil, 60<<20)) {
			t.Error("an empty pool takes an event of any size")
		}
	})
}

func TestAPoolWithoutBudgetIsWokenWhenOthersGiveItBack(t *testing.T) {
	budget := core.NewBudget(3500)
	withPool(t, config{spec: spec(), budget: budget}, func(t *testing.T, b *bed) {
		withOther := newBed(t, timers.New(), config{spec: spec(), budget: budget})
		if !withOther.Offer(makeEvent(1, "a.x", nil, 1000)) || !b.Offer(makeEvent(1, "a.x", nil, 100)) {
			t.Fatal("an empty pool has no room")
		}
		if b.Offer(makeEvent(2, "b.x", nil, 1000)) {
			t.Fatal("the budget is overdrawn")
		}
		room := b.Room()
		after(20 * time.Second) // before the end of ack_wait: an event that rests is let go
		if isClosed(room) {
			t.Fatal("room is told, but the budget is used up")
		}
		withOther.Close()
		after(2 * time.Second)
		if !isClosed(room) || !b.Offer(makeEvent(2, "b.x", nil, 1000)) {
			t.Error("no room, but the budget is free")
		}
		b.Close()
		if budget.Used() != 0 {
			t.Errorf("%d bytes are not given back", budget.Used())
		}
	})
}

func TestFinishedRangesAreBounded(t *testing.T) {
	s := spec()
	s.PoolSize = wire.PoolSize{Min: 65536, Max: 65536}
	s.OrderBy = wire.OrderBy{Kind: wire.OrderNone}
	for _, ranges := range []int{0, 100} {
		withPool(t, config{spec: s, ranges: ranges}, func(t *testing.T, b *bed) {
			want := cmp.Or(ranges, checkpoint.DefaultMaxRanges)
			n := 0
			for seq := uint64(1); b.Offer(makeEvent(seq, "a.x", nil, 0)); seq += 2 { // every other one matches
				n++
			}
			if got := len(b.entry().Checkpoint.Ranges); got > want || n < want {
				t.Errorf("%d ranges after %d events, want at most %d", got, n, want)
			}
			if isClosed(b.Room()) {
				t.Error("room is told right after a refusal")
			}
		})
	}
}

func TestACheckpointStaysWritableWhateverFinishesFirst(t *testing.T) {
	s := spec()
	s.PoolSize = wire.PoolSize{Min: 1000, Max: 1000}
	withPool(t, config{spec: s, ranges: 100}, func(t *testing.T, b *bed) {
		b.offer(1, keys(1000)...)
		for _, d := range b.next() {
			if d.seq%2 == 0 {
				b.answer(d, "")
			}
		}
		if cp := b.entry().Checkpoint; cp.Floor != 0 || len(cp.Ranges) != 150 || cp.Ranges[149] != [2]uint64{300, 300} {
			t.Errorf("%d ranges above %d: %v", len(cp.Ranges), cp.Floor, cp.Ranges)
		}
	})
}

// TestACheckpointFitsIntoAMessage: with the longest sequences there are, and
// room for the rest of the entry.
func TestACheckpointFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	for _, payload := range []int64{16 << 10, 64 << 10, 1 << 20, 64 << 20} {
		n := checkpoint.RangesWithin(payload)
		cp := wire.Checkpoint{Floor: math.MaxInt64, Ranges: make([][2]uint64, n+n/2)}
		for i := range cp.Ranges {
			cp.Ranges[i] = [2]uint64{math.MaxInt64, math.MaxInt64}
		}
		b, err := json.Marshal(cp)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) > payload-2048 {
			t.Errorf("max_payload %d: %d ranges, %d bytes", payload, n, len(b))
		}
	}
	for payload, want := range map[int64]int{0: 64, 1 << 20: 12483, 64 << 20: 16384} {
		if got := checkpoint.RangesWithin(payload); got != want {
			t.Errorf("max_payload %d: %d ranges, want %d", payload, got, want)
		}
	}
}
