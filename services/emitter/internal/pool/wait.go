package pool

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Tick does what time has brought: expired deliveries, ended backoffs, another
// look for a subscriber or for room, a breaker that may be probed.
func (p *Pool) Tick(now time.Time) {
	p.mu.Lock()
	if p.closed {
		p.unlock()
		return
	}
	p.armed = time.Time{}
	if p.search.settled(now) {
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
		it := p.rest[0]
		p.leavePhase(it)
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
	if t := p.search.wakes(); !t.IsZero() {
		sooner(t)
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
	if t := p.search.holds(); t.After(at) {
		at = t
	}
	if p.circuit.reopenAt.After(at) {
		at = p.circuit.reopenAt
	}
	return at
}
