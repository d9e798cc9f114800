// Package limit adapts how many deliveries a pool may have in flight.
//
// What is beyond what a subscriber works on waits at the subscriber, and shows
// as a longer time until the answer comes. The limit grows while there is a
// backlog and that wait stays below a target, and shrinks once it is longer. A
// subscriber that is slow because it works on one event after the other is so
// given few; one that takes its time but works on many at once is given many.
//
// The rules are taken from LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus-01,
// after RFC 6817) with deliveries for packets: the wait is the shortest answer
// time of late less the shortest since the last slowdown; slow start until it
// is three quarters of the target; then one more in flight per round trip, and
// beyond the target less in proportion to the excess, by half per round trip at
// most; a slowdown after the first slow start and from time to time, in which
// what waits is worked off and the shortest answer time is measured anew.
// Where subscribers differ from links, the rules do; docs/adr/0017 says how.
package limit

import (
	"math"
	"time"
)

// Target is the wait at the subscriber that is aimed at, where it takes no
// longer than that over an event. RFC 6817 allows 100 ms at most. It is long
// enough for batches (a subscriber that takes 100,000 events a second has
// worked off 1,024 in 10 ms) and short enough for whoever joins a queue group
// beside a busy member.
const Target = 100 * time.Millisecond

const (
	// longest is the wait that is aimed at where events take that long or
	// longer: a tenth of the usual ack_wait. In between, the target is what an
	// event takes: its answer times vary in proportion, and no less can be
	// told from a wait.
	longest = 3 * time.Second
	// slowStartUntil is the part of the target at which slow start ends.
	slowStartUntil = 0.75
	// blocksPerRound is how often the limit moves in one round trip: each
	// time by its share, judged by the shortest answer time in between.
	blocksPerRound = 4
	// leastBlock is how many outcomes the limit moves by at least. The
	// shortest of fewer answer times says more about the events than about
	// the wait, and one failure among fewer would be a failureShare.
	leastBlock = 16
	// failureShare is the part of all outcomes from which failures count.
	failureShare = 0.1
	// cutEvery is the least time between two cuts because of failures.
	cutEvery = time.Second
	// slowAgain is how many times as long as a slowdown the time until the
	// next is, at least: so slowdowns take a tenth of the time at most.
	slowAgain = 9
	// slowEvery is the least time between two slowdowns. A subscriber that
	// has become slower for good is taken for congested until the next one.
	slowEvery = time.Minute
)

// Limit is the limit of one pool. Use New.
type Limit struct {
	min, max  float64
	now       float64
	threshold float64 // slow start below
	cutAt     time.Time

	base      time.Duration // shortest answer time since the last slowdown began
	slowFor   float64       // outcomes that a slowdown takes; zero: there is none now
	slowSince time.Time     // when it began
	slowNext  time.Time     // when the next is due; zero until the first block is over

	// Since the last move:
	answers, failures int
	shortest          time.Duration
	most              int // that were in flight
}

// New returns a limit between lo and hi, both at least 1, that begins at lo.
func New(lo, hi int) Limit {
	l := Limit{min: float64(lo), max: float64(hi), now: float64(lo), threshold: math.Inf(1), base: math.MaxInt64}
	l.rest()
	return l
}

// Value is how many deliveries may be in flight now.
func (l *Limit) Value() int { return int(l.now) }

// Answered notes a delivery that was answered after the given time, while
// inFlight were out, this one included.
func (l *Limit) Answered(now time.Time, after time.Duration, inFlight int) {
	after = max(after, 1) // it is divided by
	l.base = min(l.base, after)
	l.shortest = min(l.shortest, after)
	l.most = max(l.most, inFlight)
	l.answers++
	l.move(now)
}

// Failed notes a delivery that failed or was not answered in time.
func (l *Limit) Failed(now time.Time) {
	l.failures++
	l.move(now)
}

// rest begins a new block of outcomes.
func (l *Limit) rest() {
	l.answers, l.failures = 0, 0
	l.shortest = math.MaxInt64
	l.most = 0
}

// pressed reports whether as many were in flight as may be. Otherwise nothing
// waits for a higher limit, and its effect is unknown.
func (l *Limit) pressed() bool { return l.most >= l.Value() }

// move adapts the limit once enough outcomes have come in.
func (l *Limit) move(now time.Time) {
	n := float64(l.answers + l.failures)
	if n < max(l.now/blocksPerRound, leastBlock, l.slowFor) {
		return
	}
	switch {
	case l.slowNext.IsZero():
		// The first deliveries found an idle subscriber. How long they took
		// is what later ones are measured by, and says nothing of a wait.
		l.slowNext = now.Add(slowEvery)
	case l.slowFor > 0:
		l.slowFor = 0
		l.slowNext = now.Add(max(slowAgain*now.Sub(l.slowSince), slowEvery))
	case float64(l.failures) >= failureShare*n:
		l.cut(now)
	case l.pressed() && !now.Before(l.slowNext):
		l.slowDown(now)
	default:
		l.adapt(now)
	}
	l.now = min(max(l.now, l.min), l.max)
	l.rest()
}

func (l *Limit) cut(now time.Time) {
	if now.Sub(l.cutAt) < cutEvery {
		return
	}
	l.cutAt = now
	l.now /= 2
	l.threshold = l.now
}

// slowDown lowers the limit, to half of what would be in flight if nothing
// waited, and has the shortest answer time measured anew. It lasts until all
// that is in flight now is answered, and as many as may be from now on. Slow
// start leads back.
func (l *Limit) slowDown(now time.Time) {
	l.threshold = l.now
	l.now = max(l.now*float64(l.base)/float64(l.shortest)/2, l.min)
	l.base = math.MaxInt64
	l.slowSince = now
	l.slowFor = float64(l.most) + l.now
}

// adapt follows the wait at the subscriber.
func (l *Limit) adapt(now time.Time) {
	share := min(float64(l.answers)/l.now, 1) // of a round trip
	target := min(max(l.base, Target), longest)
	wait := float64(l.shortest-l.base) / float64(target)
	switch {
	case l.now < l.threshold && wait < slowStartUntil:
		if l.pressed() {
			l.now = min(l.now+float64(l.answers), l.threshold) // double per round trip
		}
	case math.IsInf(l.threshold, 1):
		l.slowDown(now)
	case wait > 1:
		l.now += max(1-l.now*(wait-1), -l.now/2) * share
		l.threshold = l.now
	case l.pressed():
		l.threshold = min(l.threshold, l.now)
		l.now += share
	}
}
