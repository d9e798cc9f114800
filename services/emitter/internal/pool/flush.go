package pool

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
)

// delivery is what Flush sends: a copy of what it needs of an item.
type delivery struct {
	it    *item
	ev    *event.Event
	token token4
}

// flushBatch bounds how many deliveries are taken out under one lock.
const flushBatch = 16

// Flush sends what may be sent now.
func (p *Pool) Flush() {
	p.mu.Lock()
	p.flush(time.Now())
}

// flush ends a critical section, as unlock does, and sends what may be sent.
func (p *Pool) flush(now time.Time) {
	var batch [flushBatch]delivery
	for {
		n := p.takeReady(batch[:], now)
		p.unlock()
		if n == 0 {
			return
		}
		all := p.publish(batch[:n])
		if all && n < len(batch) && p.spec.Deliver.Mode == wire.ModeAck {
			return // what has become ready since is for whoever made it so
		}
		p.mu.Lock()
		now = time.Now()
		if p.spec.Deliver.Mode == wire.ModePublish {
			p.sent(batch[:n], now)
		}
	}
}

// publish sends a batch, with no lock held, and reports whether all of it left.
func (p *Pool) publish(batch []delivery) (all bool) {
	all = true
	c := p.cfg.Carriers.take()
	for i, d := range batch {
		if err := p.cfg.Publisher.PublishMsg(c.load(p, d)); err != nil {
			p.unsent(d, err)
			batch[i].it = nil
			all = false
		}
	}
	p.cfg.Carriers.give(c)
	return all
}

// takeReady fills out with deliveries and marks them as flying.
func (p *Pool) takeReady(out []delivery, now time.Time) (n int) {
	for n < len(out) && p.ready.n > 0 && p.maySend(now) {
		it := p.ready.first
		if it.stub {
			p.fetch(it, now)
			continue
		}
		if it = p.admit(it); it == nil {
			break
		}
		if p.search.on {
			p.ask(it)
			continue
		}
		out[n] = p.launch(it, now)
		n++
	}
	p.arm(now)
	return n
}

// maySend reports whether anything but the breaker holds deliveries back.
func (p *Pool) maySend(now time.Time) bool {
	switch {
	case p.closed, p.draining, p.captive != "", now.Before(p.holdUntil), p.flight.n+p.fetching >= p.limit.Value():
		return false
	case p.search.on:
		return p.search.mayAsk(now)
	default:
		return true
	}
}

func (p *Pool) launch(it *item, now time.Time) delivery {
	if it.slot < 0 {
		it.slot = p.takeSlot(it)
		p.nonce++
		it.nonce = p.nonce
	}
	p.leavePhase(it)
	it.attempts++
	it.phase = flying
	it.sent, it.sure, it.captured = now, false, false
	it.due = now.Add(p.spec.AckWait.Std())
	p.flight.add(it)
	p.stats.delivered++
	return delivery{it: it, ev: it.ev, token: token4{it.slot, it.nonce, it.attempts}}
}

func (p *Pool) takeSlot(it *item) int {
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		p.slots[s] = it
		return s
	}
	p.slots = append(p.slots, it)
	return len(p.slots) - 1
}

// sent finishes deliveries that wait for no answer.
func (p *Pool) sent(batch []delivery, now time.Time) {
	for _, d := range batch {
		if d.it != nil && d.it.phase == flying && !p.closed {
			p.stats.finished++
			p.finish(d.it, now)
		}
	}
}

// holdAfterError is how long a pool waits after the connection refused a message.
const holdAfterError = 250 * time.Millisecond

// unsent takes back a delivery that never left. What can never be sent is
// parked; what the connection refused for now is tried again soon.
func (p *Pool) unsent(d delivery, err error) {
	now := time.Now()
	p.mu.Lock()
	defer p.unlock()
	it := d.it
	if p.closed || it.phase != flying || it.attempts != d.token.attempt {
		return
	}
	if hopeless(err) {
		p.park(it, "cannot be sent: "+err.Error())
		return
	}
	p.takeBack(it)
	p.holdUntil = now.Add(holdAfterError) // flush, which goes on, asks to be woken then
}

// hopeless reports whether sending the same message again must fail again.
func hopeless(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadHeaderMsg) || errors.Is(err, nats.ErrBadSubject)
}

// takeBack makes a flying item ready again, its attempt uncounted: it is as if
// it had never been sent.
func (p *Pool) takeBack(it *item) {
	p.leavePhase(it)
	it.attempts--
	p.stats.delivered--
	p.verdict(it, context.Canceled)
	p.makeReady(it)
	p.quiet()
}
