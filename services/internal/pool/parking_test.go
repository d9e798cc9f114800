package pool_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

var errNoRoom = fmt.Errorf("%w: it holds as much as it may", core.ErrFull)

// jammed brings a pool of n keys to where each key holds an event that cannot be
// parked, for err.
func jammed(t *testing.T, b *bed, n int, err error) {
	t.Helper()
	subjects := make([]string, n)
	for i := range subjects {
		subjects[i] = fmt.Sprint("k", i)
	}
	b.offer(1, subjects...)
	for _, d := range b.next() {
		b.answer(d, "+TERM")
	}
	b.park.answer(err)
	after(0)
}

func TestParking_WhereThereIsNoRoomThePoolSaysSoAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		said string
	}{
		{errNoRoom, errNoRoom.Error()},
		{errors.New("events cannot be parked: away"), ""},
	} {
		s := spec()
		s.PoolSize.Min = 200
		s.OrderBy = wire.OrderBy{Kind: wire.OrderSubject}
		withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
			jammed(t, b, 100, tt.err)
			b.offer(101, "k0", "free")
			b.answer(b.one("102/1"), "+ACK") // k0 holds its lane, and no other
			b.wantState(wire.PoolBlocked)
			if st := b.Status(); st.Reason != tt.err.Error() || st.Unparked != tt.said || st.Parked != 0 || st.Parking != 100 || st.Retrying != 0 {
				t.Errorf("reason %q, unparked %q, %d parked, %d to be parked, %d retrying", st.Reason, st.Unparked, st.Parked, st.Parking, st.Retrying)
			}
			if b.count(wire.AdvPoolBlocked) != 1 {
				t.Errorf("told %d times", b.count(wire.AdvPoolBlocked))
			}

			before := b.park.handed()
			for range 60 {
				after(time.Second)
				b.park.answer(tt.err)
			}
			if n := b.park.handed() - before; n < 15 || n > 40 {
				t.Errorf("%d tries in a minute, of 100 events; want one every few seconds", n)
			}
			b.wantSent()

			after(4 * time.Second)
			b.park.store() // there is room: one is stored, and so are all others at once
			after(0)
			b.wantState(wire.PoolLive)
			b.park.store()
			b.answer(b.one("101/1"), "+ACK")
			if st := b.Status(); st.Parked != 100 || st.Unparked != "" || st.Reason != "" {
				t.Errorf("%d parked, reason %q, unparked %q", st.Parked, st.Reason, st.Unparked)
			}
			b.wantAllFinished()
		})
	}
}

// Events that wait to be parked leave their room to others, as all that fail do,
// and are fetched to be parked.
func TestParking_EventsThatWaitForItAreLetGoAndFetchedOneAtATime(t *testing.T) {
	t.Parallel()
	s := spec()
	s.PoolSize = wire.PoolSize{Min: 300, Max: 300}
	s.OrderBy = wire.OrderBy{Kind: wire.OrderSubject}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		const window = 1200
		for seq := uint64(1); seq <= window; {
			if !b.Offer(makeEvent(seq, fmt.Sprint("k", seq), nil, 0)) {
				t.Fatalf("no room for event %d", seq)
			}
			b.position.Store(seq)
			seq++
			b.Flush()
			for _, d := range b.next() {
				b.answer(d, "+TERM")
			}
			b.park.answer(errNoRoom)
		}
		after(5 * time.Second)
		b.park.answer(errNoRoom)
		b.offer(window+1, "free") // which has room only if what waits is let go
		b.answer(b.one(fmt.Sprintf("%d/1", window+1)), "+ACK")
		for range 60 {
			after(time.Second)
			b.park.answer(errNoRoom)
		}
		if n := b.fetch.asked(); n < 1 || n > 40 {
			t.Errorf("%d events fetched in a minute, none of which can be parked", n)
		}
		for range 10 {
			after(4 * time.Second)
			b.park.store()
		}
		if st := b.Status(); st.Parked != window {
			t.Errorf("%d parked, want %d: %+v", st.Parked, window, st)
		}
		b.wantAllFinished()
	})
}

func TestParking_ALateAckEndsTheWait(t *testing.T) {
	t.Parallel()
	s := spec()
	s.Retry.MaxAttempts = 1
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a")
		d := b.one("1/1")
		after(s.AckWait.Std())
		b.park.answer(errNoRoom)
		if !b.answer(d, "+ACK") {
			t.Error("the ack does not count")
		}
		b.wantAllFinished()
		b.wantState(wire.PoolLive) // nothing is left to be parked
		if st := b.Status(); st.Unparked != "" || st.Parking != 0 {
			t.Errorf("unparked %q, %d to be parked", st.Unparked, st.Parking)
		}
		after(10 * time.Second)
		if n := b.park.handed(); n != 1 {
			t.Errorf("handed to the parker %d times", n)
		}
	})
}
