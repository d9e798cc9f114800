package pool_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// away offers events, of which each is answered with "no responders", and the
// servers say that nobody listens.
func (b *bed) away(n int) {
	b.Helper()
	b.ask.now(core.Nobody)
	b.offer(1, keys(n)...)
	for _, d := range b.next() {
		b.nobody(d)
	}
	b.wantState(wire.PoolWaiting)
}

// found is the one delivery by which somebody is found, within the 2 s that the
// pool may take.
func (b *bed) found() sent {
	b.Helper()
	b.ask.now(core.Somebody)
	for range 41 {
		if ds := b.next(); len(ds) == 1 && ds[0].attempt == 1 {
			return ds[0]
		} else if len(ds) > 0 {
			b.Fatalf("sent %+v, want one event at its first attempt", ds)
		}
		after(50 * time.Millisecond)
	}
	b.Fatal("the subscriber is not found within 2s")
	return sent{}
}

func TestSearch_WhereNobodyListensNothingIsSentAndNothingCounted(t *testing.T) {
	s := spec()
	s.Retry.MaxAttempts, s.Breaker.Failures = 1, 1
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.away(20)
		if st := b.Status(); st.InFlight != 0 || st.Delivered != 0 || !strings.Contains(st.Reason, "nobody listens on target") {
			t.Errorf("in flight %d, delivered %d, reason %q", st.InFlight, st.Delivered, st.Reason)
		}
		before := b.ask.asked()
		after(100 * time.Second)
		b.wantSent()
		if n := b.ask.asked() - before; n < 45 || n > 55 || b.count(wire.AdvPoolWaiting) != 1 {
			t.Errorf("asked %d times, told %d times", n, b.count(wire.AdvPoolWaiting))
		}
		b.answer(b.found(), "")
		b.wantState(wire.PoolLive)
		if n := len(b.next()); n != 16 {
			t.Errorf("%d deliveries, want the limit of 16", n)
		}
	})
}

func TestSearch_TheFirstQuestionIsAskedAtOnceAndBelieved(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.ask.now(core.Somebody)
		b.offer(1, "a.x", "b.x")
		ds := b.wantSent("1/1", "2/1")
		b.nobody(ds[0])
		b.wantState(wire.PoolLive) // the server's word alone is not enough
		b.answer(b.one("1/1"), "") // the subscriber was away for a moment
		b.nobody(ds[1])
		b.answer(b.one("2/1"), "")
		b.wantAllFinished()
	})
}

func TestSearch_NoRespondersWrittenBySomebodyWhoListensIsAnEmptyAnswer(t *testing.T) {
	for _, late := range []bool{false, true} { // whether the subscriber takes longer than the pool waits for a "no"
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) {
			withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
				b.ask.now(core.Somebody)
				b.offer(1, keys(40)...)
				sent := map[uint64]int{}
				for round := 0; b.Status().Finished < 40; round++ {
					ds := b.next()
					if len(ds) == 0 || round == 1000 {
						t.Fatalf("it does not end: %+v", b.Status())
					}
					if late {
						after(askSettles + time.Millisecond)
					}
					for _, d := range ds {
						if d.attempt != 1 {
							t.Fatalf("event %d is sent as attempt %d", d.seq, d.attempt)
						}
						sent[d.seq]++
						b.nobody(d)
					}
				}
				for seq, n := range sent {
					if !late && n > 2 {
						t.Errorf("event %d was sent %d times", seq, n)
					}
				}
				b.wantAllFinished()
				b.wantState(wire.PoolLive)
			})
		})
	}
}

// askSettles is how long the pool waits for a "no".
const askSettles = 250 * time.Millisecond

func TestSearch_NoRespondersIsNoAnswerWhereOnlyAnExplicitOneCounts(t *testing.T) {
	for _, to := range []wire.Deliver{{Ack: wire.AckExplicit}, {Stream: "T"}} {
		s := spec()
		s.Deliver.Ack, s.Deliver.Stream = to.Ack, to.Stream
		withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
			b.ask.now(core.Somebody)
			b.offer(1, "a.x")
			b.nobody(b.one("1/1"))
			b.nobody(b.one("1/1")) // sent once more, for sure to somebody
			if st := b.Status(); st.InFlight != 1 || st.Finished != 0 {
				t.Fatalf("%+v", st)
			}
			after(30 * time.Second)
			if st := b.Status(); st.Retrying != 1 {
				t.Errorf("after ack_wait: %+v", st)
			}
		})
	}
}

func TestSearch_NothingIsFinishedWhereTheServersDoNotTell(t *testing.T) {
	s := spec()
	s.Retry.MaxAttempts, s.Breaker.Failures = 1, 1
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, keys(20)...) // the asker knows nothing
		for _, d := range b.next() {
			b.nobody(d)
		}
		asked := 0
		for range 2000 { // 100 seconds: one event at a time asks
			after(50 * time.Millisecond)
			for _, d := range b.next() {
				if d.attempt != 1 {
					t.Fatalf("event %d is sent as attempt %d", d.seq, d.attempt)
				}
				asked++
				b.nobody(d)
			}
		}
		b.wantState(wire.PoolWaiting)
		if asked < 45 || asked > 55 {
			t.Errorf("sent %d times", asked)
		}
		if st := b.Status(); st.Finished+st.Parked != 0 || st.Delivered != 0 || !strings.Contains(st.Reason, "as the servers say") {
			t.Errorf("%+v", st)
		}
	})
}

