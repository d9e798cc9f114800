package pool

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/breaker"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/checkpoint"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
	"github.com/sluicehq/sluice/services/emitter/internal/match"
	"github.com/sluicehq/sluice/services/emitter/internal/timers"
)

// Publisher sends messages; *nats.Conn is one.
type Publisher interface{ PublishMsg(*nats.Msg) error }

// Parker keeps events that cannot be delivered. Park must not block: it returns
// false where its queue is full, and otherwise calls done once the event is
// safely stored.
type Parker interface {
	Park(p Parked, done func()) bool
}

// Parked is an event to be parked.
type Parked struct {
	Event    *event.Event
	Name     string
	UID      string
	Epoch    uint64
	Attempts int
	Reason   string
}

// Config is what a pool needs.
type Config struct {
	Record     *wire.Record
	Epoch      uint64
	Checkpoint wire.Checkpoint
	Gap        *wire.Gap // the last range lost by an earlier owner, if any
	// AnswerPrefix begins the reply subjects of this pool; what follows it is
	// the token that Answer takes.
	AnswerPrefix string
	Publisher    Publisher
	Parker       Parker
	Timers       *timers.Timers
	Budget       *Budget
	// Notify reports what a user would want to know, e.g. wire.AdvPoolWaiting.
	// It must not block.
	Notify func(what, detail string, data map[string]any)
	// Moved is called when the checkpoint moved; it must not block.
	Moved func()
}

// Pool delivers the events of one subscription. Its methods are safe for
// concurrent use, but only one reader may offer at a time.
type Pool struct {
	cfg     Config
	spec    wire.Spec
	matcher *match.Matcher
	breaker *breaker.Breaker
	window  int // matched events held at once, at most

	subscription, epoch []string // header values, the same for all deliveries

	mu       sync.Mutex
	closed   bool
	draining bool
	tracker  *checkpoint.Tracker
	lanes    map[string]*lane
	ready    []*item
	flight   flight
	rest     rest
	slots    []*item
	free     []int
	nonce    uint32
	limit    limit
	bytes    int
	starved  bool // the instance's budget had nothing left at the last offer
	storing  int  // events being parked

	base   uint64         // everything at or below has been read
	source *atomic.Uint64 // the reader's position, nil while no reader serves the pool
	live   bool           // that reader is at the head of the store
	room   chan struct{}  // closed when the window has room again; nil if nobody waits
	idle   chan struct{}  // closed when nothing is in flight any more; nil if nobody waits

	absent    bool // nobody listens on the delivery subject
	asked     bool // one event is out to find out
	nextAsk   time.Time
	askWait   time.Duration
	holdUntil time.Time // publishing failed: try again then
	armed     time.Time // when Tick has been asked for; zero if it has not
	tripped   bool      // the breaker is not closed
	reopenAt  time.Time // it is open until then; zero if it is not open
	stuck     int       // lanes held by exhausted events
	gap       *wire.Gap
	lost      string // why the store cannot be read; "" if it can

	stats    stats
	notices  []notice
	stateWas wire.PoolState
}

type stats struct {
	matched, delivered, finished, parked uint64
	lastFinished                         time.Time
}

type notice struct {
	what, detail string
	data         map[string]any
}

// windowFactor says how many events a pool holds beyond those in flight, so
// that lanes behind a slow key can go on. Measured: 4 keeps the limit filled
// with 200 keys of uneven weight.
const windowFactor = 4

// bytesPerPool bounds the bodies that one pool holds, whatever their number.
const bytesPerPool = 32 << 20

// New returns a pool that has read and sent nothing yet.
func New(cfg Config) (*Pool, error) {
	spec := cfg.Record.Spec
	m, err := match.Compile(spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Record.Name, err)
	}
	p := &Pool{
		cfg: cfg, spec: spec, matcher: m,
		window:       max(windowFactor*spec.PoolSize.Max, 1024),
		subscription: []string{cfg.Record.Name},
		epoch:        []string{fmt.Sprint(cfg.Epoch)},
		tracker:      checkpoint.Restore(cfg.Checkpoint),
		lanes:        map[string]*lane{},
		nonce:        rand.Uint32(),
		limit:        newLimit(spec.PoolSize.Min, spec.PoolSize.Max),
	}
	p.base, p.gap = p.tracker.Floor(), cfg.Gap
	if spec.Deliver.Mode == wire.ModePublish {
		p.limit.now = float64(p.limit.max) // nothing is waited for, so nothing adapts
	}
	p.breaker = breaker.New(breaker.Config{
		Name: cfg.Record.Name, Failures: uint32(spec.Breaker.Failures), OpenFor: spec.Breaker.OpenFor.Std(),
		OnChange: p.breakerChanged,
	})
	return p, nil
}

