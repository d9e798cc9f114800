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
	for it := p.awaited(); it != nil && !now.Before(it.At); it = p.awaited() {
		p.failed(it, "not answered within "+p.spec.AckWait.String(), -1, now)
	}
	p.wakeDue(now)
}

// awaited is the item whose answer is due first, nil if none is waited for.
func (p *Pool) awaited() *Item {
	if p.spec.Deliver.Mode != wire.ModeAck {
		return nil
	}
	return p.items.inFlight.first
}

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
	if first := p.awaited(); first != nil {
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
