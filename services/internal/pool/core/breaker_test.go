package core_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
)

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
	rapid.Check(t, func(t *rapid.T) {
		s := spec()
		s.AckWait = wire.Duration(time.Hour) // all is answered, at once or later
		s.Retry.MaxAttempts = rapid.SampledFrom([]int{1, 2, 5, 9}).Draw(t, "max_attempts")
		s.Breaker.Failures = rapid.SampledFrom([]int{1, 2, 5}).Draw(t, "failures")
		m := &target{
			failures: s.Breaker.Failures, state: "closed",
			out: map[uint64]int{}, spent: map[uint64]int{}, probes: map[uint64]bool{},
		}
		p := newSim(t, s)
		var waiting []sent
		look := func() {
			for _, d := range p.sent {
				m.sent(t, d)
				waiting = append(waiting, d)
			}
			p.sent = nil
			p.parked(nil)
		}
		last := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"offer": func(t *rapid.T) {
				last++
				p.offer(last, rapid.SampledFrom([]string{"a.x", "b.x", "c.x"}).Draw(t, "key"), "")
				p.step(func() {})
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
				p.answer(d, map[bool]string{true: "", false: "-NAK"}[ok], nil)
			},
			"pass": func(t *rapid.T) {
				p.pass(rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute}).Draw(t, "time"))
			},
			"": func(t *rapid.T) {
				look()
				look() // what became free by what was stored
				m.check(t, p, s.Retry.MaxAttempts)
			},
		})
	})
}

// check holds a pool against the model.
func (m *target) check(t *rapid.T, p *sim, maxAttempts int) {
	state := p.status().Breaker
	if m.state == "open" && state == "half-open" {
		m.become("half-open") // with nothing to probe with
	}
	if state != m.state {
		t.Fatalf("the breaker is %s, want %s after the failures of %v", state, m.state, m.row)
	}
	parked := map[uint64]bool{}
	for _, e := range p.parker.got {
		parked[e.Event.Sequence] = true
	}
	for seq, n := range m.spent {
		if parked[seq] != (n >= maxAttempts) {
			t.Fatalf("event %d spent %d attempts of %d, parked: %v", seq, n, maxAttempts, parked[seq])
		}
	}
}
