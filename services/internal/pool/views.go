package pool

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// Position is [core.Pool.Position].
func (p *Pool) Position() uint64 { return view(p, (*core.Pool).Position) }

// Reach is [core.Pool.Reach].
func (p *Pool) Reach() uint64 { return view(p, (*core.Pool).Reach) }

// InFlight is [core.Pool.InFlight].
func (p *Pool) InFlight() int { return view(p, (*core.Pool).InFlight) }

// LostFrom is [core.Pool.LostFrom].
func (p *Pool) LostFrom() uint64 { return view(p, (*core.Pool).LostFrom) }

// Gap is [core.Pool.Gap].
func (p *Pool) Gap() *wire.Gap { return view(p, (*core.Pool).Gap) }

// HasBegun is [core.Pool.HasBegun].
func (p *Pool) HasBegun() bool { return view(p, (*core.Pool).HasBegun) }

// Finished is [core.Pool.Finished].
func (p *Pool) Finished(from, to uint64) bool {
	return view(p, func(c *core.Pool) bool { return c.Finished(from, to) })
}

// NotRead is [core.Pool.NotRead].
func (p *Pool) NotRead(holes [][2]uint64) [][2]uint64 {
	return view(p, func(c *core.Pool) [][2]uint64 { return c.NotRead(holes) })
}

// Entry is [core.Pool.Entry].
func (p *Pool) Entry(e wire.Pool) wire.Pool {
	return view(p, func(c *core.Pool) wire.Pool { return c.Entry(e) })
}

// Status is what the pool is doing, in numbers. Owner and StoreLast are left
// to the caller.
func (p *Pool) Status() wire.PoolStatus {
	_, s := p.Progress()
	return s
}

// Progress is Checkpoint and Status at one moment.
func (p *Pool) Progress() (cp wire.Checkpoint, s wire.PoolStatus) {
	p.take(nil, func(c *core.Pool, now time.Time) {
		cp, s = c.Checkpoint(), c.Status(now)
		s.Epoch, s.Evaluated = p.cfg.Entry.Epoch, p.source.count()
	})
	return cp, s
}

// Room returns a channel that is closed when the pool can take events again,
// which it can at once if it is not full. A pool that drains never can; the
// channel is closed at the latest when the pool is.
func (p *Pool) Room() (room <-chan struct{}) {
	p.tell(func(c *core.Pool) {
		if p.room == nil {
			p.room = make(chan struct{})
		}
		room = p.room
		if c.CanTake() {
			release(&p.room)
		}
	})
	return room
}

// Drain stops sending and waits until nothing is out or ctx ends.
func (p *Pool) Drain(ctx context.Context) {
	var idle <-chan struct{}
	p.tell(func(c *core.Pool) {
		c.Drain()
		if p.idle == nil {
			p.idle = make(chan struct{})
		}
		idle = p.idle
	})
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// Close is [core.Pool.Close]. What is being sent meanwhile still leaves.
func (p *Pool) Close() {
	p.tell(func(c *core.Pool) {
		c.Close()
		p.alarm.Forget()
	})
	if p.cfg.Target != nil {
		p.cfg.Target.Close()
	}
}
