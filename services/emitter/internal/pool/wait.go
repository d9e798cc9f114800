package pool

import (
	"container/heap"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// How an absent subscriber is looked for: with one event at a time, whose
// attempt does not count if nobody gets it.
const (
	askMin    = 100 * time.Millisecond
	askMax    = 2 * time.Second
	askSettle = 250 * time.Millisecond // no "nobody" within this time: somebody is there
)

// nobodyListens notes that the server found no subscriber for a delivery.
func (p *Pool) nobodyListens(it *item, now time.Time) {
	switch {
	case !p.absent:
		p.absent = true
		p.askWait = askMin
	case p.asked:
		p.askWait = min(2*p.askWait, askMax)
	}
	p.takeBack(it)
	p.nextAsk = now.Add(p.askWait)
}

// present notes that somebody listens.
func (p *Pool) present() { p.absent, p.asked = false, false }

// Tick does what time has brought: expired deliveries, ended backoffs, another
// look for a subscriber or for room, a breaker that may be probed.
func (p *Pool) Tick(now time.Time) {
	p.mu.Lock()
	if p.closed {
		p.unlock()
		return
	}
	p.armed = time.Time{}
	if p.absent && p.asked && !now.Before(p.nextAsk) {
		p.present()
	}
	if p.refused > 0 && !now.Before(p.lookAt) {
		p.look(now)
	}
	p.expire(now)
	p.rouse(now)
	p.flush(now)
}

// expire ends deliveries that were not answered in time.
func (p *Pool) expire(now time.Time) {
	if p.spec.Deliver.Mode != wire.ModeAck {
		return
	}
	for it := p.flight.first; it != nil && !now.Before(it.due); it = p.flight.first {
		p.failed(it, "not answered within "+p.spec.AckWait.String(), -1, now)
	}
}

// rouse ends rests that are over.
func (p *Pool) rouse(now time.Time) {
	for len(p.rest) > 0 && !now.Before(p.rest[0].due) {
		it := heap.Pop(&p.rest).(*item)
		it.phase = queued
		p.makeReady(it) // or park it, if the parker had no room before
	}
}

// arm asks to be woken at the next time that matters.
func (p *Pool) arm(now time.Time) {
	if p.closed {
		return
	}
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if p.flight.first != nil && p.spec.Deliver.Mode == wire.ModeAck {
		sooner(p.flight.first.due)
	}
	if len(p.rest) > 0 {
		sooner(p.rest[0].due)
	}
	if p.absent && p.asked {
		sooner(p.nextAsk)
	}
	if p.refused > 0 {
		sooner(p.lookAt)
	}
	// What holds deliveries back without a time of its own (the limit, a probe
	// that is out, draining) ends with an answer. A time that has passed must
	// not be asked for, or the pool would be woken over and over meanwhile.
	if t := p.mayAt(); p.ready.n > 0 && t.After(now) {
		sooner(t)
	}
	if !at.IsZero() && (p.armed.IsZero() || at.Before(p.armed)) {
		p.armed = at
		p.cfg.Timers.Set(p, at)
	}
}

// mayAt is when the last of the waits ends that hold back deliveries.
func (p *Pool) mayAt() time.Time {
	at := p.holdUntil
	if p.absent && !p.asked && p.nextAsk.After(at) {
		at = p.nextAsk
	}
	if p.circuit.reopenAt.After(at) {
		at = p.circuit.reopenAt
	}
	return at
}
