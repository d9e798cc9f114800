package pool

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/checkpoint"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
	"github.com/sluicehq/sluice/services/emitter/internal/limit"
	"github.com/sluicehq/sluice/services/emitter/internal/timers"
)

// Publisher sends messages; *nats.Conn is one. It must not keep a message or
// its header once it has returned: the pool uses them again.
type Publisher interface{ PublishMsg(*nats.Msg) error }

// Config is what a pool needs.
type Config struct {
	Record     *wire.Record
	Epoch      uint64
	State      wire.PoolState // as others are told of it already; "" if they are not
	Checkpoint wire.Checkpoint
	Gap        *wire.Gap   // the last range lost by an earlier owner, if any
	LostFrom   uint64      // as an earlier owner's LoseEnd noted it
	Holes      *wire.Holes // as an earlier owner's Began noted them; nil if none has
	// AnswerPrefix begins the reply subjects of this pool; what follows it is
	// the token that Answer takes.
	AnswerPrefix string
	Publisher    Publisher
	Carriers     *Carriers // shared by the pools of an instance
	Parker       Parker
	Fetcher      Fetcher
	Asker        Asker
	Timers       *timers.Timers
	Budget       *Budget
	// MaxRanges bounds the finished ranges above the floor, and with them the
	// size of a checkpoint. Defaults to DefaultMaxRanges; see RangesWithin.
	MaxRanges int
	// Notify reports what a user would want to know, e.g. wire.AdvPoolWaiting.
	// It must not block.
	Notify func(Notice)
	// Moved is called after the checkpoint or the state moved; it must not block.
	Moved func()
}

// Pool delivers the events of one subscription. Its methods are safe for
// concurrent use, but only one reader may offer at a time.
type Pool struct {
	cfg     Config
	spec    *wire.Spec // of cfg.Record
	matcher *selector.Matcher
	window  int // matched events held at once, at most

	epoch string // as a header has it

	mu       sync.Mutex
	closed   bool
	draining bool
	tracker  *checkpoint.Tracker
	lanes    map[string]*lane
	ready    list // at the heads of their lanes, to be sent
	flight   list // sent; all wait equally long, so the first is due first
	rest     rest
	slots    []*item
	free     []int
	nonce    uint32 // of the last event that was given a slot
	nonce0   uint32 // what nonce began with
	limit    limit.Limit
	bytes    int
	stubs    int // items whose event was let go
	fetching int // items whose event is on its way
	storing  int // events being parked

	refused int       // size of the event that there is no room for; 0 if none was refused since
	starved bool      // the instance's budget has nothing left for it
	lookAt  time.Time // refused: look for room again then
	cramped string    // which bound of the checkpoint keeps the pool from reading on; "" if none

	base        uint64         // everything at or below has been read
	source      *atomic.Uint64 // the reader's position, nil while no reader serves the pool
	taken       *atomic.Uint64 // what the reader has taken, nil likewise
	takenBefore uint64         // of that, before it served the pool
	room        chan struct{}  // closed when the window has room again; nil if nobody waits
	idle        chan struct{}  // closed when nothing is in flight any more; nil if nobody waits

	live      bool      // the reader is at the head of the store
	search    search    // for somebody who listens
	holdUntil time.Time // publishing failed: try again then
	armed     time.Time // when Tick has been asked for; zero if it has not
	circuit   circuit
	jam       jam
	stuck     int // lanes held by exhausted events
	gap       *wire.Gap
	lostFrom  uint64 // the store lost what was read from here on; 0 if it did not
	holes     *wire.Holes
	wait      wait
	captive   string // why nothing is delivered: it would become an event; "" if it would not
	trouble   Trouble

	stats    stats
	stateWas wire.PoolState
	cramWas  string

	// What the end of the critical section is to tell others.
	moved bool
	rare  *effects // nil if there are none
}

// effects are what only few critical sections tell others.
type effects struct {
	notices []Notice
	outbox  []parcel
	asks    []*item // one at most
	peek    bool
	wanted  []want
}

type stats struct {
	evaluated                            uint64 // with earlier readers; see Pool.evaluated
	matched, delivered, finished, parked uint64
	tooCostly                            uint64 // of those parked
	captured                             uint64 // publish answers of streams that are not the target
	lastFinished, extended, heard        time.Time
}

// Notice is what an advisory says of a pool.
type Notice struct {
	What, Detail string // What is one of wire.Adv…
	Data         map[string]any
	Trail        nats.Header // of the event that it is about; nil: about none
}

// New returns a pool that has read and sent nothing yet.
func New(cfg Config) (*Pool, error) {
	cfg.MaxRanges = cmp.Or(cfg.MaxRanges, DefaultMaxRanges)
	spec := &cfg.Record.Spec
	m, err := selector.Compile(spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Record.Name, err)
	}
	p := &Pool{
		circuit: circuit{era: 1},
		cfg:     cfg, spec: spec, matcher: m,
		window:  max(windowFactor*spec.PoolSize.Max, 1024),
		epoch:   strconv.FormatUint(cfg.Epoch, 10),
		tracker: checkpoint.Restore(cfg.Checkpoint),
		lanes:   map[string]*lane{},
		nonce:   rand.Uint32(),
		limit:   limit.New(spec.PoolSize.Min, spec.PoolSize.Max),
	}
	p.nonce0 = p.nonce
	p.base, p.gap, p.lostFrom, p.holes = p.tracker.Floor(), cfg.Gap, cfg.LostFrom, cfg.Holes
	if spec.Deliver.Mode == wire.ModePublish {
		p.limit = limit.New(spec.PoolSize.Max, spec.PoolSize.Max) // nothing is waited for, so nothing adapts
	}
	return p, nil
}

