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
	Record     *wire.Record
	State      wire.PoolState // as others are told of it already; "" if they are not
	Checkpoint wire.Checkpoint
	Gap        *wire.Gap   // the last range lost by an earlier owner, if any
	LostFrom   uint64      // as an earlier owner's LoseEnd noted it
	Holes      *wire.Holes // as an earlier owner's Began noted them; nil if none has
	Budget     *Budget
	// MaxRanges bounds the finished ranges above the floor, and with them the
	// size of a checkpoint. Defaults to checkpoint.DefaultMaxRanges.
	MaxRanges int
	// Until is the last sequence that the pool takes; 0: there is none.
	Until uint64
	// Rate is how many deliveries a second may be sent at most; 0 is no bound.
	Rate int
	// Seed makes what is drawn by lot differ among pools.
	Seed uint64
}

// Pool decides about the deliveries of one subscription. It is not safe for
// concurrent use.
type Pool struct {
	cfg     Config
	spec    *wire.Spec // of cfg.Record
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
	moves *moves // for tests: the changes of phase so far; nil: they are not noted
}

// moves tells which phase was followed by which.
type moves [phases][phases]bool

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
		cfg: cfg, spec: spec,
		lots:    rand.New(rand.NewPCG(cfg.Seed, 0)),
		tracker: checkpoint.Restore(cfg.Checkpoint),
		lanes:   map[string]*lane{},
		flow: flow{
			pace:    newPace(cfg.Rate),
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
	p.place = place{read: p.tracker.Floor(), gap: cfg.Gap, lostFrom: cfg.LostFrom, holes: cfg.Holes}
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
	case p.cfg.Until > 0 && e.Sequence > p.cfg.Until:
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
	case l.head.exhausted, before.phase.isSpilled(): // its turn is far away
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
		s.Kind == wire.PositionTime && e.Time.Before(s.Time) && e.Sequence >= p.cfg.Record.StartSequence
}

func (p *Pool) laneOf(e *event.Event) *lane {
	key, alone := orderingKey(p.spec.OrderBy, e)
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
	p.move(it, it.phase.atTurn())
}

// finish settles an item and lets the next one of its lane go.
func (p *Pool) finish(it *Item, now time.Time) {
	if !it.phase.isSpilled() {
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
	p.leave(it)
	p.become(it, to)
	p.items.enter(it)
}

// moveFirst brings an item to the head of those that are ready.
func (p *Pool) moveFirst(it *Item, to phase) {
	p.leave(it)
	p.become(it, to)
	p.items.ready.addFirst(it)
}

// backOff has an item wait. It keeps its event, unless nobody knows for how long
// or the pool has more than it may hold.
func (p *Pool) backOff(it *Item, d time.Duration, now time.Time) {
	p.leave(it)
	it.At = now.Add(d)
	if it.event == nil || it.exhausted || p.room.bytes > bytesPerPool {
		p.become(it, backedSpilled)
	} else {
		p.become(it, backingOff)
	}
	p.items.enter(it)
}

// leave takes an item out of the books of its phase.
func (p *Pool) leave(it *Item) {
	p.items.leave(it)
	if p.flow.presence.asks == it {
		p.flow.presence.asks = nil
	}
}

// become changes the phase of an item, and accounts for its event.
func (p *Pool) become(it *Item, to phase) {
	from := it.phase
	if p.moves != nil {
		p.moves[from][to] = true
	}
	it.phase = to
	switch was, is := from.isSpilled(), to.isSpilled(); {
	case is && !was:
		it.event = nil
		it.lane.kept--
		p.room.spill(it.size)
		p.signalRoom()
	case was && !is:
		it.lane.kept++
		p.room.unspill()
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
