package pool

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/pkg/breaker"
	"github.com/sluicehq/sluice/pkg/wire"
)

// circuit is the breaker of a pool, and what is known of it without asking.
//
// It judges the target, so it opens only where at least two different events
// failed in a row: a single one that always fails runs out of its attempts and
// leaves, while others go on.
type circuit struct {
	breaker  *breaker.Breaker // nil before the first failure
	tripped  bool             // it is not closed
	era      uint64           // grows with each change of its state, from 1
	streak   int              // failures in a row, as it has been told
	reopenAt time.Time        // it is open until then; zero if it is not open
	told     *rate.Limiter    // of its changes; there with the breaker
}

// A breaker whose open_for is short changes hundreds of times a second. After 20
// changes one a second is told: the stream of advisories is everybody's.
const (
	changesAtOnce = 20
	changesEvery  = time.Second
)

// admit asks the breaker, and returns the event that may be sent: it, or a
// better probe; nil where none may. Mode publish waits for no answer, so it has
// no breaker. One that is closed lets everything pass, so it is not asked (see
// verdict).
func (p *Pool) admit(it *item) *item {
	c := &p.circuit
	switch {
	case p.spec.Deliver.Mode == wire.ModePublish:
		return it
	case !c.tripped:
		it.owed = c.era
		return it
	}
	verdict, err := c.breaker.Begin()
	if err != nil {
		return nil
	}
	it = p.untried(it)
	it.verdict = verdict
	return it
}

// untried returns the first event that can be sent and never was: it says more
// of the target than one that the target has refused before. Where there is
// none it returns first.
func (p *Pool) untried(first *item) *item {
	for it := first; it != nil; it = it.right {
		if it.attempts == 0 && !it.stub {
			return it
		}
	}
	return first
}

var errFailed = errors.New("delivery failed")

// verdict tells the breaker how a delivery ended; context.Canceled is as if it
// had not been made. While the breaker is closed it is told of failures, and of
// the first success after them: it counts failures in a row, so no other
// success changes anything, and asking it twice for each delivery cost 6 % of
// the emitter's time.
func (p *Pool) verdict(it *item, err error) {
	c := &p.circuit
	era := it.owed
	it.owed = 0
	switch {
	case it.verdict != nil:
		it.verdict(err)
		it.verdict = nil
	case era != c.era, errors.Is(err, context.Canceled), err == nil && c.streak == 0:
		// Sent before the breaker last changed, or of no consequence.
	default:
		c.streak++
		if err == nil {
			c.streak = 0
		}
		if c.breaker == nil {
			c.breaker = breaker.New(breaker.Config{
				Name: p.Name(), Failures: uint32(p.spec.Breaker.Failures), Different: true,
				OpenFor: p.spec.Breaker.OpenFor.Std(), OnChange: p.breakerChanged,
			})
			c.told = rate.NewLimiter(rate.Every(changesEvery), changesAtOnce)
		}
		if done, refused := c.breaker.BeginOf(it.mark.Sequence()); refused == nil {
			done(err)
		}
	}
}

// breakerState is the breaker's state as a status has it; to ask can change it.
func (p *Pool) breakerState() string {
	state := breaker.Closed
	if b := p.circuit.breaker; b != nil {
		state = b.State()
	}
	return strings.ReplaceAll(string(state), "_", "-")
}

// breakerChanged is called by the breaker, inside a critical section of the pool.
func (p *Pool) breakerChanged(_ string, _, to breaker.State) {
	c := &p.circuit
	what := wire.AdvBreakerClosed
	c.reopenAt = time.Time{}
	c.tripped = to != breaker.Closed
	c.era++
	c.streak = 0
	switch to {
	case breaker.Open:
		what = wire.AdvBreakerOpened
		wait := c.breaker.RetryIn() // asked first, so that the breaker is ready by then
		c.reopenAt = time.Now().Add(wait)
	case breaker.HalfOpen:
		what = wire.AdvBreakerHalfOpened
	}
	if c.told.Allow() {
		p.note(what, "", nil)
	}
}
