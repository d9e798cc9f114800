package pool

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Attach puts the pool under a reader, whose position it shares from now on:
// everything up to base has been read, and the reader offers what follows. What
// it adds to taken from now on, the pool has been held against.
func (p *Pool) Attach(position, taken *atomic.Uint64, base uint64, live bool) {
	p.mu.Lock()
	defer p.unlock()
	p.base = max(p.base, base)
	p.source = position
	p.stats.evaluated = p.evaluated()
	p.taken, p.takenBefore = taken, taken.Load()
	p.live = live
	p.refused = 0 // it will be offered again
	p.wait = wait{}
}

// Detach takes the pool from its reader, which has offered everything up to base.
func (p *Pool) Detach(base uint64) {
	p.mu.Lock()
	defer p.unlock()
	p.base = max(p.base, base)
	p.source = nil
	p.stats.evaluated = p.evaluated()
	p.taken = nil
	p.live = false
}

// Live says whether the reader of the pool is near to the end of the store.
func (p *Pool) Live(live bool) {
	p.mu.Lock()
	defer p.unlock()
	p.live = live && p.source != nil
}

// evaluated is how many events the pool has been held against: its readers
// count them, once for all of their pools.
func (p *Pool) evaluated() uint64 {
	if p.taken == nil {
		return p.stats.evaluated
	}
	return p.stats.evaluated + p.taken.Load() - p.takenBefore
}

// Position is the last sequence that the pool has read.
func (p *Pool) Position() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position()
}

// position must read the reader's position while the lock is held: the reader
// moves it only after it has offered the event there, so what the position
// covers is either tracked or did not match.
func (p *Pool) position() uint64 {
	if p.source == nil {
		return p.base
	}
	return max(p.base, p.source.Load())
}

// SkipTo notes that the events up to seq are not there to be read.
func (p *Pool) SkipTo(seq uint64) {
	p.mu.Lock()
	defer p.unlock()
	if seq > p.base {
		p.base = seq
		p.moved = true
	}
}

// Lost notes that events of the range from..to were gone before they were read.
func (p *Pool) Lost(gap wire.Gap) {
	p.mu.Lock()
	defer p.unlock()
	p.gap = &gap
	p.moved = true
	p.note(wire.AdvEventLost, "the store no longer held events that were still to be read", map[string]any{
		"from": gap.From, "to": gap.To, "count": gap.Count, "kind": gap.Kind,
	})
}

// wait is what a pool waits for while no reader serves it.
type wait struct {
	state  wire.PoolState // "": nothing
	reason string
}

// Hold says what the pool waits for while no reader serves it: PoolStoreLost,
// PoolNotBegun or PoolNoReader, and why; "" is nothing. Attach ends it.
func (p *Pool) Hold(state wire.PoolState, why string) {
	p.mu.Lock()
	defer p.unlock()
	w := wait{state, why}
	if w != p.wait && state != wire.PoolNotBegun { // its reason changes with every event stored
		p.moved = true
	}
	p.wait = w
}

// Captive says why nothing may be delivered, since it would become an event of
// the store; "" is that it would not. What is out already may still be answered.
func (p *Pool) Captive(why string) {
	p.mu.Lock()
	if why == p.captive {
		p.unlock()
		return
	}
	p.captive = why
	p.moved = true
	if why != "" {
		p.note(wire.AdvPoolBlocked, why, nil)
	}
	p.flush(time.Now())
}

// Trouble is what keeps the pool's reader from reading.
type Trouble struct {
	Unreadable string // why the store cannot be read; "" if it can
	Reopened   int    // how often the reader was opened anew without having moved
}

// Trouble notes what keeps the pool's reader from reading.
func (p *Pool) Trouble(t Trouble) {
	p.mu.Lock()
	defer p.unlock()
	p.trouble = t
}

// LoseEnd notes that the store has lost what the pool has read from the given
// sequence on. That cannot be taken back: what the store keeps there from now on
// are other events.
func (p *Pool) LoseEnd(from uint64) {
	p.mu.Lock()
	defer p.unlock()
	p.lostFrom = from
	p.moved = true
}

// LostFrom is what LoseEnd, of this owner or an earlier one, noted; else 0.
func (p *Pool) LostFrom() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lostFrom
}

// Reach is the last sequence that the pool has read or knows to be finished.
func (p *Pool) Reach() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.position(), p.tracker.Reach())
}

// InFlight is the number of deliveries that wait for an answer.
func (p *Pool) InFlight() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flight.n
}

// Finished reports whether the whole range is known to be finished.
func (p *Pool) Finished(from, to uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker.Finished(from, to)
}

// Room returns a channel that is closed when the pool can take events again,
// which it can at once if it is not full. A pool that drains never can; the
// channel is closed at the latest when the pool is.
func (p *Pool) Room() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.room == nil {
		p.room = make(chan struct{})
	}
	ch := p.room
	if p.closed || p.roomy() {
		close(p.room)
		p.room = nil
	}
	return ch
}

// Drain stops sending and waits until nothing is in flight or ctx ends.
func (p *Pool) Drain(ctx context.Context) {
	p.mu.Lock()
	p.draining = true
	var idle chan struct{}
	if !p.closed && (p.flight.n > 0 || p.storing > 0) {
		if p.idle == nil {
			p.idle = make(chan struct{})
		}
		idle = p.idle
	}
	p.unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// Close ends the pool: it sends nothing more, but for what is being sent, and
// ignores answers, so that Checkpoint does not change any more. Closing it again
// changes nothing.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.unlock()
	if p.closed {
		return
	}
	p.closed = true
	p.cfg.Timers.Forget(p)
	p.cfg.Budget.give(p.bytes + p.stubs*stubSize)
	p.bytes, p.stubs = 0, 0
	p.lanes, p.slots, p.rest, p.ready, p.flight = nil, nil, nil, list{}, list{} // let the events go
	if p.room != nil {
		close(p.room)
		p.room = nil
	}
	if p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}

