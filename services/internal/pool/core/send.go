package core

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
)

// Delivery is one message to be published: a copy of what it needs of an item.
type Delivery struct {
	Item  *Item
	Event *event.Event
	Token Token
}

// Unsent is a delivery that did not leave.
type Unsent struct {
	Delivery
	Err   error
	Never bool // it never can
}

// holdAfterError is how long a pool waits after the connection refused a message.
const holdAfterError = 250 * time.Millisecond

// Send takes out what may be sent now, up to the length of out, and returns how
// many deliveries that are. The shell publishes them, and calls Published if
// any did not leave, and always where the mode is publish.
func (p *Pool) Send(now time.Time, out []Delivery) (n int) {
	for n < len(out) && p.items.ready.n > 0 {
		var ok bool
		if ok, p.sendAgain = p.flow.next(now, p.items.out()); !ok {
			break
		}
		it := p.items.ready.first
		if it.phase == readySpilled {
			p.reload(it, now)
			continue
		}
		it = p.pass(it, now)
		if p.flow.presence.searching {
			p.ask(it)
			continue
		}
		out[n] = p.launch(it, now)
		n++
	}
	return n
}

// launch makes an item one that is in flight.
func (p *Pool) launch(it *Item, now time.Time) Delivery {
	if it.token.slot < 0 {
		p.items.giveSlot(it)
	}
	it.token.attempt++
	it.sent, it.received, it.captured = now, false, false
	it.At = now.Add(p.spec.AckWait.Std())
	p.move(it, inFlight)
	p.flow.pace.spend(now)
	p.stats.delivered++
	return Delivery{Item: it, Event: it.event, Token: it.token}
}

// Published takes it what became of deliveries. Of those that did not leave,
// what can never be sent is parked; what the connection refused for now is tried
// again soon. The others are finished where no answer is waited for.
func (p *Pool) Published(now time.Time, ds []Delivery, failed []Unsent) {
	for _, u := range failed {
		switch {
		case !p.isOut(u.Delivery):
		case u.Never:
			p.park(u.Item, "cannot be sent: "+u.Err.Error(), now)
		default:
			p.takeBack(u.Item, now)
			p.flow.holdUntil = now.Add(holdAfterError)
		}
	}
	for _, d := range ds {
		if p.spec.Deliver.Mode == wire.ModePublish && p.isOut(d) {
			p.stats.finished++
			p.finish(d.Item, now)
		}
	}
}

// isOut reports whether a delivery waits for its answer.
func (p *Pool) isOut(d Delivery) bool {
	return !p.flow.closed && d.Item.phase == inFlight && d.Item.token == d.Token
}

// takeBack makes an item in flight ready again, its attempt uncounted: it is as
// if it had never been sent.
func (p *Pool) takeBack(it *Item, now time.Time) {
	it.token.attempt--
	p.stats.delivered--
	p.count(it, undone, now)
	p.makeReady(it, now)
}

// ConnectionLost takes back all deliveries that wait for an answer: neither they
// nor the answers to them need have passed. They are sent again, before all
// others, as soon as the connection takes them. The loss is no failure of the
// target: it costs no attempt, and the breaker hears nothing of it. The next
// delivery has a higher number all the same, for the event may have arrived; an
// ack that does come for the one before counts, as it does for any other.
func (p *Pool) ConnectionLost(now time.Time) {
	if p.flow.closed || p.spec.Deliver.Mode != wire.ModeAck {
		return
	}
	for it := p.items.inFlight.last; it != nil; it = p.items.inFlight.last { // the last one first, so that the order stays
		p.count(it, undone, now)
		p.moveFirst(it, ready)
	}
}

// ConnectionBack lets what could not be sent go without a wait.
func (p *Pool) ConnectionBack() { p.flow.holdUntil = time.Time{} }
