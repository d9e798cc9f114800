package core

import (
	"errors"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
)

// A spilled item keeps its place in its lane and in the checkpoint, but its
// event was let go. It is reloaded from the store when its turn comes. So an
// exhausted event that blocks its lane for days, and all that queue up behind
// it, leave the pool's bytes and its window to other lanes; and so do events
// that fail or are slow, and those behind them, where there is no room otherwise.

const (
	// reloadAgain is how long an item waits that could not be reloaded.
	reloadAgain = time.Second
	// patience is how often in a row an item waits for room to be reloaded.
	patience = 10
	// aheadEvents and aheadBytes bound what is reloaded together with the head of
	// a lane that empties.
	aheadEvents = 15
	aheadBytes  = 1 << 20
)

// ErrGone says that the store does not hold an event any more.
var ErrGone = errors.New("the store no longer holds the event")

// spill lets the event of an item go, which stays where it is.
func (p *Pool) spill(it *Item) {
	if it.spilled {
		return
	}
	if it.phase == preloading {
		p.move(it, queued) // what is on its way comes in vain
	}
	it.spilled, it.event = true, nil
	it.lane.kept--
	p.room.spilled++
	p.room.budget.take(spilledSize)
	p.room.release(it.size)
	p.signalRoom()
}

// spillBehind lets go of the events behind the head of a lane.
func (p *Pool) spillBehind(l *lane) {
	headKept := 1
	if l.head.spilled {
		headKept = 0
	}
	for it := l.head.next; l.kept > headKept; it = it.next {
		p.spill(it)
	}
}

// reload sends for the event of the spilled item that is to go next. Where there
// is no room for it, it waits, and others go on; but it is reloaded all the same
// where there are no others to wait for, and where others have had the budget
// for too long: a pool that is never idle might never find room in it.
func (p *Pool) reload(it *Item, now time.Time) {
	if !p.room.tryReserve(it.size, p.room.bytes) {
		alone := p.items.out() == 0 && p.items.ready.n == 1
		if !alone && (it.refused < patience || p.room.bytes+it.size > bytesPerPool) {
			it.refused++
			p.backOff(it, reloadAgain, now)
			return
		}
		p.room.reserve(it.size)
	}
	it.refused = 0
	p.order(it, reloading)
	if it.spent == 0 { // so the one before it is settled, and the lane moves
		p.preload(it)
	}
}

// preload sends for the events behind the head of a lane too, while there is
// plenty of room: one after the other they would go no faster than the store
// answers, and a lane into which more comes would never be rid of its spilled
// ones.
func (p *Pool) preload(head *Item) {
	it, size := head.next, 0
	for n := 0; n < aheadEvents && it != nil; n, it = n+1, it.next {
		if size += it.size; size > aheadBytes || p.room.events() >= p.room.window/2 {
			return
		}
		if !it.spilled {
			continue
		}
		if p.room.bytes > bytesPerPool/2 || !p.room.tryReserve(it.size, p.room.bytes) {
			return
		}
		p.order(it, preloading)
	}
}

// unspill ends it that an item is spilled. The bytes of its event have been
// reserved, unless it is settled.
func (p *Pool) unspill(it *Item) {
	it.spilled = false
	it.lane.kept++
	p.room.spilled--
	p.room.budget.take(-spilledSize)
}

// order sends for the event of an item, which has its bytes already.
func (p *Pool) order(it *Item, to phase) {
	p.unspill(it)
	p.move(it, to)
	p.fx.Reload = append(p.fx.Reload, Reload{Item: it, Sequence: it.mark.Sequence(), Ahead: to == preloading})
}

// Reloaded takes the event of an item. The error is ErrGone where the store is
// known to have lost it; after any other, the event is asked for again.
func (p *Pool) Reloaded(now time.Time, it *Item, e *event.Event, err error) {
	switch {
	case p.flow.closed || !it.phase.isReloading(): // it may have been answered, or let go again, meanwhile
	case errors.Is(err, ErrGone) && it.phase == reloading && !p.storeLost():
		p.gone(it, now)
	case err == nil && e.Time.Equal(it.stored): // with another time it is of another store, under the same name
		p.reloaded(it, e)
	case it.phase == preloading:
		p.spill(it)
	default:
		p.backOff(it, reloadAgain, now)
	}
}

// reloaded has an item go on whose event is there again.
func (p *Pool) reloaded(it *Item, e *event.Event) {
	it.event = e
	switch {
	case it.phase == preloading:
		p.move(it, queued)
	case it.parkFor != "":
		p.handOver(it)
	default:
		p.readyFirst(it)
	}
}

// gone settles an event that was deleted from the store before it could be
// delivered: a gap, though one of a single event. It does not take the place of
// a gap that the pool has yet to pass: whoever resumes it passes that one.
func (p *Pool) gone(it *Item, now time.Time) {
	seq := it.mark.Sequence()
	gap := wire.Gap{From: seq, To: seq, At: now.UTC(), Generation: p.record.Generation}
	if g := p.place.gap; g != nil && g.Generation == gap.Generation && g.To+1 == seq {
		gap.From = g.From
	}
	if g := p.place.gap; g == nil || g.From <= p.place.read {
		p.place.gap = &gap
	}
	p.note(wire.AdvEventLost, "was let go while its lane was held up, and "+ErrGone.Error(),
		map[string]any{"sequence": seq, "key": clip(it.lane.key)})
	p.finish(it, now)
}
