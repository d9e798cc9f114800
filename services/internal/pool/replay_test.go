package pool_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
)

func TestAReplayedDeliveryNamesTheReplayAndNoEpoch(t *testing.T) {
	s := spec()
	s.Deliver.Stream = "T"
	withPool(t, config{spec: s, until: 9, replay: pool.Replay{ID: "r1"}}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		d := b.one("1/1")
		want := nats.Header{
			"Sluice-Subscription": {"triage"}, "Sluice-Store": {"S"}, "Sluice-Sequence": {"1"}, "Sluice-Subject": {"a.x"},
			"Sluice-Time": {"1970-01-01T00:16:40.000000001Z"}, "Sluice-Attempt": {"1"}, "Sluice-Replay": {"r1"}, "Nats-Msg-Id": {"S:1:triage:r1"},
		}
		if diff := cmp.Diff(d.msg.Header, want); diff != "" {
			t.Errorf("headers (-got +want):\n%s", diff)
		}
	})
}

func TestAReplayTakesNothingAboveItsEnd(t *testing.T) {
	withPool(t, config{spec: spec(), until: 2, replay: pool.Replay{ID: "r1"}}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x", "c.x", "a.x")
		for _, d := range b.wantSent("1/1", "2/1") {
			b.answer(d, "+ACK")
		}
		b.wantSent()
		b.wantAllFinished()
		if cp, st := b.Progress(); cp.Floor != 4 || st.Matched != 2 || st.Finished != 2 {
			t.Errorf("floor %d, matched %d, finished %d; want 4, 2, 2", cp.Floor, st.Matched, st.Finished)
		}
	})
}

func TestAReplayCanNarrowTheSelector(t *testing.T) {
	also, err := selector.Compile(wire.Selector{ByEventPayload: []byte(`{"n":[{"numeric":[">",1]}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	withPool(t, config{spec: spec(), until: 9, replay: pool.Replay{ID: "r1", Also: also}}, func(_ *testing.T, b *bed) {
		for i, body := range []string{`{"n":1}`, `{"n":2}`, `none`, `{"n":3}`} {
			e := event.New("S", selector.Message{Sequence: uint64(i + 1), Time: time.Unix(1000, 0), Subject: "a." + body[:1], Data: []byte(body)})
			e.Matched()
			b.Offer(e)
			b.position.Store(e.Sequence)
		}
		b.Flush()
		b.answer(b.one("2/1"), "")
		b.answer(b.one("4/1"), "")
		b.wantAllFinished()
	})
}

func TestAnEventParkedByAReplaySaysSo(t *testing.T) {
	withPool(t, config{spec: spec(), until: 9, replay: pool.Replay{ID: "r1"}}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		b.answer(b.one("1/1"), "+TERM no")
		if len(b.park.got) != 1 || b.park.got[0].Replay != "r1" {
			t.Fatalf("parked %+v", b.park.got)
		}
		b.park.store()
		b.wantAllFinished()
	})
}

// TestTheRateIsHeldWithinFivePercent also has it that nothing is sent in a burst:
// neither at the start, nor after a wait. The rate of a replay stands before that of
// its subscription.
func TestTheRateIsHeldWithinFivePercent(t *testing.T) {
	for _, tt := range []struct{ subscription, replay, want int }{{1, 0, 1}, {7, 0, 7}, {3000, 0, 3000}, {0, 1, 1}, {0, 100, 100}, {7, 100, 100}, {3000, 100, 100}} {
		for _, mode := range []string{wire.ModeAck, wire.ModePublish} {
			perSecond := tt.want
			s := spec()
			s.Deliver.Mode, s.OrderBy.Kind, s.Deliver.Rate = mode, wire.OrderNone, tt.subscription
			withPool(t, config{spec: s, until: math.MaxUint64, rate: tt.replay, replay: pool.Replay{ID: "r1"}}, func(t *testing.T, b *bed) {
				const seconds = 20
				b.pub.saw = func(d sent) { go b.Answer(d.token, nil, nil) }
				seq := uint64(0)
				for tick := range seconds * 10 {
					for range perSecond/10 + 2 { // more than can be sent
						if seq++; !b.Offer(makeEvent(seq, "a.x", nil, 0)) {
							seq--
							break
						}
						b.position.Store(seq)
					}
					b.Flush()
					after(100 * time.Millisecond)
					allowed := float64(perSecond)*float64(tick+1)/10*1.05 + 1
					if n := len(b.pub.sent); float64(n) > allowed {
						t.Fatalf("%d a second, %s: %d sent in %d × 100 ms", perSecond, mode, n, tick+1)
					}
				}
				if n, want := len(b.pub.sent), perSecond*seconds; float64(n) < float64(want)*0.95-1 {
					t.Errorf("%d a second, %s: %d sent in %d s, want %d", perSecond, mode, n, seconds, want)
				}
			})
		}
	}
}
