package pool

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// ConnectionLost takes back all deliveries that wait for an answer: neither they
// nor the answers to them need have passed. They are sent again, before all
// others, as soon as the connection takes them. The loss is no failure of the
// target: it costs no attempt, and the breaker hears nothing of it. The next
// delivery has a higher number all the same, for the event may have arrived; an
// ack that does come for the one before counts, as it does for any other.
func (p *Pool) ConnectionLost() {
	p.mu.Lock()
	if p.closed || p.spec.Deliver.Mode != wire.ModeAck {
		p.unlock()
		return
	}
	for it := p.flight.last; it != nil; it = p.flight.last { // the last one first, so that the order stays
		p.leavePhase(it)
		p.verdict(it, context.Canceled)
		p.goesFirst(it)
	}
	p.quiet()
	p.flush(time.Now())
}

// ConnectionBack sends what could not be sent meanwhile, without a wait.
func (p *Pool) ConnectionBack() {
	p.mu.Lock()
	p.holdUntil = time.Time{}
	p.flush(time.Now())
}
