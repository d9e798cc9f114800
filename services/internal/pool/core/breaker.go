package core

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/pkg/wire"
)

// breakerState is what a breaker does with deliveries.
type breakerState uint8

const (
	breakerClosed   breakerState = iota // all pass
	breakerOpen                         // none passes
	breakerHalfOpen                     // one passes, as a probe
)

// String is the state as a status has it.
func (s breakerState) String() string { return [...]string{"closed", "open", "half-open"}[s] }

// breaker judges the target by the outcomes of deliveries. It opens only where
// at least two different events failed in a row: a single one that always fails
// runs out of its attempts and leaves, while others go on.
type breaker struct {
	failures int           // in a row, that open it
	openFor  time.Duration // until it lets a probe pass

	state     breakerState
	gen       uint64        // grows with each change of state, from 1
	openUntil time.Time     // when it lets a probe pass, if it is open
	probing   bool          // half open: the probe is out
	streak    int           // closed: failures in a row
	first     uint64        // the event of the first of these
	mixed     bool          // another event is among these
	told      *rate.Limiter // of changes; nil before the first
}

// A breaker whose open_for is short changes hundreds of times a second. After 20
// changes one a second is told: the stream of advisories is everybody's.
const (
	changesAtOnce = 20
	changesEvery  = time.Second
)

// outcome is how a delivery ended.
type outcome uint8

const (
	succeeded outcome = iota
	failed
	undone // it is as if it had not been made
)

// next reports whether a delivery may pass now, and if not, when one may. The
// time is zero where that depends on the probe.
func (b *breaker) next(now time.Time) (ok bool, at time.Time) {
	switch b.state {
	case breakerOpen:
		return !now.Before(b.openUntil), b.openUntil
	case breakerHalfOpen:
		return !b.probing, time.Time{}
	default:
		return true, time.Time{}
	}
}

func (b *breaker) tryHalfOpen(now time.Time) (changed bool) {
	if b.state != breakerOpen || now.Before(b.openUntil) {
		return false
	}
	b.become(breakerHalfOpen, now)
	return true
}

// isProbe reports whether a delivery that began in a generation is the probe.
func (b *breaker) isProbe(gen uint64) bool { return b.state == breakerHalfOpen && gen == b.gen }

// count takes the outcome of a delivery of an event, which began in a generation.
func (b *breaker) count(gen, event uint64, o outcome, now time.Time) (changed bool) {
	switch {
	case gen != b.gen: // it began before the last change, or has been counted
	case b.state == breakerHalfOpen: // it is the probe
		b.probing = false
		switch o {
		case succeeded:
			b.become(breakerClosed, now)
		case failed:
			b.become(breakerOpen, now)
		}
		return o != undone
	case o == succeeded:
		b.streak = 0
	case o == failed:
		if b.streak++; b.streak == 1 {
			b.first, b.mixed = event, false
		}
		b.mixed = b.mixed || event != b.first
		if b.streak >= b.failures && b.mixed {
			b.become(breakerOpen, now)
			return true
		}
	}
	return false
}

func (b *breaker) become(s breakerState, now time.Time) {
	b.state, b.streak, b.probing, b.openUntil = s, 0, false, now.Add(b.openFor)
	b.gen++
}

// pass lets an item pass the breaker, which has said that one may, or a better
// probe in its place.
func (p *Pool) pass(it *Item, now time.Time) *Item {
	b := &p.flow.breaker
	if p.spec.Deliver.Mode == wire.ModePublish {
		return it // nothing is waited for, so nothing is judged
	}
	if b.tryHalfOpen(now) {
		p.noteBreaker(now)
	}
	if b.state == breakerHalfOpen {
		b.probing = true
		it = untried(it)
	}
	it.breakerGen = b.gen
	return it
}

// untried returns the first event that can be sent and never was: it says more
// of the target than one that the target has refused before. Where there is
// none it returns first.
func untried(first *Item) *Item {
	for it := first; it != nil; it = it.right {
		if it.token.attempt == 0 && !it.spilled {
			return it
		}
	}
	return first
}

// count tells the breaker how the delivery of an item ended. Only the first
// call for a delivery counts.
func (p *Pool) count(it *Item, o outcome, now time.Time) {
	gen := it.breakerGen
	it.breakerGen = 0
	if p.flow.breaker.count(gen, it.mark.Sequence(), o, now) {
		p.noteBreaker(now)
	}
}

func (p *Pool) noteBreaker(now time.Time) {
	b := &p.flow.breaker
	if b.told == nil {
		b.told = rate.NewLimiter(rate.Every(changesEvery), changesAtOnce)
	}
	if b.told.AllowN(now, 1) {
		p.note([...]string{wire.AdvBreakerClosed, wire.AdvBreakerOpened, wire.AdvBreakerHalfOpened}[b.state], "", nil)
	}
}
