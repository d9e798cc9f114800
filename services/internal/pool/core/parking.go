package core

import (
	"errors"
	"slices"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// ErrFull says that nothing more can be parked for want of room.
var ErrFull = errors.New("the parked stream is full")

const (
	// parkAgain is how long an event waits that the parker had no room for.
	parkAgain = time.Second
	// parkMin and parkMax bound the pauses between two tries while events cannot
	// be parked.
	parkMin = 250 * time.Millisecond
	parkMax = 3 * time.Second
)

// blockade is that events cannot be parked. They hold their lanes, and one at a
// time is tried, so that it costs little however many they are.
type blockade struct {
	why   string // why they cannot be; "": they can
	full  bool   // it is for want of room
	pause time.Duration
	next  time.Time // when the next one may be tried
}

// try takes the turn of the next event to be tried. Where it is not time yet, ok
// is false, and at is when it will be.
func (b *blockade) try(now time.Time) (ok bool, at time.Time) {
	if b.why == "" {
		return true, now
	}
	if now.Before(b.next) {
		return false, b.next
	}
	b.pause = min(2*b.pause, parkMax)
	b.next = now.Add(b.pause)
	return true, now
}

// park gives an item up: the parker gets it when its event is there and events
// can be parked. Its lane is held until it is stored.
func (p *Pool) park(it *Item, reason string, now time.Time) {
	p.count(it, undone, now) // unless the breaker has been told already
	if it.parkFor == "" && it.phase == backingOff {
		p.items.unparked++
	}
	it.parkFor = reason
	if it.phase == reloading {
		return
	}
	switch ok, at := p.blockade.try(now); {
	case !ok:
		p.backOff(it, at.Sub(now), now)
	case it.spilled:
		p.readyFirst(it) // to be reloaded
	default:
		p.handOver(it)
	}
}

// parkOffered is park for an item that is the first of its lane.
func (p *Pool) parkOffered(it *Item) {
	if p.blockade.why == "" {
		p.handOver(it)
		return
	}
	it.At = p.blockade.next
	p.move(it, backingOff)
}

func (p *Pool) handOver(it *Item) {
	p.move(it, parking)
	p.fx.Park = append(p.fx.Park, Park{Item: it, Event: it.event, Attempts: it.token.Attempt(), Reason: it.parkFor})
}

// NotTaken takes it that the parker had no room in its queue for an item.
func (p *Pool) NotTaken(now time.Time, it *Item) {
	if !p.flow.closed && it.phase == parking {
		p.backOff(it, parkAgain, now)
	}
}

// Parked takes it that an item is safe in the parked stream, or why it is not.
// The error is ErrFull where there is no room for it.
func (p *Pool) Parked(now time.Time, it *Item, err error) {
	switch {
	case p.flow.closed || it.phase != parking:
	case err != nil:
		p.notParked(it, err, now)
	default:
		p.stats.parked++
		if it.parkFor == wire.ParkedTooCostly {
			p.stats.tooCostly++
		}
		p.noteOf(it, wire.AdvEventParked, it.parkFor, map[string]any{"event_type": clip(it.event.Type), "attempts": it.token.Attempt()})
		p.finish(it, now)
		p.endBlockade(now)
	}
}

func (p *Pool) notParked(it *Item, err error, now time.Time) {
	b := &p.blockade
	if b.why == "" {
		b.pause, b.next = parkMin, now.Add(parkMin)
		p.note(wire.AdvPoolBlocked, err.Error(), map[string]any{"sequence": it.event.StoreSequence(), "key": clip(it.lane.key)})
		p.fx.Moved = true
	}
	b.why, b.full = err.Error(), errors.Is(err, ErrFull)
	p.backOff(it, max(b.next.Sub(now), parkMin), now)
}

// unparked is how many events wait until events can be parked.
func (p *Pool) unparked() int {
	if p.blockade.why == "" {
		return 0
	}
	return p.items.unparked
}

func (p *Pool) endBlockade(now time.Time) {
	if p.blockade.why == "" {
		return
	}
	p.blockade = blockade{}
	p.fx.Moved = true
	for _, it := range slices.Clone(p.items.backoff) { // they change places
		if it.parkFor != "" {
			p.items.backoff.Set(it, now)
		}
	}
	p.wakeDue(now)
}
