package pool

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// Config is what a pool needs: that of its core, but for the seed, and what is
// around it. No function here may block.
type Config struct {
	core.Config
	// AnswerPrefix begins the reply subjects of this pool; what follows it is
	// the token that Answer takes.
	AnswerPrefix string
	Carriers     *Carriers // shared by the pools of an instance
	Timers       *timers.Timers
	Replay       Replay // makes it the pool of a replay
	// Publish sends a message. It must not keep it or its header once it has
	// returned: the pool uses them again.
	Publish func(*nats.Msg) error
	Target  Target // takes deliveries in place of Publish where they go to a URL; nil: they don't
	// Park stores an event that cannot be delivered. Like Fetch and Ask it
	// returns false where its queue is full. It may drop the event of a closed
	// pool.
	Park func(Parked) bool
	// Fetch gets an event again from its store. It may drop what a closed pool
	// wants.
	Fetch func(Wanted) bool
	// Ask finds out who listens.
	Ask func(Question) bool
	// Notify reports what a user would want to know, e.g. wire.AdvPoolWaiting.
	Notify func(core.Notice)
	// Moved is called after the checkpoint or the state moved.
	Moved func()
}

// Replay is what makes a pool one of a replay. The zero value is live delivery.
type Replay struct {
	ID   string            // is in each delivery; "" is live delivery
	Also *selector.Matcher // must hold beside the subscription's selector; nil: nothing must
	// Restore makes a message of the parked stream the event that was parked; nil
	// where that is not meant. It keeps the sequence. Optional.
	Restore func(*event.Event) *event.Event
}

// Pool delivers the events of one subscription. Its methods are safe for
// concurrent use, but only one reader may offer at a time. Those that only hand
// on to a method of core.Pool say which one.
type Pool struct {
	cfg     Config
	matcher *selector.Matcher
	epoch   string // as a header has it
	alarm   *timers.Alarm

	mu     sync.Mutex
	core   *core.Pool
	source source
	room   chan struct{} // closed when the pool can take events again; nil if nobody waits
	idle   chan struct{} // closed when nothing is out any more; nil if nobody waits
}

// New returns a pool that has read and sent nothing yet.
func New(cfg Config) (*Pool, error) {
	if cfg.Record.Spec.Deliver.HTTP != nil && cfg.Target == nil {
		return nil, fmt.Errorf("pool %q: deliver.http needs a target", cfg.Record.Name)
	}
	m, err := selector.Compile(cfg.Record.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Record.Name, err)
	}
	cfg.Seed = rand.Uint64()
	p := &Pool{cfg: cfg, matcher: m, epoch: strconv.FormatUint(cfg.Entry.Epoch, 10), core: core.New(cfg.Config)}
	p.alarm = cfg.Timers.Alarm(p.Tick)
	return p, nil
}

// Name is the subscription's name.
func (p *Pool) Name() string { return p.cfg.Record.Name }

// PausesAtGap reports whether the pool is to stop where the store lost events.
func (p *Pool) PausesAtGap() bool { return p.cfg.Record.Spec.OnGap == wire.GapPause }

// Matcher is the subscription's selector.
func (p *Pool) Matcher() *selector.Matcher { return p.matcher }

// tell has the core take a step for which it need not know the time.
func (p *Pool) tell(f func(c *core.Pool)) {
	p.lock()
	f(p.core)
	p.unlock()
}

// step is one step of the core that depends on the time.
type step func(c *core.Pool, now time.Time)

// take has the core take a step. It takes out up to len(out) deliveries that may
// be sent now, for the caller to publish.
func (p *Pool) take(out []core.Delivery, f step) (n int) {
	p.lock()
	now := time.Now()
	f(p.core, now)
	n = p.core.Send(now, out)
	p.unlock()
	return n
}

// lock begins a critical section.
func (p *Pool) lock() {
	p.mu.Lock()
	p.core.ReadTo(p.source.position())
}

// unlock ends a critical section in which the core took a step, and carries out the
// effects. view, which only reads, ends its own. What is done under the lock takes no
// time: to set a timer, and to close a channel.
func (p *Pool) unlock() {
	fx := p.core.Effects()
	if !fx.WakeAt.IsZero() {
		p.alarm.Set(fx.WakeAt)
	}
	if fx.Room {
		release(&p.room)
	}
	if p.idle != nil && p.core.Idle() {
		release(&p.idle)
	}
	p.mu.Unlock()
	p.carryOut(&fx)
}

// release lets go whoever waits for a channel, if anybody does.
func release(ch *chan struct{}) {
	if *ch != nil {
		close(*ch)
		*ch = nil
	}
}

// sendBatch bounds how many deliveries are taken out in one step.
const sendBatch = 16

// send has the core take a step, and publishes what may be sent.
func (p *Pool) send(f step) {
	var batch [sendBatch]core.Delivery
	n := 0
	published := func(c *core.Pool, now time.Time) { c.Published(now, batch[:n]) }
	for {
		if n = p.take(batch[:], f); n == 0 {
			return
		}
		if failed := p.publish(batch[:n]); !failed && n < len(batch) && p.cfg.Record.Spec.Deliver.Mode == wire.ModeAck {
			return // what has become ready since is for whoever made it so
		}
		f = published
	}
}

// publish sends a batch, and notes what did not leave.
func (p *Pool) publish(batch []core.Delivery) (failed bool) {
	if p.cfg.Target != nil {
		return p.handOver(batch)
	}
	c := p.cfg.Carriers.take()
	for i := range batch {
		d := &batch[i]
		if d.Err = p.cfg.Publish(c.load(p, d)); d.Err != nil {
			failed, d.Never = true, isHopeless(d.Err)
		}
	}
	p.cfg.Carriers.give(c)
	return failed
}

// view reads something of the core. That has no effects.
func view[T any](p *Pool, f func(c *core.Pool) T) T {
	p.lock()
	defer p.mu.Unlock()
	return f(p.core)
}
