package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestADeliveryWhoseConnectionWasLostIsSentAgainAtOnceAndCountsAsNothing(t *testing.T) {
	s := spec()
	s.Retry.MaxAttempts, s.Breaker.Failures, s.PoolSize = 1, 2, wire.PoolSize{Min: 4, Max: 4}
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x", "c.x", "d.x", "e.x", "a.x")
		first := b.wantSent("1/1", "2/1", "3/1", "4/1")
		for range 10 { // more often than there are attempts, and than failures open the breaker
			b.ConnectionLost()
		}
		again := b.next()
		if len(again) != 40 {
			t.Fatalf("%d deliveries after ten losses, want each of four ten times", len(again))
		}
		again = again[36:]
		for i, d := range again {
			if d.seq != first[i].seq || d.attempt != 11 {
				t.Fatalf("event %d, attempt %d, in place of event %d", d.seq, d.attempt, first[i].seq)
			}
		}
		if st := b.Status(); st.Breaker != "closed" || st.InFlight != 4 || st.Limit != 4 || st.Retrying+st.Parking > 0 {
			t.Errorf("after the losses: %+v", st)
		}
		b.answer(first[0], "-NAK") // of what was lost: says nothing of what is out
		b.answer(first[0], "+WPI")
		b.wantSent()
		if !b.answer(first[0], "") {
			t.Error("an ack of what was lost does not count")
		}
		b.wantSent("5/1") // in the place of 1; its key goes on
		b.answer(again[1], "")
		b.one("6/1")
		after(30 * time.Second) // the end of ack_wait is that of the last delivery, and a failure
		if n := len(b.park.got); n != 4 {
			t.Errorf("%d events are parked after their only attempt, want 3, 4, 5 and 6", n)
		}
		b.park.store()
		b.wantAllFinished()
	})
}

func TestNothingFailsWhileTheConnectionIsAway(t *testing.T) {
	s := spec()
	s.Retry.MaxAttempts, s.Breaker.Failures = 1, 1
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x")
		b.wantSent("1/1", "2/1")
		b.pub.failWith(func(uint64) error { return nats.ErrReconnectBufExceeded })
		b.ConnectionLost()
		after(time.Hour - time.Millisecond) // the pool has just tried, and would wait a while
		b.wantSent()
		b.pub.failWith(nil)
		b.ConnectionBack()
		for _, d := range b.wantSent("1/2", "2/2") {
			b.answer(d, "")
		}
		b.wantAllFinished()
	})
}

func TestAProbeWhoseConnectionWasLostProbesAgain(t *testing.T) {
	s := spec()
	s.Breaker.Failures = 2
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x")
		for _, d := range b.next() {
			b.answer(d, "-NAK")
		}
		after(11 * time.Second)
		probe := b.next()
		b.ConnectionLost()
		again := b.next()
		if len(probe) != 1 || len(again) != 1 || again[0].seq != probe[0].seq || b.Status().Breaker != "half-open" {
			t.Fatalf("%d probes, %d after the loss, breaker %s", len(probe), len(again), b.Status().Breaker)
		}
		b.answer(again[0], "")
		if got := b.Status().Breaker; got != "closed" {
			t.Errorf("breaker %s", got)
		}
	})
}

func TestAPoolThatDrainsWaitsForNoAnswerFromALostConnection(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		b.one("1/1")
		drained := make(chan struct{})
		go func() { defer close(drained); b.Drain(context.Background()) }()
		after(time.Second)
		b.ConnectionLost()
		after(0)
		if !isClosed(drained) {
			t.Error("it waits for an answer that cannot come")
		}
		b.wantSent() // for the next owner to send
		<-drained
	})
}

func TestModePublishSendsNothingAgainWhenTheConnectionWasLost(t *testing.T) {
	s := spec()
	s.Deliver.Mode = wire.ModePublish
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.pub.before = func() { // while the event is being sent
			b.pub.before = nil
			b.ConnectionLost()
		}
		b.offer(1, "a.x")
		b.one("1/1")
		b.ConnectionLost()
		b.ConnectionBack()
		b.wantSent()
		b.wantAllFinished()
	})
}
