package pool

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
)

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
	Budget       *core.Budget
	// Replay makes it the pool of a replay.
	Replay Replay
	// MaxRanges bounds the finished ranges above the floor, and with them the
	// size of a checkpoint. Defaults to checkpoint.DefaultMaxRanges; see
	// checkpoint.RangesWithin.
	MaxRanges int
	// Notify reports what a user would want to know, e.g. wire.AdvPoolWaiting.
	// It must not block.
	Notify func(core.Notice)
	// Moved is called after the checkpoint or the state moved; it must not block.
	Moved func()
}

// Replay is what makes a pool one of a replay. The zero value is live delivery.
type Replay struct {
	ID    string            // is in each delivery; "" is live delivery
	Until uint64            // the last sequence to deliver
	Also  *selector.Matcher // must hold beside the subscription's selector; nil: nothing must
	Rate  int               // deliveries a second at most; 0 is no bound
}

// Pool delivers the events of one subscription. Its methods are safe for
// concurrent use, but only one reader may offer at a time.
type Pool struct {
	cfg     Config
	matcher *selector.Matcher
	epoch   string // as a header has it

	mu     sync.Mutex
	core   *core.Pool
	source source
	room   chan struct{} // closed when the pool can take events again; nil if nobody waits
	idle   chan struct{} // closed when nothing is out any more; nil if nobody waits
}

// New returns a pool that has read and sent nothing yet.
func New(cfg Config) (*Pool, error) {
	m, err := selector.Compile(cfg.Record.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Record.Name, err)
	}
	return &Pool{
		cfg: cfg, matcher: m, epoch: strconv.FormatUint(cfg.Epoch, 10),
		core: core.New(core.Config{
			Record: cfg.Record, State: cfg.State, Checkpoint: cfg.Checkpoint, Gap: cfg.Gap, LostFrom: cfg.LostFrom, Holes: cfg.Holes,
			Budget: cfg.Budget, MaxRanges: cfg.MaxRanges, Until: cfg.Replay.Until, Rate: cfg.Replay.Rate, Seed: rand.Uint64(),
		}),
	}, nil
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

// unlock is the only way out of a critical section that lock began. It carries
// out the effects of the steps in it. What it does under the lock takes no time:
// to set a timer, and to close a channel.
func (p *Pool) unlock() {
	fx := p.core.Effects()
	if !fx.WakeAt.IsZero() {
		p.cfg.Timers.Set(p, fx.WakeAt)
	}
	if fx.Room {
		release(&p.room)
	}
	if p.idle != nil && p.core.Idle() {
		release(&p.idle)
	}
	p.mu.Unlock()
	if fx.Moved {
		p.cfg.Moved()
	}
	if fx.Tasks != nil {
		p.carryOut(fx.Tasks)
	}
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
	var failed []core.Unsent
	n := 0
	published := func(c *core.Pool, now time.Time) { c.Published(now, batch[:n], failed) }
	for {
		n = p.take(batch[:], f)
		if n == 0 {
			return
		}
		failed = p.publish(batch[:n])
		if len(failed) == 0 && n < len(batch) && p.cfg.Record.Spec.Deliver.Mode == wire.ModeAck {
			return // what has become ready since is for whoever made it so
		}
		f = published
	}
}

// publish sends a batch, and returns what did not leave.
func (p *Pool) publish(batch []core.Delivery) (failed []core.Unsent) {
	c := p.cfg.Carriers.take()
	for i := range batch {
		if err := p.cfg.Publisher.PublishMsg(c.load(p, &batch[i])); err != nil {
			failed = append(failed, core.Unsent{Delivery: batch[i], Err: err, Never: isHopeless(err)})
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
