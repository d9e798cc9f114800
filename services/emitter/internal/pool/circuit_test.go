package pool_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/timers"
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

// target is what the contract says of a breaker, in other words than the code.
type target struct {
	failures int
	state    string
	era      int             // grows with each change of state
	row      []uint64        // events that failed in a row while it was closed
	out      map[uint64]int  // deliveries that wait for an answer: in which era they were sent
	spent    map[uint64]int  // attempts that failed while it was closed
	probes   map[uint64]bool // of what is out
}

func (m *target) become(state string) { m.state, m.era, m.row = state, m.era+1, nil }

func (m *target) sent(t *rapid.T, d sent) {
	if m.state == "open" {
		m.become("half-open")
	}
	for seq := range m.out {
		if m.state == "half-open" && m.probes[seq] && m.out[seq] == m.era {
			t.Fatalf("event %d is sent beside the probe %d", d.seq, seq)
		}
	}
	m.out[d.seq], m.probes[d.seq] = m.era, m.state == "half-open"
}

func (m *target) answered(seq uint64, ok bool) {
	era, probe := m.out[seq], m.probes[seq]
	delete(m.out, seq)
	if !ok && !probe {
		m.spent[seq]++
	}
	switch {
	case era != m.era:
	case probe && ok:
		m.become("closed")
	case probe:
		m.become("open")
	case ok:
		m.row = nil
	default:
		m.row = append(m.row, seq)
		different := false
		for _, other := range m.row {
			different = different || other != seq
		}
		if different && len(m.row) >= m.failures {
			m.become("open")
		}
	}
}

// TestTheBreakerJudgesTheTargetWhateverItAnswers holds a pool against the rule:
// it opens after failures in a row of at least two events, closes by a probe, and
// no event is parked before it has used its attempts, nor sent after that.
func TestTheBreakerJudgesTheTargetWhateverItAnswers(t *testing.T) {
	clocktest.Run(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // without Deadline, which a bubble forbids
			tm := timers.New()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- tm.Run(ctx) }()
			defer func() {
				cancel()
				<-done //nolint:errcheck // only that it came matters
			}()
			s := spec()
			s.AckWait = wire.Duration(time.Hour) // all is answered, at once or later
			s.Retry.MaxAttempts = rapid.SampledFrom([]int{1, 2, 5, 9}).Draw(t, "max_attempts")
			s.Breaker.Failures = rapid.SampledFrom([]int{1, 2, 5}).Draw(t, "failures")
			m := &target{
				failures: s.Breaker.Failures, state: "closed",
				out: map[uint64]int{}, spent: map[uint64]int{}, probes: map[uint64]bool{},
			}
			b := newBed(t, tm, config{spec: s})
			defer b.Close()
			var waiting []sent
			look := func() {
				synctest.Wait()
				for _, d := range b.next() {
					m.sent(t, d)
					waiting = append(waiting, d)
				}
				b.park.store()
			}
			last := uint64(0)
			t.Repeat(map[string]func(*rapid.T){
				"offer": func(t *rapid.T) {
					last++
					b.offer(last, rapid.SampledFrom([]string{"a.x", "b.x", "c.x"}).Draw(t, "key"))
				},
				"answer": func(t *rapid.T) {
					if len(waiting) == 0 {
						return
					}
					i := rapid.IntRange(0, len(waiting)-1).Draw(t, "delivery")
					d := waiting[i]
					waiting = append(waiting[:i], waiting[i+1:]...)
					ok := rapid.IntRange(0, 3).Draw(t, "answer") == 0
					m.answered(d.seq, ok)
					b.answer(d, map[bool]string{true: "", false: "-NAK"}[ok])
				},
				"pass": func(t *rapid.T) {
					after(rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute}).Draw(t, "time"))
				},
				"": func(t *rapid.T) {
					look()
					look() // what became free by what was stored
					state := b.Status().Breaker
					if m.state == "open" && state == "half-open" {
						m.become("half-open") // with nothing to probe with
					}
					if state != m.state {
						t.Fatalf("the breaker is %s, want %s after the failures of %v", state, m.state, m.row)
					}
					parked := map[uint64]bool{}
					for _, p := range b.park.got {
						parked[p.Event.Sequence] = true
					}
					for seq, n := range m.spent {
						if parked[seq] != (n >= s.Retry.MaxAttempts) {
							t.Fatalf("event %d spent %d attempts of %d, parked: %v", seq, n, s.Retry.MaxAttempts, parked[seq])
						}
					}
				},
			})
		})
	})
}
