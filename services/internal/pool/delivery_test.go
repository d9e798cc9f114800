package pool_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestADeliveryCarriesTheEventAndWhereItStands(t *testing.T) {
	withPool(t, config{spec: spec(), cp: wire.Checkpoint{Floor: 40}}, func(t *testing.T, b *bed) {
		e := makeEvent(42, "github.a.opened", nats.Header{"X": {"a", "b"}, "Nats-Msg-Id": {"1"}, "Sluice-Epoch": {"99"}}, 3)
		b.Offer(e)
		b.Flush()
		d := b.one("42/1")
		if d.msg.Subject != "target" || string(d.msg.Data) != "\x00\x00\x00" || d.token == d.msg.Reply {
			t.Errorf("subject %q, reply %q, data %q", d.msg.Subject, d.msg.Reply, d.msg.Data)
		}
		want := nats.Header{
			"X": {"a", "b"}, "Sluice-Subscription": {"triage"}, "Sluice-Store": {"S"}, "Sluice-Sequence": {"42"},
			"Sluice-Subject": {"github.a.opened"}, "Sluice-Time": {"1970-01-01T00:16:40.000000042Z"},
			"Sluice-Attempt": {"1"}, "Sluice-Epoch": {"7"},
		}
		if diff := cmp.Diff(d.msg.Header, want); diff != "" {
			t.Errorf("headers (-got +want):\n%s", diff)
		}
		b.Offer(makeEvent(43, "y.x", nil, 0))
		b.Flush()
		if d := b.one("43/1"); d.msg.Header["X"] != nil {
			t.Error("an event got a header of the one before it")
		}
	})
}

func TestAnyTextIsAnAckAndFinishes(t *testing.T) {
	for _, text := range []string{"", "+ACK", "ok", "{}", "+NXT"} {
		withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
			b.offer(1, "a.x", "a.x")
			d := b.one("1/1")
			if !b.answer(d, text) {
				t.Errorf("%q did not settle the event", text)
			}
			b.one("2/1")
			if cp := b.entry().Checkpoint; cp.Floor != 1 {
				t.Errorf("floor = %d, want 1", cp.Floor)
			}
			if !b.answer(d, text) {
				t.Error("the same answer again was not taken for settled")
			}
			if st := b.Status(); st.Finished != 1 || st.LastAckAt == nil {
				t.Errorf("finished = %d", st.Finished)
			}
		})
	}
}

func TestForeignTokensAreNotAnswers(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		d := b.one("1/1")
		for _, token := range []string{"", ".", "..", "x", "0.0.1", "-1.0.1", "zzzzz.1.1", "0.1", d.token + ".1", "1" + d.token} {
			if b.Answer(token, nil, nil) {
				t.Errorf("token %q settled something", token)
			}
		}
		if st := b.Status(); st.InFlight != 1 || st.Finished != 0 {
			t.Errorf("in flight %d, finished %d", st.InFlight, st.Finished)
		}
	})
}

func TestATokenOfAFinishedEventDoesNotTouchTheNextInItsSlot(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x")
		first := b.one("1/1")
		b.answer(first, "")
		b.one("2/1")
		for _, text := range []string{"", "-NAK", "+TERM no"} {
			b.answer(first, text)
		}
		if st := b.Status(); st.InFlight != 1 || st.Finished != 1 || len(b.park.got) > 0 {
			t.Errorf("in flight %d, finished %d, parked %v", st.InFlight, st.Finished, b.park.got)
		}
	})
}

func TestNakWithoutDelayBacksOffTwiceAsLongEachTime(t *testing.T) {
	s := spec()
	s.Retry = wire.Retry{MaxAttempts: 0, MinBackoff: wire.Duration(time.Second), MaxBackoff: wire.Duration(10 * time.Second)}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		for n, wait := range [][2]time.Duration{{1000, 1500}, {2000, 3000}, {4000, 6000}, {6000, 10000}, {5000, 10000}, {5000, 10000}} {
			least, most := wait[0]*time.Millisecond, wait[1]*time.Millisecond
			d := b.one(fmt.Sprintf("1/%d", n+1))
			b.answer(d, "-NAK")
			if st := b.Status(); st.Retrying != 1 || st.InFlight != 0 {
				t.Fatalf("retrying %d, in flight %d", st.Retrying, st.InFlight)
			}
			after(least - 1)
			b.wantSent()
			after(most - least + 2)
		}
		b.one("1/7")
	})
}

