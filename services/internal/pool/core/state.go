package core

import (
	"cmp"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// reader is what a pool knows of the reader that serves it, or does not.
type reader struct {
	attached bool
	live     bool // it is near to the end of the store
	hold     hold
	trouble  Trouble
}

// hold is what a pool waits for while no reader serves it.
type hold struct {
	state  wire.PoolState // "": nothing
	reason string
}

// Trouble is what keeps the pool's reader from reading.
type Trouble struct {
	Unreadable string // why the store cannot be read; "" if it can
	Reopened   int    // how often the reader was opened anew without having moved
}

// report is what others have been told of a pool.
type report struct {
	stored    wire.PoolState // in the entry that the pool began with; "": none
	state     wire.PoolState
	blockedBy string // of the room
}

// Attach notes that a reader serves the pool: everything up to base has been
// read, and the reader offers what follows.
func (p *Pool) Attach(base uint64, live bool) {
	p.ReadTo(base)
	p.reader.attached, p.reader.live, p.reader.hold = true, live, hold{}
	p.room.refused = 0 // it will be offered again
}

// Detach notes that no reader serves the pool any more. The last one has offered
// everything up to base.
func (p *Pool) Detach(base uint64) {
	p.ReadTo(base)
	p.reader.attached, p.reader.live = false, false
}

// Live says whether the reader of the pool is near to the end of the store.
func (p *Pool) Live(live bool) { p.reader.live = live && p.reader.attached }

// Hold says what the pool waits for while no reader serves it: PoolStoreLost,
// PoolNotBegun or PoolNoReader, and why; "" is nothing. Attach ends it.
func (p *Pool) Hold(state wire.PoolState, why string) {
	h := hold{state, why}
	if h != p.reader.hold && state != wire.PoolNotBegun { // its reason changes with every event stored
		p.fx.Moved = true
	}
	p.reader.hold = h
}

// Trouble notes what keeps the pool's reader from reading.
func (p *Pool) Trouble(t Trouble) { p.reader.trouble = t }

// Captive says why nothing may be delivered, since it would become an event of
// the store; "" is that it would not. What is out already may still be answered.
func (p *Pool) Captive(why string) {
	if why == p.flow.captive {
		return
	}
	p.flow.captive = why
	p.fx.Moved = true
	if why != "" {
		p.note(wire.AdvPoolBlocked, why, nil)
	}
}

// Drain stops sending.
func (p *Pool) Drain() { p.flow.draining = true }

// Idle reports whether nothing is out: no delivery waits for an answer, and no
// event is being parked.
func (p *Pool) Idle() bool { return p.items.inFlight.n == 0 && p.items.parking == 0 }

// InFlight is the number of deliveries that wait for an answer.
func (p *Pool) InFlight() int { return p.items.inFlight.n }

// Close ends the pool: it sends nothing more and ignores answers, so that
// Checkpoint does not change any more. It gives back what it holds. Closing it
// again changes nothing.
func (p *Pool) Close() {
	if p.flow.closed {
		return
	}
	p.flow.closed = true
	p.room.budget.take(-p.room.bytes - p.room.spilled*spilledSize)
	p.room.bytes, p.room.spilled = 0, 0
	p.lanes, p.items = nil, items{} // let the events go
	p.fx.Room = true
}

// Closed reports whether Close has been called.
func (p *Pool) Closed() bool { return p.flow.closed }

// State says what the pool is doing, and why if it is not simply at work: the
// first that holds.
func (p *Pool) State() (wire.PoolState, string) {
	held, blockedBy := p.reader.hold, p.room.blockedBy
	switch {
	case p.place.lostFrom > 0:
		return wire.PoolStoreLost, fmt.Sprintf(
			"the store ended at sequence %d, before the checkpoint: it lost events; seek or restart the subscription", p.place.lostFrom-1)
	case held.state == wire.PoolStoreLost, held.state == wire.PoolNotBegun:
		return held.state, held.reason
	case p.flow.captive != "":
		return wire.PoolBlocked, p.flow.captive
	case p.flow.breaker.state != breakerClosed:
		return wire.PoolBreakerOpen, "too many failures in a row; events wait"
	case p.flow.presence.absent:
		why := "nobody listens on " + p.spec.Deliver.Subject
		if p.flow.presence.why != "" {
			why += "; " + p.flow.presence.why
		}
		return wire.PoolWaiting, why
	case p.blockade.why != "", p.items.blocked > 0:
		why := cmp.Or(p.blockade.why, "an exhausted event holds its lane")
		if blockedBy != "" {
			why += ", and " + blockedBy
		}
		return wire.PoolBlocked, why
	case p.reader.trouble.Unreadable != "":
		return wire.PoolNoReader, p.reader.trouble.Unreadable
	case p.reader.live:
		return wire.PoolLive, blockedBy
	case held.state != "":
		return held.state, held.reason
	default:
		return wire.PoolCatchingUp, blockedBy
	}
}

// storeLost reports whether what the store says of a sequence means nothing.
func (p *Pool) storeLost() bool {
	return p.place.lostFrom > 0 || p.reader.hold.state == wire.PoolStoreLost
}

// noteState reports a change of state, at the end of a step.
func (p *Pool) noteState() {
	if p.flow.closed {
		return
	}
	if p.room.blockedBy != p.reported.blockedBy {
		p.reported.blockedBy = p.room.blockedBy
		p.fx.Moved = true
	}
	s, reason := p.State()
	was := p.reported.state
	if s == was {
		return
	}
	p.fx.Moved = p.fx.Moved || was != "" || s != p.reported.stored
	p.reported.state = s
	switch s {
	case wire.PoolLive:
		p.note(wire.AdvPoolLive, "", nil)
	case wire.PoolWaiting:
		p.note(wire.AdvPoolWaiting, reason, nil)
	}
}

// Status is what the pool is doing, in numbers. What the core does not know is
// left to the caller: owner, epoch, end of the store, events evaluated. To ask a
// breaker that has been open for long enough makes it half open.
func (p *Pool) Status(now time.Time) wire.PoolStatus {
	if p.flow.breaker.tryHalfOpen(now) {
		p.noteBreaker(now)
	}
	s := wire.PoolStatus{
		Name: p.record.Name, UID: p.record.UID, Generation: p.record.Generation,
		Position: p.place.read, Pending: p.tracker.Open(), InFlight: p.items.inFlight.n,
		Limit: p.flow.limit.Value(), Breaker: p.flow.breaker.state.String(),
		Retrying: len(p.items.backoff) - p.unparked(), Parking: p.items.parking + p.unparked(),
		Matched: p.stats.matched, Delivered: p.stats.delivered,
		Finished: p.stats.finished, Parked: p.stats.parked, TooCostly: p.stats.tooCostly,
		Captured: p.stats.captured, Gap: p.place.gap,
		Unreadable: p.reader.trouble.Unreadable, Reopened: p.reader.trouble.Reopened,
		Floor:      p.tracker.Snapshot(p.place.read).Floor,
		ExtendedAt: unlessZero(p.stats.extended), HeardAt: unlessZero(p.stats.heard), LastAckAt: unlessZero(p.stats.lastFinished),
	}
	if p.blockade.full {
		s.Unparked = p.blockade.why
	}
	s.State, s.Reason = p.State()
	if it := p.oldest(); it != nil {
		s.OldestAt = unlessZero(it.stored)
	}
	return s
}

// unlessZero returns a time as a status has it.
func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// oldest returns the unfinished item with the lowest sequence among the heads
// of the lanes; with lanes of one event each, among those sent or ready.
func (p *Pool) oldest() *Item {
	var first *Item
	consider := func(it *Item) {
		if it != nil && it.phase != settled && (first == nil || it.mark.Sequence() < first.mark.Sequence()) {
			first = it
		}
	}
	for _, l := range p.lanes {
		consider(l.head)
	}
	if p.spec.OrderBy.Kind == wire.OrderNone {
		for _, it := range p.items.slots {
			consider(it)
		}
		for it := p.items.ready.first; it != nil; it = it.right {
			consider(it)
		}
	}
	return first
}
