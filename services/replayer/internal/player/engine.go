package player

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/answers"
	"github.com/sluicehq/sluice/services/internal/checkpoint"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/pools"
	"github.com/sluicehq/sluice/services/internal/reader"
	"github.com/sluicehq/sluice/services/replayer/internal/jobs"
)

// eventBytes bounds the events that all replays of an instance hold.
const eventBytes = 64 << 20

// Link is what an engine delivers over. Data is the connection of Answers, apart
// from Control so that no flood of events delays what keeps the claims.
type Link struct {
	Control, Data *nats.Conn
	Answers       *answers.Answers
	Parked        Parked
	Namespace     wire.Namespace
	Owner         feed.Owner
	Log           zerolog.Logger
}

// Parked is what replays of parked events need done; *parked.Service does it.
type Parked interface {
	// Restorer returns what makes a message of the parked stream the event that was
	// parked, nil where that is not meant.
	Restorer(c wire.ParkedChoice) (func(*event.Event) *event.Event, error)
	// Remove removes some of those that a replay has finished by its checkpoint,
	// beyond a sequence of the parked stream, and returns how far it came.
	Remove(ctx context.Context, r *wire.Replay, after uint64) (to uint64, err error)
}

// Engine is what the pools of all replays of an instance share.
type Engine struct {
	*pools.Shared
	maxPayload func() int64
	answers    *answers.Answers
	ns         wire.Namespace
	parked     Parked
}

// NewEngine returns an engine that does nothing before Run.
func NewEngine(l Link) (*Engine, error) {
	ctl, err := jetstream.New(l.Control)
	if err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	data, err := jetstream.New(l.Data)
	if err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	shared := pools.New(pools.Config{
		Control: ctl, Namespace: l.Namespace, EventBytes: eventBytes, Log: l.Log,
		Readers: reader.Config{
			JetStream: data, Owner: l.Owner, Log: l.Log,
			Paused: func(*wire.Record, wire.Gap) {}, // no replay pauses at a gap
		},
	})
	return &Engine{
		Shared: shared, answers: l.Answers, maxPayload: l.Control.MaxPayload, ns: l.Namespace, parked: l.Parked,
	}, nil
}

// delivery is a pool that delivers.
type delivery struct {
	*pool.Pool
	engine *Engine
	store  string
	end    func()
	halted atomic.Bool
	passed <-chan struct{} // closed once it is known what it has passed; nil before leave
}

// start begins to deliver a replay from its checkpoint on. Moved is called when the
// checkpoint or the state has changed; neither it nor notify may block.
func (e *Engine) start(h *jobs.Held, notify func(core.Notice), moved func()) (*delivery, error) {
	rec, also, err := recordOf(&h.Replay, e.ns)
	if err != nil {
		return nil, err
	}
	of := pool.Replay{ID: h.ID, Also: also}
	if h.Choice != nil {
		if of.Restore, err = e.parked.Restorer(*h.Choice); err != nil {
			return nil, fmt.Errorf("replay %q: %w", h.ID, err)
		}
	}
	id, prefix := e.answers.Reserve()
	cfg := e.Pool
	cfg.Record, cfg.Entry = rec, wire.Pool{Name: h.Name, UID: h.UID, Epoch: h.Epoch, Checkpoint: h.Checkpoint, Gap: h.Gap}
	cfg.Until, cfg.Rate = h.ToSequence, h.MaxRate
	cfg.AnswerPrefix, cfg.MaxRanges = prefix, checkpoint.RangesWithin(e.maxPayload())
	cfg.Notify, cfg.Moved = notify, moved
	cfg.Replay = of
	p, err := pool.New(cfg)
	if err != nil {
		e.answers.Remove(id)
		return nil, err
	}
	e.answers.Add(id, p)
	e.Readers.Attach(p, rec, 0)
	store := rec.Spec.Store
	return &delivery{Pool: p, engine: e, store: store, end: sync.OnceFunc(func() {
		e.Readers.Detach(store, p)
		p.Close() // first, so that no answer comes in behind what is written
		e.answers.Remove(id)
	})}, nil
}

// recordOf is the record that the pool of a replay runs by. Parked events are read
// where they lie.
func recordOf(r *wire.Replay, ns wire.Namespace) (*wire.Record, *selector.Matcher, error) {
	spec := r.Spec
	if r.Choice != nil {
		spec.Store, spec.Selector = ns.StreamParked(), wire.Selector{ByStream: wire.StringList{ns.Parked(r.Name)}}
	}
	joined, rest := jobs.Narrow(spec.Selector, r.Selector)
	spec.Selector, spec.Start = joined, wire.Position{Kind: wire.PositionAll}
	spec.OnGap, spec.ExpireAfter = wire.GapContinue, 0
	rec := &wire.Record{
		Schema: wire.SchemaVersion, Name: r.Name, UID: r.UID, Generation: r.Generation,
		StartSequence: r.FromSequence, StoreCreated: r.StoreCreated, Spec: spec,
	}
	if rest == nil {
		return rec, nil, nil
	}
	also, err := selector.Compile(*rest)
	if err != nil {
		return nil, nil, fmt.Errorf("replay %q: %w", r.ID, err)
	}
	return rec, also, nil
}

// leave has the pool read no further, which goes on with what it has.
func (d *delivery) leave() {
	if d.passed == nil {
		d.passed = d.engine.Readers.Retire(d.store, d.Pool)
	}
}

// drain waits for the answers that are out, for at most the given time.
func (d *delivery) drain(ctx context.Context, atMost time.Duration) {
	d.leave()
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	d.Drain(ctx)
}

// halt ends the pool. Its checkpoint does not change any more.
func (d *delivery) halt() {
	d.halted.Store(true)
	d.end()
}
