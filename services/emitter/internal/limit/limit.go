// Package limit adapts how many deliveries a pool may have in flight.
//
// What is beyond what a subscriber works on waits at the subscriber, and shows
// as a longer time until the answer comes. The limit grows while there is a
// backlog and that wait stays below Target, and shrinks once it is longer. A
// subscriber that is slow because it works on one event after the other is so
// given few; one that takes its time but works on many at once is given many.
//
// The rules are those of LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus-01, after
// RFC 6817) with deliveries for packets: the wait is the shortest answer time
// of late less the shortest of the last minutes; slow start until it is three
// quarters of Target; then one more in flight per round trip, and beyond Target
// less in proportion to the excess, by half per round trip at most. Loss is
// another matter here: an event that fails may be the event's fault. So the
// limit is halved only when a tenth of the outcomes are failures.
package limit

import (
	"math"
	"time"
)

// Target is the wait at the subscriber that is aimed at. RFC 6817 allows 100 ms
// at most. It is long enough for batches (a subscriber that takes 100,000
// events a second has worked off 1,024 in 10 ms) and short enough for whoever
// joins a queue group beside a busy member.
const Target = 100 * time.Millisecond

const (
	// slowStartUntil is the part of Target at which slow start ends.
	slowStartUntil = 0.75
	// blocksPerRound is how often the limit moves in one round trip: each
	// time by its share, judged by the shortest answer time in between.
	blocksPerRound = 4
	// failureShare is the part of all outcomes from which failures count.
	failureShare = 0.1
	// cutEvery is the least time between two cuts because of failures.
	cutEvery = time.Second
	// baseWindow is how long an answer time counts as the shortest, at least;
	// twice as long at most. A subscriber that has become slower for good is
	// taken for congested until then. RFC 6817 remembers for ten minutes.
	baseWindow = time.Minute
)

// Limit is the limit of one pool. Use New.
type Limit struct {
	min, max  float64
	now       float64
	threshold float64 // slow start below
	cutAt     time.Time

	base    [2]time.Duration // shortest answer times: of this window, and of the one before
	windows time.Time        // when this window began

	// Since the last move:
	began             time.Time
	answers, failures int
	shortest          time.Duration
	pressed           bool // as many were in flight as may be
}

// New returns a limit between lo and hi, both at least 1, that begins at lo.
func New(lo, hi int) Limit {
	l := Limit{min: float64(lo), max: float64(hi), now: float64(lo), threshold: math.Inf(1)}
	l.base = [2]time.Duration{math.MaxInt64, math.MaxInt64}
	l.rest(time.Time{})
	return l
}

// Value is how many deliveries may be in flight now.
func (l *Limit) Value() int { return int(l.now) }

// Answered notes a delivery that was answered after the given time, while
// inFlight were out, this one included.
func (l *Limit) Answered(now time.Time, after time.Duration, inFlight int) {
	l.remember(now, after)
	l.shortest = min(l.shortest, after)
	l.pressed = l.pressed || inFlight >= l.Value()
	l.answers++
	l.move(now)
}

// Failed notes a delivery that failed or was not answered in time.
func (l *Limit) Failed(now time.Time) {
	l.failures++
	l.move(now)
}

// remember keeps the shortest answer time of this window and the last.
func (l *Limit) remember(now time.Time, after time.Duration) {
	if now.Sub(l.windows) >= baseWindow {
		l.base = [2]time.Duration{math.MaxInt64, l.base[0]}
		l.windows = now
	}
	l.base[0] = min(l.base[0], after)
}

// rest begins a new block of outcomes.
func (l *Limit) rest(now time.Time) {
	l.began = now
	l.answers, l.failures = 0, 0
	l.shortest = math.MaxInt64
	l.pressed = false
}

// move adapts the limit once enough outcomes have come in, or after Target
// where they come slowly.
func (l *Limit) move(now time.Time) {
	if l.began.IsZero() {
		l.began = now
	}
	n := l.answers + l.failures
	if float64(n) < l.now/blocksPerRound && now.Sub(l.began) < Target {
		return
	}
	switch {
	case float64(l.failures) >= failureShare*float64(n):
		l.cut(now)
	case l.answers > 0:
		l.adapt()
	}
	l.now = min(max(l.now, l.min), l.max)
	l.rest(now)
}

// cut halves the limit because of failures.
func (l *Limit) cut(now time.Time) {
	if now.Sub(l.cutAt) < cutEvery {
		return
	}
	l.cutAt = now
	l.now /= 2
	l.threshold = l.now
}

// adapt follows the wait at the subscriber.
func (l *Limit) adapt() {
	share := float64(l.answers) / l.now // of a round trip
	wait := float64(l.shortest-min(l.base[0], l.base[1])) / float64(Target)
	switch {
	case wait > 1:
		l.now += max(1-l.now*(wait-1), -l.now/2) * min(share, 1)
		l.threshold = l.now
	case !l.pressed:
		// Nothing waits for a higher limit, so its effect is unknown.
	case l.now < l.threshold && wait < slowStartUntil:
		l.now += float64(l.answers) // double per round trip
	default:
		l.threshold = min(l.threshold, l.now)
		l.now += share
	}
}