// open reports whether the pool has not been closed.
func (p *Pool) open() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed
}

// State says what the pool is doing, and why if it is not simply at work.
func (p *Pool) State() (wire.PoolState, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state()
}

func (p *Pool) state() (wire.PoolState, string) {
	switch {
	case p.lostFrom > 0:
		return wire.PoolStoreLost, fmt.Sprintf(
			"the store ended at sequence %d, before the checkpoint: it lost events; seek or restart the subscription", p.lostFrom-1)
	case p.wait.state == wire.PoolStoreLost, p.wait.state == wire.PoolNotBegun:
		return p.wait.state, p.wait.reason
	case p.captive != "":
		return wire.PoolBlocked, p.captive
	case p.circuit.tripped:
		return wire.PoolBreakerOpen, "too many failures in a row; events wait"
	case p.search.absent:
		return wire.PoolWaiting, p.absence()
	case p.jam.why != "", p.stuck > 0:
		why := cmp.Or(p.jam.why, "an exhausted event holds its lane")
		if p.cramped != "" {
			why += ", and " + p.cramped
		}
		return wire.PoolBlocked, why
	case p.trouble.Unreadable != "":
		return wire.PoolNoReader, p.trouble.Unreadable
	case p.live:
		return wire.PoolLive, p.cramped
	case p.wait.state != "":
		return p.wait.state, p.wait.reason
	default:
		return wire.PoolCatchingUp, p.cramped
	}
}

// storeLost reports whether what the store says of a sequence means nothing.
func (p *Pool) storeLost() bool {
	return p.lostFrom > 0 || p.wait.state == wire.PoolStoreLost
}

// noteState reports a change of state, at the end of a critical section.
func (p *Pool) noteState() {
	s, reason := p.state()
	if p.closed {
		return
	}
	if p.cramped != p.cramWas {
		p.cramWas = p.cramped
		p.moved = true
	}
	if s == p.stateWas {
		return
	}
	p.moved = p.moved || p.stateWas != "" || s != p.cfg.State
	p.stateWas = s
	switch s {
	case wire.PoolLive:
		p.note(wire.AdvPoolLive, "", nil)
	case wire.PoolWaiting:
		p.note(wire.AdvPoolWaiting, reason, nil)
	}
}

// Checkpoint is what the pool has finished, in at most 1.5 × MaxRanges ranges:
// what has been read may finish in any pattern, and what an earlier owner left
// comes on top. Beyond that the last ranges are left out, so that the checkpoint
// can be written; a next owner would deliver them again.
func (p *Pool) Checkpoint() wire.Checkpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	cp := p.tracker.Snapshot(p.position())
	most := p.cfg.MaxRanges + p.cfg.MaxRanges/2
	cp.Ranges = cp.Ranges[:min(len(cp.Ranges), most)]
	return cp
}

// Gap is the last range that was lost, nil if none was.
func (p *Pool) Gap() *wire.Gap {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gap
}

// Status is what the pool is doing, in numbers. Owner and StoreLast are left
// to the caller.
func (p *Pool) Status() wire.PoolStatus {
	p.mu.Lock()
	defer p.unlock() // to ask the breaker for its state can change it
	s := wire.PoolStatus{
		Name: p.Name(), UID: p.cfg.Record.UID, Epoch: p.cfg.Epoch, Generation: p.cfg.Record.Generation,
		Position: p.position(), Pending: p.tracker.Open(), InFlight: p.flight.n,
		Limit: p.limit.Value(), Retrying: len(p.rest), Parking: p.storing, Breaker: p.breakerState(),
		Evaluated: p.evaluated(), Matched: p.stats.matched, Delivered: p.stats.delivered,
		Finished: p.stats.finished, Parked: p.stats.parked, TooCostly: p.stats.tooCostly, Gap: p.gap,
		Unreadable: p.trouble.Unreadable, Reopened: p.trouble.Reopened,
		Captured: p.stats.captured,
	}
	if p.jam.full {
		s.Unparked = p.jam.why
	}
	held := p.unparked()
	s.Retrying, s.Parking = s.Retrying-held, s.Parking+held
	s.State, s.Reason = p.state()
	s.Floor = p.tracker.Snapshot(s.Position).Floor
	if at := p.stats.extended; !at.IsZero() {
		s.ExtendedAt = &at
	}
	if at := p.stats.heard; !at.IsZero() {
		s.HeardAt = &at
	}
	if it := p.oldest(); it != nil {
		at := it.at
		s.OldestAt = &at
	}
	if at := p.stats.lastFinished; !at.IsZero() {
		s.LastAckAt = &at
	}
	return s
}

// oldest returns the unfinished item with the lowest sequence among the heads
// of the lanes; with lanes of one event each, among those sent or ready.
func (p *Pool) oldest() *item {
	var first *item
	consider := func(it *item) {
		if it != nil && it.phase != settled && (first == nil || it.mark.Sequence() < first.mark.Sequence()) {
			first = it
		}
	}
	for _, l := range p.lanes {
		consider(l.head)
	}
	if p.spec.OrderBy.Kind == wire.OrderNone {
		for _, it := range p.slots {
			consider(it)
		}
		for it := p.ready.first; it != nil; it = it.right {
			consider(it)
		}
	}
	return first
}