func TestSearch_AQuietSubscriberCountsAsPresent(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.away(2)
		b.ask.now(core.Unknown)
		after(100 * time.Millisecond)
		b.one("1/1")
		after(askSettles - 1)
		b.wantState(wire.PoolWaiting)
		after(1)
		b.wantState(wire.PoolLive)
		b.one("2/1")
	})
}

func TestSearch_AnAskingDeliveryThatDidNotLeaveProvesNothing(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.away(2)
		b.ask.now(core.Somebody)
		b.pub.failWith(func(uint64) error { return nats.ErrConnectionClosed })
		after(10 * time.Second)
		b.wantState(wire.PoolWaiting)
		b.pub.failWith(nil)
		after(time.Second)
		b.wantState(wire.PoolLive)
	})
}

func TestSearch_AnAskerWithoutRoomIsAskedAgain(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.away(1)
		b.ask.mu.Lock()
		b.ask.refuse = true
		b.ask.mu.Unlock()
		before := b.ask.asked()
		after(100 * time.Second)
		if n := b.ask.asked() - before; n < 45 || n > 55 {
			t.Errorf("asked %d times", n)
		}
		b.answer(b.found(), "")
		b.wantAllFinished()
	})
}

func TestSearch_OneQuestionIsOutAtATimeAndItsAnswerMayComeLate(t *testing.T) {
	for name, meanwhile := range map[string]func(b *bed, d sent){
		"nothing":                  func(*bed, sent) {},
		"a late ack of the event":  func(b *bed, d sent) { b.answer(d, "") },
		"a late term of the event": func(b *bed, d sent) { b.answer(d, "+TERM") },
		"draining":                 func(b *bed, _ sent) { b.Drain(b.ended()) },
		"closing":                  func(b *bed, _ sent) { b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
				b.ask.hold = true
				b.offer(1, "a.x", "b.x")
				ds := b.wantSent("1/1", "2/1")
				b.nobody(ds[0])
				b.nobody(ds[1])
				after(time.Minute) // much longer than ack_wait: what was not sent does not expire
				if n := b.ask.asked(); n != 1 {
					t.Fatalf("%d questions", n)
				}
				b.wantSent()
				meanwhile(b, ds[0])
				b.ask.now(core.Somebody)
				switch name {
				case "draining", "closing":
					b.wantSent()
					return
				}
				b.park.store()
				for range 10 {
					for _, d := range b.next() {
						b.answer(d, "")
					}
					after(time.Second)
				}
				b.wantAllFinished()
				if st := b.Status(); st.Retrying != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

const receipt = `{"stream":"AUDIT","seq":1}`

func TestSearch_AStreamAloneIsNobody(t *testing.T) {
	s := spec()
	s.Retry.MaxAttempts, s.Breaker.Failures = 1, 1
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.ask.now(core.Nobody)
		b.offer(1, keys(5)...)
		ds := b.next()
		for _, d := range ds {
			b.answer(d, receipt)
		}
		b.wantState(wire.PoolWaiting)
		after(100 * time.Second)
		b.wantSent() // else each question would leave a copy in the stream
		if st := b.Status(); st.Captured != uint64(len(ds)) || st.Delivered != 0 || st.Parked+st.Finished != 0 || st.Breaker != "closed" {
			t.Errorf("%+v", st)
		}
		d := b.found()
		b.answer(d, receipt)
		b.answer(d, "")
		b.wantState(wire.PoolLive)
	})
}

func TestSearch_AStreamBesideASubscriberAsksHardlyEver(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.ask.now(core.Somebody)
		for i := range uint64(100) {
			b.offer(i+1, "a.x")
			d := b.one(fmt.Sprintf("%d/1", i+1))
			b.answer(d, receipt)
			after(50 * time.Millisecond)
			b.answer(d, "+ACK")
		}
		b.wantAllFinished()
		if n := b.ask.asked(); n > 4 { // in 5 s
			t.Errorf("%d questions", n)
		}
	})
}

func TestSearch_ASubscriberThatLeavesAStreamBehindIsMissed(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.ask.now(core.Somebody)
		b.offer(1, "a.x")
		d := b.one("1/1")
		b.answer(d, receipt)
		b.answer(d, "+ACK")
		after(3 * time.Second)
		b.ask.now(core.Nobody)
		b.offer(2, "a.x", "b.x")
		for _, d := range b.wantSent("2/1", "3/1") {
			b.answer(d, receipt)
		}
		b.wantState(wire.PoolWaiting)
		if st := b.Status(); st.InFlight != 0 || st.Retrying != 0 {
			t.Errorf("%+v", st)
		}
	})
}
