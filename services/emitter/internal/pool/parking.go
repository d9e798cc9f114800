package pool

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
)

// Parker keeps events that cannot be delivered. Park must not block: it returns
// false where its queue is full, and otherwise calls done, from any goroutine,
// once the event is safely stored, or with an error where it could not be: a text
// that says so to people, and that is ErrFull where there is no room for it. It
// may drop the event of a closed pool.
type Parker interface {
	Park(p Parked, done func(error)) bool
}

// ErrFull says that nothing more can be parked for want of room.
var ErrFull = errors.New("the parked stream is full")

// Parked is an event to be parked.
type Parked struct {
	Event    *event.Event
	Name     string
	UID      string
	Epoch    uint64
	Attempts int
	Reason   string
	Open     func() bool // whether the pool still is: a closed one wants nothing parked
}

const (
	// parkAgain is how long an event waits that the parker had no room for.
	parkAgain = time.Second
	// parkMin and parkMax bound the pauses between two tries while events cannot
	// be parked.
	parkMin = 250 * time.Millisecond
	parkMax = 3 * time.Second
)

// jam is that events cannot be parked. They hold their lanes, and one at a time
// is tried, so that it costs little however many they are.
type jam struct {
	why  string // "": there is none
	full bool   // for want of room
	wait time.Duration
	next time.Time // when the next one may be tried
	held int       // events to be parked that rest, jam or not
}

// lets reports whether an event may be tried now, and else when it should be.
func (j *jam) lets(now time.Time) (bool, time.Time) {
	if j.why == "" {
		return true, now
	}
	if now.Before(j.next) {
		return false, j.next
	}
	j.wait = min(2*j.wait, parkMax)
	j.next = now.Add(j.wait)
	return true, now
}

// parcel is an item on its way to the parker.
type parcel struct {
	it    *item
	event Parked
}

// park gives an item up: the parker gets it when the critical section ends, or
// when its event is there, or when events can be parked again. Its lane is held
// until it is stored.
func (p *Pool) park(it *item, reason string) {
	p.verdict(it, context.Canceled) // unless the breaker has been told already
	if it.phase == fetching {
		it.parkFor = reason
		return
	}
	p.leavePhase(it)
	it.phase, it.parkFor = queued, reason
	now := time.Now()
	switch ok, at := p.jam.lets(now); {
	case !ok:
		p.rests(it, at.Sub(now), now)
	case it.stub:
		p.goesFirst(it) // to be fetched
	default:
		p.pack(it)
	}
}

// pack makes an item go to the parker when the critical section ends.
func (p *Pool) pack(it *item) {
	p.leavePhase(it)
	it.phase = parking
	p.storing++
	e := p.effects()
	e.outbox = append(e.outbox, parcel{it, Parked{
		Event: it.ev, Name: p.Name(), UID: p.cfg.Record.UID, Epoch: p.cfg.Epoch,
		Attempts: it.attempts, Reason: it.parkFor, Open: p.open,
	}})
}

// handOver gives a parcel to the parker, with no lock held.
func (p *Pool) handOver(o parcel) {
	if p.cfg.Parker.Park(o.event, func(err error) { p.parked(o.it, err) }) {
		return
	}
	p.mu.Lock()
	defer p.unlock()
	if !p.closed && o.it.phase == parking {
		p.rests(o.it, parkAgain, time.Now())
	}
}

// parked is called when the event is safe in the parked stream, or with the
// reason why it is not.
func (p *Pool) parked(it *item, err error) {
	p.mu.Lock()
	if p.closed || it.phase != parking {
		p.unlock()
		return
	}
	now := time.Now()
	if err != nil {
		p.jammed(it, err, now)
		p.flush(now)
		return
	}
	p.stats.parked++
	if it.parkFor == wire.ParkedTooCostly {
		p.stats.tooCostly++
	}
	p.noteOf(it, wire.AdvEventParked, it.parkFor, map[string]any{"event_type": clip(it.ev.Type), "attempts": it.attempts})
	p.finish(it, now)
	p.unjam(now)
	p.flush(now)
}

// jammed notes that an event could not be parked.
func (p *Pool) jammed(it *item, err error, now time.Time) {
	j := &p.jam
	if j.why == "" {
		j.wait, j.next = parkMin, now.Add(parkMin)
		p.note(wire.AdvPoolBlocked, err.Error(), map[string]any{"sequence": it.ev.Sequence, "key": clip(it.lane.key)})
		p.moved = true
	}
	j.why, j.full = err.Error(), errors.Is(err, ErrFull)
	p.rests(it, max(j.next.Sub(now), parkMin), now)
}

// unparked is how many events wait until events can be parked.
func (p *Pool) unparked() int {
	if p.jam.why == "" {
		return 0
	}
	return p.jam.held
}

// unjam has all events parked that wait for it.
func (p *Pool) unjam(now time.Time) {
	if p.jam.why == "" {
		return
	}
	p.jam = jam{held: p.jam.held}
	p.moved = true
	for _, it := range p.rest {
		if it.parkFor != "" {
			it.due = now
		}
	}
	heap.Init(&p.rest)
	p.rouse(now)
}
