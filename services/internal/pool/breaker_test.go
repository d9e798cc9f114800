package pool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// TestOnePoisonEventRunsOutOfItsAttemptsAndLeavesOthersAlone: nothing but it is
// there for most of the time, so all failures in a row are its own.
func TestOnePoisonEventRunsOutOfItsAttemptsAndLeavesOthersAlone(t *testing.T) {
	for _, tt := range []struct {
		attempts, failures int
		how                string // it fails; "": no answer
	}{
		{5, 5, "-NAK"}, // the defaults
		{10, 5, "-NAK"},
		{4, 2, "-NAK"},
		{5, 1, "-NAK"},
		{1, 1, "-NAK"},
		{3, 1, ""},
		{30, 5, `-NAK {"delay": 0}`},
	} {
		t.Run(fmt.Sprintf("%d attempts, %d failures, %s", tt.attempts, tt.failures, tt.how), func(t *testing.T) {
			s := spec()
			s.Retry.MaxAttempts, s.Breaker.Failures = tt.attempts, tt.failures
			withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
				b.offer(1, "poison.x", "poison.x")
				sent := 0
				for b.Status().Parking == 0 {
					ds := b.next()
					for _, d := range ds {
						if sent++; d.seq != 1 || d.attempt != sent {
							t.Fatalf("event %d, attempt %d, after %d deliveries of the poison", d.seq, d.attempt, sent-1)
						}
						if tt.how != "" {
							b.answer(d, tt.how)
						}
					}
					if b.Status().Breaker != "closed" {
						t.Fatalf("breaker %s after %d failures of one event", b.Status().Breaker, sent)
					}
					if len(ds) == 0 {
						after(time.Second)
					}
				}
				if got := b.park.got[0]; sent != tt.attempts || got.Attempts != tt.attempts {
					t.Errorf("%d deliveries, parked after %d, want %d", sent, got.Attempts, tt.attempts)
				}
				b.park.store()
				b.answer(b.one("2/1"), "")
				b.wantAllFinished()
			})
		})
	}
}

func TestABreakerThatChangesAllTheTimeIsNotToldEachTime(t *testing.T) {
	s := spec()
	s.Breaker.Failures, s.Breaker.OpenFor = 1, wire.Duration(time.Millisecond)
	s.Retry.MaxAttempts = 1_000_000
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, keys(8)...)
		changes := 0
		for begun := time.Now(); time.Since(begun) < time.Minute; after(2 * time.Millisecond) {
			for _, d := range b.next() {
				b.answer(d, "-NAK")
				changes++
			}
		}
		told := b.count(wire.AdvBreakerOpened) + b.count(wire.AdvBreakerHalfOpened)
		if changes < 200 || told < 60 || told > 20+61 {
			t.Errorf("told %d times of about %d changes in a minute", told, changes)
		}
	})
}

func TestOtherKeysGoOnWhileOnePoisonEventFails(t *testing.T) {
	s := spec()
	s.Breaker.Failures = 2
	s.Retry.MaxAttempts = 10
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "poison.x")
		for seq := uint64(2); len(b.park.got) == 0; seq++ {
			b.offer(seq, "good.x")
			good := false
			for _, d := range b.next() {
				if good = good || d.seq == seq; d.seq == 1 {
					b.answer(d, "-NAK")
				} else {
					b.answer(d, "")
				}
			}
			if !good {
				t.Fatalf("event %d waits, the breaker is %s", seq, b.Status().Breaker)
			}
			after(time.Minute)
		}
		if n := b.count(wire.AdvBreakerOpened); n != 0 {
			t.Errorf("the breaker opened %d times", n)
		}
	})
}
