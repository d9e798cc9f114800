package core

import (
	"cmp"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/checkpoint"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/limit"
)

// Config is what a pool begins with.
type Config struct {
	Record *wire.Record
	Entry  wire.Pool // as it is stored: what earlier owners left
	Budget *Budget
	// MaxRanges bounds the finished ranges above the floor, and with them the
	// size of a checkpoint. Defaults to checkpoint.DefaultMaxRanges.
	MaxRanges int
	Until     uint64 // the last sequence that the pool takes; 0: there is none
	Rate      int    // deliveries a second, at most, instead of the subscription's; 0: that holds
	Seed      uint64 // makes what is drawn by lot differ among pools
}

// Pool decides about the deliveries of one subscription. It is not safe for
// concurrent use.
type Pool struct {
	record  *wire.Record
	spec    *wire.Spec // of record
	until   uint64     // the last sequence to take; 0: there is none
	lots    *rand.Rand
	tracker *checkpoint.Tracker

	lanes    map[string]*lane
	spare    *lane // an empty one, to be used for the next key; nil if there is none
	items    items
	room     room
	flow     flow
	blockade blockade
	place    place
	reader   reader
	stats    stats
	reported report

	sendAgain time.Time // when something ready may be sent; zero: now, or it is not a question of time

	armed time.Time // when Tick has been asked for; zero if it has not
	fx    Effects
	moved func(from, to phase) // for tests: called with each change of phase; nil: it is not
}

// stats count what has happened.
type stats struct {
	matched, delivered, finished, parked uint64
	tooCostly                            uint64 // of those parked
	captured                             uint64 // answers of streams that are not the target
	lastFinished, extended, heard        time.Time
}

// New returns a pool that has read and sent nothing yet.
func New(cfg Config) *Pool {
	spec := &cfg.Record.Spec
	least := spec.PoolSize.Min
	if spec.Deliver.Mode == wire.ModePublish {
		least = spec.PoolSize.Max // nothing is waited for, so nothing adapts
	}
	p := &Pool{
		record: cfg.Record, spec: spec, until: cfg.Until,
		lots:    rand.New(rand.NewPCG(cfg.Seed, 0)),
		tracker: checkpoint.Restore(cfg.Entry.Checkpoint),
		lanes:   map[string]*lane{},
		flow: flow{
			pace:    newPace(cmp.Or(cfg.Rate, spec.Deliver.Rate)),
			limit:   limit.New(least, spec.PoolSize.Max),
			breaker: breaker{failures: spec.Breaker.Failures, openFor: spec.Breaker.OpenFor.Std(), gen: 1},
		},
	}
	p.room = room{
		budget: cfg.Budget, tracker: p.tracker, window: max(windowFactor*spec.PoolSize.Max, 1024),
		maxRanges: cmp.Or(cfg.MaxRanges, checkpoint.DefaultMaxRanges),
	}
	p.items.nonce0 = p.lots.Uint32()
	p.items.nonce = p.items.nonce0
	p.place = place{read: p.tracker.Floor(), gap: cfg.Entry.Gap, lostFrom: cfg.Entry.LostFrom, holes: cfg.Entry.Holes}
	p.reported.stored = cfg.Entry.State
	return p
}

// Offer hands the pool an event; all that match below it must have been offered
// before. It returns false, and takes nothing, where the pool has no room. Where
// LookForRoom finds none either, the reader must leave the event behind. An event
// with a reason to park it is not delivered: it is parked when the turn comes to
// it among those of its key. So is one that loops.
func (p *Pool) Offer(e *event.Event, parkFor string) bool {
	if e.Loops() { // whatever else: by this reason it is known when it comes back
		parkFor = wire.ParkedLoop
	}
	switch {
	case p.flow.closed || p.flow.draining:
		return false
	case e.Sequence <= p.place.read:
		return true
	case p.until > 0 && e.Sequence > p.until:
		p.place.read = e.Sequence // it is not for this pool, nor is what follows
		return true
	case p.settledBefore(e):
		p.place.read = e.Sequence
		return true
	}
	size := e.Size()
	if !p.room.tryAdmit(size) {
		return false
	}
	// Read from now on: the event may be finished before the reader's own
	// position gets here.
	p.place.read = e.Sequence
	p.stats.matched++
	it := &Item{event: e, stored: e.Time, size: size, parkFor: parkFor}
	it.token.slot = -1
	p.tracker.Add(&it.mark, e.Sequence)
	l := p.laneOf(e)
	before := l.tail
	switch {
	case l.push(it) && parkFor != "":
		p.parkOffered(it)
	case l.head == it:
		p.move(it, ready)
	case l.head.exhausted, before.spilled: // its turn is far away
		p.spill(it)
	}
	return true
}