// Name is the subscription's name.
func (p *Pool) Name() string { return p.cfg.Record.Name }

// PausesAtGap reports whether the pool is to stop where the store lost events.
func (p *Pool) PausesAtGap() bool { return p.spec.OnGap == wire.GapPause }

// Matcher is the subscription's selector.
func (p *Pool) Matcher() *selector.Matcher { return p.matcher }

// unlock ends a critical section and then tells others what happened in it.
func (p *Pool) unlock() {
	p.noteState()
	moved, rare := p.moved, p.rare
	p.moved, p.rare = false, nil
	p.mu.Unlock()
	if rare != nil {
		for _, n := range rare.notices {
			p.cfg.Notify(n)
		}
	}
	if moved {
		p.cfg.Moved()
	}
	if rare != nil {
		for _, o := range rare.outbox {
			p.handOver(o)
		}
		for _, w := range rare.wanted {
			p.send(w)
		}
		for _, it := range rare.asks {
			p.question(it)
		}
		if rare.peek {
			p.peek()
		}
	}
}

// effects are those of this critical section, to be added to.
func (p *Pool) effects() *effects {
	if p.rare == nil {
		p.rare = &effects{}
	}
	return p.rare
}

func (p *Pool) note(what, detail string, data map[string]any) {
	p.notice(Notice{What: what, Detail: detail, Data: data})
}

// noteOf is note for what happened to an event that is no advisory itself.
func (p *Pool) noteOf(it *item, what, detail string, data map[string]any) {
	if it.ev.IsAdvisory() {
		return
	}
	data["sequence"] = it.ev.Sequence
	p.notice(Notice{What: what, Detail: detail, Data: data, Trail: it.ev.Trail()})
}

func (p *Pool) notice(n Notice) {
	e := p.effects()
	e.notices = append(e.notices, n)
}

// Offer hands the pool an event that matches; all that match below it must
// have been offered before. It returns false, and takes nothing, where the pool
// has no room: the reader must then leave it behind. An event that loops is taken
// as OfferToPark takes it.
func (p *Pool) Offer(e *event.Event) bool { return p.offer(e, "") }

// OfferToPark is Offer for an event that is not to be delivered, whether it
// matches or not: it is parked for the reason, when the turn comes to it among
// those of its key.
func (p *Pool) OfferToPark(e *event.Event, reason string) bool { return p.offer(e, reason) }

func (p *Pool) offer(e *event.Event, parkFor string) bool {
	if e.Loops() { // whatever else: by this reason it is known when it comes back
		parkFor = wire.ParkedLoop
	}
	p.mu.Lock()
	defer p.unlock()
	if p.closed || p.draining {
		return false
	}
	if e.Sequence <= p.base {
		return true
	}
	if p.settledBefore(e) {
		p.base = e.Sequence
		return true
	}
	size := e.Size()
	if p.full(size) {
		return false
	}
	// Read from now on: the event may be finished before the reader's own
	// position gets here.
	p.base = e.Sequence
	p.stats.matched++
	it := &item{ev: e, at: e.Time, slot: -1, size: size, parkFor: parkFor}
	p.tracker.Add(&it.mark, e.Sequence)
	l := p.laneOf(e)
	before := l.tail
	switch {
	case l.push(it):
		p.makeReady(it)
	case l.head.exhausted, before.stub: // its turn is far away
		p.shed(it)
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
		l = &lane{key: key}
		p.lanes[key] = l
	}
	return l
}

// makeReady lets the head of a lane go. One that is to be parked waits neither
// for a subscriber nor for the breaker.
func (p *Pool) makeReady(it *item) {
	if it.parkFor != "" && !p.draining {
		p.park(it, it.parkFor)
		return
	}
	it.phase = ready
	p.ready.add(it)
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

// finish settles an item and lets the next one of its lane go.
func (p *Pool) finish(it *item, now time.Time) {
	p.leavePhase(it)
	if it.exhausted {
		p.stuck--
	}
	if it.stub {
		p.unstub(it)
	} else {
		p.giveBack(it.size)
	}
	it.phase = settled
	it.verdict, it.owed = nil, 0
	if it.slot >= 0 {
		p.slots[it.slot] = nil
		p.free = append(p.free, it.slot)
	}
	p.tracker.Done(&it.mark)
	p.stats.lastFinished = now
	if next := it.lane.pop(); next != nil {
		if next.coming() {
			p.awaits(next)
		} else {
			p.makeReady(next)
		}
	} else if p.lanes[it.lane.key] == it.lane {
		delete(p.lanes, it.lane.key)
	}
	if it.parkFor != "" && p.jam.held+p.storing == 0 {
		p.unjam(now) // it was the last one: answered late, or gone from the store
	}
	p.signalRoom()
	p.quiet()
	p.moved = true
}

// leavePhase takes an item out of the books of the phase it is in.
func (p *Pool) leavePhase(it *item) {
	switch it.phase {
	case ready:
		p.ready.remove(it)
	case fetching:
		p.fetching--
	case asking:
		p.search.out = nil
	case flying:
		p.flight.remove(it)
		if p.search.out == it {
			p.search.out = nil
		}
	case resting:
		heap.Remove(&p.rest, it.place)
		if it.parkFor != "" {
			p.jam.held--
		}
	case parking:
		p.storing--
	}
}

// quiet tells who drains the pool when nothing is out any more.
func (p *Pool) quiet() {
	if p.idle != nil && p.flight.n == 0 && p.storing == 0 {
		close(p.idle)
		p.idle = nil
	}
}