// Name is the subscription's name.
func (p *Pool) Name() string { return p.cfg.Record.Name }

// Spec is what the pool runs by.
func (p *Pool) Spec() wire.Spec { return p.spec }

// Matcher is the subscription's selector.
func (p *Pool) Matcher() *match.Matcher { return p.matcher }

// unlock ends a critical section and then reports what happened in it.
func (p *Pool) unlock() {
	p.noteState()
	notices := p.notices
	p.notices = nil
	p.mu.Unlock()
	for _, n := range notices {
		p.cfg.Notify(n.what, n.detail, n.data)
	}
}

func (p *Pool) note(what, detail string, data map[string]any) {
	p.notices = append(p.notices, notice{what, detail, data})
}

// Offer hands the pool an event that matches. It returns false, and takes
// nothing, where the pool has no room: the reader must then leave it behind.
func (p *Pool) Offer(e *event.Event) bool {
	p.mu.Lock()
	defer p.unlock()
	if p.closed || p.draining {
		return false
	}
	if e.Sequence <= p.base || p.tracker.Finished(e.Sequence, e.Sequence) {
		return true
	}
	if s := p.spec.Start; s.Kind == wire.PositionTime && e.Time.Before(s.Time) && e.Sequence >= p.cfg.Record.StartSequence {
		return true // stored before the time asked for, which lay in the future
	}
	size := e.Size()
	if p.full(size) {
		return false
	}
	p.stats.matched++
	it := &item{ev: e, slot: -1, size: size}
	p.bytes += size
	p.tracker.Add(&it.mark, e.Sequence)
	if p.laneOf(e).push(it) {
		p.makeReady(it)
	}
	return true
}

// full reports whether an event of the given size has no room. A pool that
// holds nothing always has room for one, so that nothing starves.
func (p *Pool) full(size int) bool {
	if p.tracker.Open() == 0 {
		p.cfg.Budget.force(size)
		return false
	}
	if p.tracker.Open() >= p.window || p.bytes+size > bytesPerPool {
		return true
	}
	p.starved = !p.cfg.Budget.take(size)
	return p.starved
}