// settledBefore reports whether e, which has not been read before, needs no
// delivery: an earlier owner finished it, it was stored before the time that the
// subscription asked for, which lay in the future, or it is parked, and comes
// from there into a store that sources the parked stream: it would again.
func (p *Pool) settledBefore(e *event.Event) bool {
	s := p.spec.Start
	return p.tracker.Finished(e.Sequence, e.Sequence) || e.ParkedAsLoop() ||
		s.Kind == wire.PositionTime && e.Time.Before(s.Time) && e.Sequence >= p.record.StartSequence
}

func (p *Pool) laneOf(e *event.Event) *lane {
	key, alone := OrderingKey(p.spec.OrderBy, e)
	if alone {
		return &lane{}
	}
	l, ok := p.lanes[key]
	if !ok {
		if l = p.spare; l == nil {
			l = &lane{}
		}
		l.key, p.spare = key, nil
		p.lanes[key] = l
	}
	return l
}

// makeReady lets the head of a lane go. One that is to be parked waits neither
// for a subscriber nor for the breaker.
func (p *Pool) makeReady(it *Item, now time.Time) {
	if it.parkFor != "" && !p.flow.draining && !it.phase.isReloading() {
		p.park(it, it.parkFor, now)
		return
	}
	if it.phase == preloading {
		p.move(it, reloading)
		return
	}
	p.move(it, ready)
}

// finish settles an item and lets the next one of its lane go.
func (p *Pool) finish(it *Item, now time.Time) {
	if it.spilled {
		p.unspill(it)
	} else {
		p.room.release(it.size)
	}
	p.move(it, settled)
	if it.exhausted {
		p.items.blocked--
	}
	it.breakerGen = 0
	p.items.freeSlot(it)
	p.tracker.Done(&it.mark)
	p.stats.lastFinished = now
	if next := it.lane.pop(); next != nil {
		p.makeReady(next, now)
	} else if p.lanes[it.lane.key] == it.lane {
		delete(p.lanes, it.lane.key)
		p.spare = it.lane
	}
	if it.parkFor != "" && p.items.unparked+p.items.parking == 0 {
		p.endBlockade(now) // it was the last one: answered late, or gone from the store
	}
	p.signalRoom()
	p.fx.Moved = true
}

// move brings an item into another phase. Moved into the same phase, it goes to
// the end of those that wait there.
func (p *Pool) move(it *Item, to phase) {
	p.become(it, to)
	p.items.enter(it)
}

func (p *Pool) readyFirst(it *Item) {
	p.become(it, ready)
	p.items.ready.addFirst(it)
}

// become takes an item out of the books of its phase, and changes that.
func (p *Pool) become(it *Item, to phase) {
	p.items.leave(it)
	if p.flow.presence.asks == it {
		p.flow.presence.asks = nil
	}
	if p.moved != nil {
		p.moved(it.phase, to)
	}
	it.phase = to
}

// backOff has an item wait. It keeps its event, unless nobody knows for how long
// or the pool has more than it may hold.
func (p *Pool) backOff(it *Item, d time.Duration, now time.Time) {
	p.become(it, backingOff)
	it.At = now.Add(d)
	p.items.enter(it)
	if it.event == nil || it.exhausted || p.room.bytes > bytesPerPool {
		p.spill(it)
	}
}

// maxTold bounds, in bytes, what an advisory repeats of an event.
const maxTold = 256

// clip cuts what an advisory repeats of an event, whose headers may be larger
// than a message may be.
func clip(s string) string {
	if len(s) <= maxTold {
		return s
	}
	return strings.ToValidUTF8(s[:maxTold], "") + "…"
}
