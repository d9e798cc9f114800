package pool

import (
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// Offer hands the pool an event that matches, as [core.Pool.Offer] does, and looks
// for room where there is none. Nothing is sent before Flush.
func (p *Pool) Offer(e *event.Event) bool {
	if restore := p.cfg.Replay.Restore; restore != nil {
		if e = restore(e); e == nil {
			return true
		}
	}
	reason := ""
	if also := p.cfg.Replay.Also; also != nil {
		switch v := also.Judge(&e.Event); v {
		case pattern.Matches:
		case pattern.NoMatch:
			return true
		default:
			reason = wire.ParkedTooCostly
		}
		e.DropDocument()
	}
	return p.OfferToPark(e, reason)
}

// OfferToPark is Offer for an event that is to be parked for a reason, whether it
// matches or not.
func (p *Pool) OfferToPark(e *event.Event, reason string) (taken bool) {
	p.tell(func(c *core.Pool) { taken = c.Offer(e, reason) })
	if !taken {
		p.take(nil, func(c *core.Pool, now time.Time) {
			c.LookForRoom(now)
			taken = c.Offer(e, reason)
		})
	}
	return taken
}

// Flush sends what may be sent now.
func (p *Pool) Flush() { p.send(func(*core.Pool, time.Time) {}) }

// Tick does what time has brought.
func (p *Pool) Tick(time.Time) { p.send((*core.Pool).Tick) }

// Answer is [core.Pool.Answer]. Token is what followed the pool's AnswerPrefix in
// the reply subject.
func (p *Pool) Answer(token string, body []byte, header nats.Header) (settled bool) {
	t, err := core.ParseToken(token)
	if err != nil {
		return false
	}
	a := p.cfg.Record.Spec.Deliver.ReadAnswer(body, header)
	p.send(func(c *core.Pool, now time.Time) { settled = c.Answer(now, t, a) })
	return settled
}

// ConnectionLost is [core.Pool.ConnectionLost]. What it takes back leaves as soon as
// the connection takes it.
func (p *Pool) ConnectionLost() {
	if p.cfg.Target == nil { // else they went by no connection of ours
		p.send((*core.Pool).ConnectionLost)
	}
}

// ConnectionBack sends what could not be sent meanwhile, without a wait.
func (p *Pool) ConnectionBack() { p.send(func(c *core.Pool, _ time.Time) { c.ConnectionBack() }) }

// Captive is [core.Pool.Captive]. What may be sent again leaves at once.
func (p *Pool) Captive(why string) { p.send(func(c *core.Pool, _ time.Time) { c.Captive(why) }) }

// Attach puts the pool under a reader, whose position it shares from now on:
// everything up to base has been read, and the reader offers what follows. What
// it adds to taken from now on, the pool has been held against.
func (p *Pool) Attach(position, taken *atomic.Uint64, base uint64, live bool) {
	p.tell(func(c *core.Pool) {
		p.source.attach(position, taken)
		c.Attach(base, live)
	})
}

// Detach takes the pool from its reader, which has offered everything up to base.
func (p *Pool) Detach(base uint64) {
	p.tell(func(c *core.Pool) {
		p.source.detach()
		c.Detach(base)
	})
}

// Live is [core.Pool.Live].
func (p *Pool) Live(live bool) { p.tell(func(c *core.Pool) { c.Live(live) }) }

// SkipTo is [core.Pool.SkipTo].
func (p *Pool) SkipTo(seq uint64) { p.tell(func(c *core.Pool) { c.SkipTo(seq) }) }

// Lost is [core.Pool.Lost].
func (p *Pool) Lost(gap wire.Gap) { p.tell(func(c *core.Pool) { c.Lost(gap) }) }

// LoseEnd is [core.Pool.LoseEnd].
func (p *Pool) LoseEnd(from uint64) { p.tell(func(c *core.Pool) { c.LoseEnd(from) }) }

// Began is [core.Pool.Began].
func (p *Pool) Began(last uint64, holes [][2]uint64, known bool) {
	p.tell(func(c *core.Pool) { c.Began(last, holes, known) })
}

// Hold is [core.Pool.Hold].
func (p *Pool) Hold(state wire.PoolState, why string) {
	p.tell(func(c *core.Pool) { c.Hold(state, why) })
}

// Trouble is [core.Pool.Trouble].
func (p *Pool) Trouble(t core.Trouble) { p.tell(func(c *core.Pool) { c.Trouble(t) }) }