func TestNakWithDelayWaitsAsLongAsTheSubscriberWants(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x")
		b.answer(b.one("1/1"), `-NAK {"delay": 90000000000}`)
		after(90*time.Second - 1)
		b.wantSent()
		after(1)
		b.answer(b.one("1/2"), `-NAK {"delay": 0}`)
		after(0)
		b.one("1/3")
	})
}

func TestWPIStartsAckWaitAnew(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x")
		ds := b.wantSent("1/1", "2/1")
		after(29 * time.Second)
		if b.answer(ds[0], "+WPI") {
			t.Error("+WPI settled the event")
		}
		if st := b.Status(); st.ExtendedAt == nil || !st.ExtendedAt.Equal(time.Now()) || st.HeardAt == nil || !st.HeardAt.Equal(time.Now()) {
			t.Errorf("last extended at %v, last heard at %v", st.ExtendedAt, st.HeardAt)
		}
		after(29 * time.Second) // the second one has expired, and its backoff is over
		b.wantSent("2/2")
		after(time.Second)
		if st := b.Status(); st.Retrying != 1 {
			t.Fatalf("retrying = %d, want 1", st.Retrying)
		}
		after(1500 * time.Millisecond)
		b.wantSent("1/2")
	})
}

func TestTermParksAtOnceAndHoldsTheLaneUntilStored(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x", "b.x")
		ds := b.wantSent("1/1", "3/1")
		if !b.answer(ds[0], "+TERM broken body") {
			t.Error("+TERM was not taken")
		}
		b.wantSent()
		p := b.park.got[0]
		if p.Event.Sequence != 1 || p.Attempts != 1 || p.Reason != "terminated by the subscriber: broken body" ||
			p.Name != "triage" || p.UID != "u1" || p.Epoch != 7 {
			t.Errorf("parked %+v", p)
		}
		if cp := b.entry().Checkpoint; cp.Floor != 0 {
			t.Error("finished before it was stored")
		}
		b.park.store()
		b.one("2/1")
		if cp := b.entry().Checkpoint; cp.Floor != 1 {
			t.Errorf("floor = %d, want 1", cp.Floor)
		}
		if st := b.Status(); st.Parked != 1 || b.count(wire.AdvEventParked) != 1 {
			t.Errorf("parked = %d, told %d times", st.Parked, b.count(wire.AdvEventParked))
		}
	})
}

func TestAParkerWithoutRoomIsAskedAgain(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.park.refuses(true)
		b.offer(1, "a.x", "a.x")
		d := b.one("1/1")
		b.answer(d, "+TERM")
		after(10 * time.Second)
		b.park.refuses(false)
		after(2 * time.Second)
		b.park.store()
		b.one("2/1")
		if n := len(b.park.got); n != 1 {
			t.Errorf("parked %d times", n)
		}
	})
}

func TestATimeoutIsTriedAgainUntilTheEventIsParked(t *testing.T) {
	s := spec()
	s.Retry.MaxAttempts = 3
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x")
		ds := b.wantSent("1/1", "2/1")
		b.answer(ds[1], "")
		after(30*time.Second - 1)
		b.wantSent()
		after(1500*time.Millisecond + 1) // the longest backoff
		b.one("1/2")
		after(33 * time.Second)
		b.one("1/3")
		after(time.Minute)
		p := b.park.got[0]
		if p.Attempts != 3 || p.Reason != "not answered within 30s, attempt 3 of 3" {
			t.Errorf("parked after %d attempts: %s", p.Attempts, p.Reason)
		}
		b.park.store()
		b.wantSent()
		b.wantAllFinished()
	})
}