// roomy reports whether a pool that was full should be offered events again.
func (p *Pool) roomy() bool {
	return p.tracker.Open() == 0 ||
		!p.starved && p.tracker.Open() <= p.window/2 && p.bytes <= bytesPerPool/2
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

func (p *Pool) makeReady(it *item) {
	it.phase = ready
	p.ready = append(p.ready, it)
}

// finish settles an item and lets the next one of its lane go.
func (p *Pool) finish(it *item, now time.Time) {
	p.leavePhase(it)
	if it.exhausted {
		p.stuck--
	}
	it.phase = settled
	it.verdict = nil
	if it.slot >= 0 {
		p.slots[it.slot] = nil
		p.free = append(p.free, it.slot)
	}
	p.tracker.Done(&it.mark)
	p.bytes -= it.size
	p.cfg.Budget.give(it.size)
	p.stats.lastFinished = now
	if next := it.lane.pop(); next != nil {
		p.makeReady(next)
	} else if p.lanes[it.lane.key] == it.lane {
		delete(p.lanes, it.lane.key)
	}
	p.starved = false
	if p.room != nil && p.roomy() {
		close(p.room)
		p.room = nil
	}
	p.quiet()
	p.cfg.Moved()
}

// leavePhase takes an item out of the books of the phase it is in.
func (p *Pool) leavePhase(it *item) {
	switch it.phase {
	case flying:
		p.flight.remove(it)
	case resting:
		heap.Remove(&p.rest, it.place)
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

// delivery is what Flush sends: a copy of what it needs of an item.
type delivery struct {
	it      *item
	ev      *event.Event
	attempt int
	reply   string
}

// flushBatch bounds how many deliveries are taken out under one lock.
const flushBatch = 64

// Flush sends what may be sent now.
func (p *Pool) Flush() {
	var batch [flushBatch]delivery
	for {
		p.mu.Lock()
		n := p.takeReady(batch[:], time.Now())
		p.unlock()
		if n == 0 {
			return
		}
		for i, d := range batch[:n] {
			if err := p.cfg.Publisher.PublishMsg(p.message(d)); err != nil {
				p.unsent(d, err)
				batch[i].it = nil
			}
		}
		if p.spec.Deliver.Mode == wire.ModePublish {
			p.sent(batch[:n])
		}
	}
}

// takeReady fills out with deliveries and marks them as flying.
func (p *Pool) takeReady(out []delivery, now time.Time) (n int) {
	for n < len(out) && len(p.ready) > 0 {
		it := p.ready[0]
		if it.phase != ready { // answered late, while it waited to be sent again
			p.dropReady()
			continue
		}
		if !p.maySend(now) || !p.admit(it) {
			break
		}
		p.dropReady()
		out[n] = p.launch(it, now)
		n++
	}
	p.arm(now)
	return n
}

func (p *Pool) dropReady() {
	p.ready[0] = nil
	if p.ready = p.ready[1:]; len(p.ready) == 0 {
		p.ready = nil // let the array go
	}
}

// maySend reports whether anything but the breaker holds deliveries back.
func (p *Pool) maySend(now time.Time) bool {
	switch {
	case p.closed, p.draining, now.Before(p.holdUntil), p.flight.n >= p.limit.value():
		return false
	case p.absent:
		return !p.asked && !now.Before(p.nextAsk)
	default:
		return true
	}
}

// admit asks the breaker. Mode publish waits for no answer, so it has none.
func (p *Pool) admit(it *item) bool {
	if p.spec.Deliver.Mode == wire.ModePublish {
		return true
	}
	verdict, err := p.breaker.Begin()
	if err != nil {
		return false
	}
	it.verdict = verdict
	return true
}

func (p *Pool) launch(it *item, now time.Time) delivery {
	if it.slot < 0 {
		it.slot = p.takeSlot(it)
		p.nonce++
		it.nonce = p.nonce
	}
	it.attempts++
	it.phase = flying
	it.due = now.Add(p.spec.AckWait.Std())
	p.flight.add(it)
	p.stats.delivered++
	d := delivery{it: it, ev: it.ev, attempt: it.attempts}
	if p.spec.Deliver.Mode == wire.ModeAck {
		d.reply = p.cfg.AnswerPrefix + token4{it.slot, it.nonce, it.attempts}.String()
	}
	if p.absent {
		p.asked = true
		p.nextAsk = now.Add(askSettle)
	}
	return d
}

func (p *Pool) takeSlot(it *item) int {
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		p.slots[s] = it
		return s
	}
	p.slots = append(p.slots, it)
	return len(p.slots) - 1
}

// message builds what the subscriber gets.
func (p *Pool) message(d delivery) *nats.Msg {
	fields := d.ev.Fields()
	h := make(nats.Header, len(fields)+3)
	for _, f := range fields {
		h[f.Name] = f.Values
	}
	h[wire.HeaderSubscription] = p.subscription
	h[wire.HeaderEpoch] = p.epoch
	h[wire.HeaderAttempt] = attemptValues(d.attempt)
	return &nats.Msg{Subject: p.spec.Deliver.Subject, Reply: d.reply, Header: h, Data: d.ev.Data}
}

// sent finishes deliveries that wait for no answer.
func (p *Pool) sent(batch []delivery) {
	now := time.Now()
	p.mu.Lock()
	defer p.unlock()
	for _, d := range batch {
		if d.it != nil && d.it.phase == flying {
			p.stats.finished++
			p.finish(d.it, now)
		}
	}
}

// holdAfterError is how long a pool waits after the connection refused a message.
const holdAfterError = 250 * time.Millisecond

// unsent takes back a delivery that never left. What can never be sent is
// parked; what the connection refused for now is tried again soon.
func (p *Pool) unsent(d delivery, err error) {
	now := time.Now()
	p.mu.Lock()
	defer p.unlock()
	it := d.it
	if it.phase != flying || it.attempts != d.attempt {
		return
	}
	if hopeless(err) {
		p.park(it, "cannot be sent: "+err.Error(), now)
		return
	}
	p.takeBack(it)
	p.holdUntil = now.Add(holdAfterError)
	p.arm(now)
}

// hopeless reports whether sending the same message again must fail again.
func hopeless(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadHeaderMsg) ||
		errors.Is(err, nats.ErrBadSubject) || strings.Contains(err.Error(), "invalid header")
}

// takeBack makes a flying item ready again, its attempt uncounted: it was as if
// it had never been sent.
func (p *Pool) takeBack(it *item) {
	p.leavePhase(it)
	it.attempts--
	p.stats.delivered--
	p.verdict(it, context.Canceled)
	p.makeReady(it)
	p.quiet()
}
