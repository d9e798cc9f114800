package pool_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// unjudged offers the next event to be parked, as a reader would.
func (b *bed) unjudged(seq uint64, subject string) {
	b.Helper()
	if !b.OfferToPark(makeEvent(seq, subject, nil, 0)) {
		b.Fatalf("no room for event %d", seq)
	}
	b.position.Store(seq)
	b.Flush()
}

func TestPool_AnEventOfferedToBeParkedIsParkedInOrderAndNeverSent(t *testing.T) {
	for _, how := range []string{wire.ExhaustedPark, wire.ExhaustedBlock} {
		t.Run(how, func(t *testing.T) {
			s := spec()
			s.OnExhausted = how
			withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
				b.offer(1, "a.x")
				d := b.one("1/1")
				b.unjudged(2, "a.x")
				b.offer(3, "a.x", "b.x")
				b.one("4/1")
				if len(b.park.got) != 0 {
					t.Fatal("parked before its turn")
				}
				b.answer(d, "")
				b.wantSent()
				if p := b.park.got[0]; p.Event.Sequence != 2 || p.Attempts != 0 || p.Reason != "too costly to judge" {
					t.Errorf("parked %+v", p)
				}
				b.park.store()
				b.one("3/1") // only now
				if st := b.Status(); st.TooCostly != 1 || st.Parked != 1 || b.count(wire.AdvEventParked) != 1 {
					t.Errorf("too costly %d, parked %d, told %d times", st.TooCostly, st.Parked, b.count(wire.AdvEventParked))
				}
			})
		})
	}
}

// What is to be parked asks nothing of the subscriber, so it does not wait for one.
func TestPool_AnEventOfferedToBeParkedWaitsForNoSubscriber(t *testing.T) {
	for name, away := range map[string]func(b *bed, d sent){
		"nobody listens": func(b *bed, d sent) {
			b.ask.now(core.Nobody)
			b.nobody(d)
		},
		"breaker is open": func(b *bed, d sent) { b.answer(d, "-NAK") },
	} {
		t.Run(name, func(t *testing.T) {
			s := spec()
			s.Breaker = wire.Breaker{Failures: 1, OpenFor: wire.Duration(time.Hour)}
			withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
				b.offer(1, "a.x", "b.x")
				for _, d := range b.wantSent("1/1", "2/1") {
					away(b, d)
				}
				if state := b.entry().State; state == wire.PoolLive {
					t.Error("nothing holds deliveries back: this shows nothing")
				}
				b.unjudged(3, "c.x")
				b.park.store()
				if st := b.Status(); st.TooCostly != 1 || st.Pending != 2 {
					t.Errorf("too costly %d, pending %d, want 1 and 2", st.TooCostly, st.Pending)
				}
			})
		})
	}
}

func TestPool_AnEventOfferedToBeParkedWaitsForRoomInTheParker(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.park.refuses(true)
		b.unjudged(1, "a.x")
		b.offer(2, "a.x")
		after(10 * time.Second)
		b.wantSent()
		b.park.refuses(false)
		after(2 * time.Second)
		b.park.store()
		b.one("2/1")
		if n := len(b.park.got); n != 1 || b.Status().TooCostly != 1 {
			t.Errorf("parked %d times", n)
		}
	})
}

func TestPool_AnEventThatLoopsIsParkedInOrderAndNeverSent(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		offer := func(seq uint64, subject, hops string) {
			b.Offer(makeEvent(seq, subject, nats.Header{"Sluice-Hops": {hops}}, 0))
			b.position.Store(seq)
			b.Flush()
		}
		offer(1, "a.x", "7")
		d := b.one("1/1")
		if got := d.msg.Header["Sluice-Hops"]; len(got) != 1 || got[0] != "8" {
			t.Errorf("the last delivery has the hops %v, want 8", got)
		}
		offer(2, "a.x", "8")
		offer(3, "a.x", "2")
		offer(4, "b.x", "300")
		if n := len(b.park.got); n != 1 || b.park.got[0].Event.Sequence != 4 {
			t.Fatalf("%d events are parked, want only the one whose turn has come", n)
		}
		b.answer(d, "")
		b.wantSent()
		if p := b.park.got[1]; p.Event.Sequence != 2 || p.Attempts != 0 || p.Reason != "loop" {
			t.Errorf("parked %+v", p)
		}
		b.park.store()
		b.answer(b.one("3/1"), "")
		b.wantAllFinished()
	})
}