func TestALateAckOfAnEarlierAttemptCounts(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait time.Duration
		sent []string
	}{
		{"while the event rests", 30*time.Second + 1, nil},
		{"while the next attempt is out", 32 * time.Second, []string{"1/2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
				b.offer(1, "a.x", "a.x")
				d := b.one("1/1")
				after(tt.wait)
				b.wantSent(tt.sent...)
				b.answer(d, "-NAK") // of an attempt that is over: says nothing
				b.answer(d, "+WPI")
				if !b.answer(d, "") {
					t.Error("the late ack did not count")
				}
				b.one("2/1")
				after(29 * time.Second)
				b.wantSent() // nothing of event 1 any more
			})
		})
	}
}

func TestBlockHoldsItsOwnLaneUntilItSucceeds(t *testing.T) {
	s := spec()
	s.OnExhausted, s.Retry.MaxAttempts = wire.ExhaustedBlock, 2
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x", "b.x", "b.x")
		ds := b.wantSent("1/1", "3/1")
		b.answer(ds[0], "-NAK")
		after(1500 * time.Millisecond)
		b.answer(b.one("1/2"), "-NAK")
		b.wantState(wire.PoolBlocked)
		if n := b.count(wire.AdvPoolBlocked); n != 1 || len(b.park.got) != 0 {
			t.Errorf("told %d times, parked %v", n, b.park.got)
		}
		b.answer(ds[1], "")
		b.one("4/1")
		after(3 * time.Second)
		b.answer(b.one("1/3"), "-NAK")
		after(6 * time.Second)
		b.answer(b.one("1/4"), "")
		b.one("2/1")
		b.wantState(wire.PoolLive)
	})
}

func TestABlockedLaneDoesNotFillTheWindowOfOthers(t *testing.T) {
	s := spec()
	s.OnExhausted, s.Retry.MaxAttempts, s.PoolSize = wire.ExhaustedBlock, 1, wire.PoolSize{Min: 1, Max: 1}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		for seq := uint64(1); seq < 1000; seq++ {
			b.offer(seq, "a.x")
		}
		b.answer(b.one("1/1"), `-NAK {"delay": 3600000000000}`)
		for seq := uint64(1000); seq < 3000; seq++ {
			b.offer(seq, "a.x")
		}
		b.wantSent()
		b.offer(3000, "b.x")
		b.answer(b.one("3000/1"), "")
		after(time.Hour)
		d := b.one("1/2")
		for seq := 2; seq < 3000; seq++ {
			b.answer(d, "")
			d = b.one(fmt.Sprintf("%d/1", seq))
		}
		b.answer(d, "")
		b.wantAllFinished()
		<-b.Room()
	})
}

func TestOrderBy(t *testing.T) {
	header := func(v string) nats.Header { return nats.Header{"Key": {v}} }
	events := []struct {
		subject string
		header  nats.Header
	}{{"a.b.x", header("1")}, {"a.b.y", header("2")}, {"a.c.x", header("1")}, {"a.b.x", header("3")}, {"z", nil}, {"y", nil}}
	for _, tt := range []struct {
		name string
		by   wire.OrderBy
		want []string // first of each lane
	}{
		{"stream", wire.OrderBy{}, []string{"1/1", "3/1", "5/1"}},
		{"subject", wire.OrderBy{Kind: wire.OrderSubject}, []string{"1/1", "2/1", "3/1", "5/1", "6/1"}},
		{"none", wire.OrderBy{Kind: wire.OrderNone}, []string{"1/1", "2/1", "3/1", "4/1", "5/1", "6/1"}},
		{"token 1", wire.OrderBy{Kind: wire.OrderToken, Token: 1}, []string{"1/1", "5/1", "6/1"}},
		{"token 3", wire.OrderBy{Kind: wire.OrderToken, Token: 3}, []string{"1/1", "2/1", "5/1"}},
		{"token that no subject has", wire.OrderBy{Kind: wire.OrderToken, Token: 9}, []string{"1/1"}},
		{"header in any case", wire.OrderBy{Kind: wire.OrderHeader, Header: "kEY"}, []string{"1/1", "2/1", "4/1", "5/1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec()
			s.OrderBy = tt.by
			withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
				for i, e := range events {
					b.Offer(makeEvent(uint64(i+1), e.subject, e.header, 0))
				}
				b.Flush()
				ds := b.wantSent(tt.want...)
				for n := len(ds); n > 0; n = len(ds) {
					for _, d := range ds {
						b.answer(d, "")
					}
					ds = b.next()
				}
				b.position.Store(6)
				b.wantAllFinished()
			})
		})
	}
}

