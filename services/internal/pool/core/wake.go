package core

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Tick does what time has brought: deliveries that were not answered, backoffs
// that ended, a subscriber that is there by now, another look for room.
func (p *Pool) Tick(now time.Time) {
	if p.flow.closed {
		return
	}
	p.armed = time.Time{}
	if s := &p.flow.presence; !s.settlesAt().IsZero() && !now.Before(s.settlesAt()) {
		s.found()
	}
	p.LookForRoom(now)
	p.expire(now)
	p.wakeDue(now)
}

// expire ends deliveries that were not answered in time.
func (p *Pool) expire(now time.Time) {
	if p.spec.Deliver.Mode != wire.ModeAck {
		return
	}
	for it := p.items.inFlight.first; it != nil && !now.Before(it.At); it = p.items.inFlight.first {
		p.failed(it, "not answered within "+p.spec.AckWait.String(), -1, now)
	}
}

// wakeDue ends the backoffs that are over.
func (p *Pool) wakeDue(now time.Time) {
	for len(p.items.backoff) > 0 && !now.Before(p.items.backoff[0].At) {
		p.makeReady(p.items.backoff[0], now) // or park it, if the parker had no room before
	}
}

// wakeAt is the next time that Tick has something to do; zero if there is none.
func (p *Pool) wakeAt() (at time.Time) {
	if p.flow.closed {
		return time.Time{}
	}
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if first := p.items.inFlight.first; first != nil && p.spec.Deliver.Mode == wire.ModeAck {
		sooner(first.At)
	}
	if len(p.items.backoff) > 0 {
		sooner(p.items.backoff[0].At)
	}
	sooner(p.flow.presence.settlesAt())
	if p.room.refused > 0 {
		sooner(p.room.nextLook)
	}
	if p.items.ready.n > 0 {
		sooner(p.sendAgain)
	}
	return at
}
