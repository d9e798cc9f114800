package pool

import "time"

// limit adapts how many deliveries may be in flight: additive increase,
// multiplicative decrease with slow start, as TCP Reno does (RFC 5681). It
// grows only while it is what holds deliveries back.
type limit struct {
	min, max int
	now      float64
	slow     bool      // slow start: double per round trip, until the first failure
	cutAt    time.Time // of the last decrease: a burst of failures counts once
}

func newLimit(lo, hi int) limit {
	return limit{min: lo, max: hi, now: float64(lo), slow: true}
}

func (l *limit) value() int { return int(l.now) }

// success notes an answer that came while inFlight were out.
func (l *limit) success(inFlight int) {
	if inFlight < l.value() || l.value() >= l.max {
		return
	}
	if l.slow {
		l.now++
	} else {
		l.now += 1 / l.now
	}
	l.now = min(l.now, float64(l.max))
}

// failure notes a delivery that failed or was not answered in time.
func (l *limit) failure(now time.Time) {
	l.slow = false
	if now.Sub(l.cutAt) < time.Second {
		return
	}
	l.cutAt = now
	l.now = max(l.now/2, float64(l.min))
}