func TestAnErrorOfTheConnectionTakesTheDeliveryBack(t *testing.T) {
	s := spec()
	s.Breaker.Failures = 1 // it is no failure of the subscriber
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.pub.failWith(func(uint64) error { return nats.ErrConnectionClosed })
		b.offer(1, "a.x", "b.x", "a.x")
		after(10 * time.Second)
		if st := b.Status(); st.InFlight != 0 || st.Delivered != 0 || st.Pending != 3 {
			t.Errorf("in flight %d, delivered %d, pending %d", st.InFlight, st.Delivered, st.Pending)
		}
		b.wantState(wire.PoolLive)
		b.pub.failWith(nil)
		after(time.Second)
		b.wantSent("1/1", "2/1")
	})
}

func TestWhatCanNeverBeSentIsParked(t *testing.T) {
	for _, mode := range []string{wire.ModeAck, wire.ModePublish} {
		for _, err := range []error{nats.ErrMaxPayload, nats.ErrBadHeaderMsg, nats.ErrBadSubject, fmt.Errorf("wrapped: %w", nats.ErrMaxPayload)} {
			s := spec()
			s.Deliver.Mode, s.PoolSize = mode, wire.PoolSize{Min: 1, Max: 1}
			withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
				b.pub.failWith(func(seq uint64) error {
					if seq == 1 {
						return err
					}
					return nil
				})
				b.offer(1, "a.x", "a.x", "b.x")
				b.one("3/1") // at once: nothing is in flight
				if n := len(b.park.got); n != 1 || b.park.got[0].Reason != "cannot be sent: "+err.Error() {
					t.Fatalf("parked %v", b.park.got)
				}
				b.park.store()
				for _, d := range b.pub.sent {
					b.answer(d, "")
				}
				b.one("2/1")
			})
		}
	}
}

func TestModePublishFinishesAtOnceInOrderOfTheKey(t *testing.T) {
	s := spec()
	s.Deliver.Mode = wire.ModePublish
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x", "b.x", "a.x")
		for _, d := range b.next() {
			if d.msg.Reply != "" {
				t.Error("a reply subject, but nobody waits for an answer")
			}
		}
		b.wantAllFinished()
		lost := errors.New("connection is away")
		b.pub.failWith(func(seq uint64) error {
			if seq == 5 {
				return lost
			}
			return nil
		})
		b.offer(5, "a.x", "a.x")
		b.wantSent()
		b.pub.failWith(nil)
		after(time.Second)
		b.wantSent("5/1", "6/1")
		b.wantAllFinished()
		after(time.Hour) // ack_wait means nothing here
		b.wantSent()
	})
}

func TestWhatAnEarlierOwnerFinishedIsNotDelivered(t *testing.T) {
	withPool(t, config{spec: spec(), cp: wire.Checkpoint{Floor: 2, Ranges: [][2]uint64{{4, 5}}}}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x", "c.x", "d.x", "e.x", "f.x", "g.x")
		ds := b.wantSent("3/1", "6/1", "7/1")
		b.offer(6, "f.x") // again, from another reader
		b.wantSent()
		for _, d := range ds {
			b.answer(d, "")
		}
		b.wantAllFinished()
	})
}

func TestATimeToComeSkipsWhatIsStoredBeforeIt(t *testing.T) {
	s := spec()
	s.Start = wire.Position{Kind: wire.PositionTime, Time: time.Unix(1000, 3)}
	withPool(t, config{spec: s, record: wire.Record{StartSequence: 2}}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x", "c.x") // 1 lies before the start: only a seek leads there
		b.wantSent("1/1", "3/1")
	})
}
