package core

import (
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/services/internal/checkpoint"
)

const (
	// windowFactor is how many events a pool holds for each in flight, so that
	// lanes behind a slow key can go on. Measured: 4 keeps the limit filled with
	// 200 keys of uneven weight.
	windowFactor = 4
	// bytesPerPool bounds the bodies that one pool holds, whatever their number.
	bytesPerPool = 32 << 20
	// lookAgain is the pause between two looks for room, and how long an event
	// may hold its lane up before those behind it are spilled.
	lookAgain = time.Second
	// spilledSize is about what a spilled item holds in memory, in bytes.
	spilledSize = 256
	// maxSpilled bounds them to as much memory again as the bodies of a pool.
	maxSpilled = bytesPerPool / spilledSize
	// freeSpilled is how many of them take nothing from what the pool may hold of
	// the budget, so that some blocked events leave room for others.
	freeSpilled = 256
)

// room is what a pool may hold, and what it does hold.
type room struct {
	budget    *Budget
	tracker   *checkpoint.Tracker
	window    int // events held at once, at most
	maxRanges int // ranges of the checkpoint, at most

	bytes   int // of the events held
	spilled int // items whose event was let go

	refused    int       // size of the event that there was no room for; 0: none was refused since
	overBudget bool      // it was refused since the instance's budget has nothing left for the pool
	blockedBy  string    // which bound of the checkpoint keeps the pool from reading on; "" if none
	nextLook   time.Time // when to look for room again
}

// held is how many bytes the pool holds as the budget sees it.
func (r *room) held() int { return r.bytes + max(r.spilled-freeSpilled, 0)*spilledSize }

// events is how many events are held.
func (r *room) events() int { return r.tracker.Open() - r.spilled }

// tryAdmit takes the room for one more event, or notes why there is none.
func (r *room) tryAdmit(size int) bool {
	r.blockedBy, r.overBudget, r.refused = "", false, size
	switch {
	case r.tracker.Ranges() >= r.maxRanges:
		r.blockedBy = "the checkpoint is full"
	case r.spilled >= maxSpilled:
		r.blockedBy = "no more events can be remembered that fail, or wait behind such or slow ones"
	case r.events() >= r.window:
	case r.tryReserve(size, r.held()):
		r.refused = 0
		return true
	default:
		r.overBudget = r.bytes+size <= bytesPerPool // so it is others that hold the bytes
	}
	return false
}

// tryReserve reserves the bytes of an event for a pool that holds so many. One
// that holds none always gets them, so that nothing starves.
func (r *room) tryReserve(size, held int) bool {
	switch {
	case held == 0:
		r.reserve(size)
		return true
	case r.bytes+size > bytesPerPool, !r.budget.tryTake(size, held):
		return false
	}
	r.bytes += size
	return true
}

// reserve reserves the bytes of an event, whatever is left.
func (r *room) reserve(size int) {
	r.budget.take(size)
	r.bytes += size
}

func (r *room) release(size int) {
	r.budget.take(-size)
	r.bytes -= size
}

// mayAdmit reports whether a pool that had no room should be offered events
// again. It must be false right after a refusal, or the reader would spin.
func (r *room) mayAdmit() bool {
	return r.events() <= r.window/2 &&
		r.spilled <= maxSpilled/2 &&
		r.tracker.Ranges() <= r.maxRanges/2 &&
		(r.held() == 0 || !r.overBudget && r.bytes <= bytesPerPool/2 && r.bytes+r.refused <= bytesPerPool)
}

// LookForRoom looks whether a pool that refused an event has room by now, and
// makes some, but not too often.
func (p *Pool) LookForRoom(now time.Time) {
	if p.room.refused == 0 || now.Before(p.room.nextLook) {
		return
	}
	p.signalRoom()
	if !p.CanTake() {
		p.makeRoom(now)
	}
	p.room.nextLook = now.Add(lookAgain)
}

// makeRoom spills the events that back off, and those behind an event that
// holds its lane up: their turn is far away, and other lanes can use the room.
// It does nothing where events wait to be sent as it is, for others would only
// join them, nor where it is not for want of room that the pool reads nothing.
func (p *Pool) makeRoom(now time.Time) {
	if p.items.ready.n > 0 || p.flow.breaker.state != breakerClosed || p.room.blockedBy != "" {
		return
	}
	for _, it := range p.items.backoff {
		p.spill(it)
	}
	for _, l := range p.lanes {
		if l.head.holdsUp(now) {
			p.spillBehind(l)
		}
	}
}

// CanTake reports whether a pool that had no room should be offered events
// again. A pool that drains never should. A closed one takes nothing, but
// nobody need wait for it.
func (p *Pool) CanTake() bool {
	return p.flow.closed || !p.flow.draining && p.room.mayAdmit()
}

// signalRoom has whoever waits for room told, if there is some.
func (p *Pool) signalRoom() {
	r := &p.room
	if r.overBudget && r.budget.fits(r.refused, r.held()) {
		r.overBudget = false
	}
	if p.CanTake() {
		r.blockedBy = ""
		p.fx.Room = true
	}
}

// Budget bounds the bytes of events that all pools of an instance hold. A pool
// gets more only while it holds at most a quarter of what is left (a dynamic
// threshold, after Choudhury and Hahne, 1998). So n pools that let nothing go
// leave 4 parts in n+4 to the others if they fill up side by side, and at least
// (4/5)^n if they do one after the other.
//
// It is the one thing that the cores of an instance share. It is a counter:
// nobody waits for it.
type Budget struct {
	max  int64
	used atomic.Int64
}

// leave is how many times what it holds a pool must leave to others.
const leave = 4

// NewBudget returns a budget of max bytes.
func NewBudget(maxBytes int64) *Budget { return &Budget{max: maxBytes} }

// Used is how many bytes are held now.
func (b *Budget) Used() int64 { return b.used.Load() }

// tryTake takes n bytes for a pool that holds so many already, if it may.
func (b *Budget) tryTake(n, held int) bool {
	if b.used.Add(int64(n))+leave*int64(held) > b.max {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// fits reports whether tryTake would take them.
func (b *Budget) fits(n, held int) bool { return b.used.Load()+int64(n)+leave*int64(held) <= b.max }

// take takes n bytes, whatever is left. A negative n gives them back.
func (b *Budget) take(n int) { b.used.Add(int64(n)) }
