package player

import (
	"math"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// meter measures how many events finish in a second, lately.
type meter struct {
	at    time.Time // of the last measurement; zero: there was none
	done  uint64    // events that had finished by then
	value float64
	known bool
}

// weight is that of the last second.
const weight = 0.3

// measure takes over how far a replay is.
func (m *meter) measure(r wire.Replay, now time.Time) {
	done := r.Finished + r.Parked
	if passed := now.Sub(m.at).Seconds(); !m.at.IsZero() && passed > 0 {
		v := float64(done-min(m.done, done)) / passed
		if m.known {
			v = weight*v + (1-weight)*m.value
		}
		m.value, m.known = v, true
	}
	m.at, m.done = now, done
}

// rate is what was measured, in whole events.
func (m *meter) rate() int { return int(math.Round(m.value)) }

// eta is when a replay is finished at that rate; nil where nobody can tell.
func (m *meter) eta(r *wire.Replay, now time.Time) *time.Time {
	done := r.Finished + r.Parked
	if m.rate() == 0 || done >= r.Total {
		return nil
	}
	left := float64(r.Total-done) / m.value
	if left > (365 * 24 * time.Hour).Seconds() {
		return nil
	}
	at := now.Add(time.Duration(left * float64(time.Second))).Round(time.Second).UTC()
	return &at
}
