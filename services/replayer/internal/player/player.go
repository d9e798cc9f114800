package player

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/replayer/internal/jobs"
)

const (
	// lookEvery is how often the replays are looked at where nothing is heard of.
	lookEvery = time.Second
	// spread is how much later an instance claims for each replay that it runs, so
	// that one with fewer is faster.
	spread      = 50 * time.Millisecond
	maxSpread   = 10
	removeEvery = time.Minute
	callTimeout = 5 * time.Second
	// maxNotices bounds the advisories that wait; beyond it they are dropped.
	maxNotices = 1024
)

// Records tells of subscriptions; *subscription.Store does.
type Records interface {
	Get(ctx context.Context, name string) (*wire.Record, uint64, error)
}

// Trust says whether the claims of this instance hold; *lease.Session does.
type Trust interface {
	Valid() bool
	Changes() <-chan struct{}
}

// Config of a Player. All of it is required.
type Config struct {
	Instance string
	Most     int // replays at once
	Engine   *Engine
	Jobs     *jobs.Store
	Bucket   mirror.Bucket // that of the jobs
	Records  Records
	Session  Trust
	Alive    func(instance string) bool
	Advisor  *bus.Advisor
	Metrics  *Metrics
	Log      zerolog.Logger
	// DrainTimeout is how long a replay that is handed over waits for answers.
	DrainTimeout time.Duration
	Namespace    wire.Namespace
}

// Player claims and runs replays.
type Player struct {
	cfg     Config
	copy    *mirror.Mirror
	kick    chan struct{} // cap 1: look again
	notices chan notice

	mu      sync.Mutex
	plays   map[string]*play        // by id
	replays map[string]*wire.Replay // of the copy, by id
}

// notice is an advisory on its way out.
type notice struct {
	name string
	core.Notice
}

// New returns a Player that runs nothing before Run.
func New(cfg Config) *Player {
	p := &Player{
		cfg: cfg, kick: make(chan struct{}, 1), notices: make(chan notice, maxNotices),
		plays: map[string]*play{}, replays: map[string]*wire.Replay{},
	}
	p.copy = mirror.New(cfg.Bucket, mirror.Options{Keys: jetstream.AllKeys, Log: cfg.Log, OnChange: p.changed})
	return p
}

// Follow keeps the copy of the replays, and publishes advisories, until ctx ends.
// It must outlive Run.
func (p *Player) Follow(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { p.publish(ctx) })
	defer wg.Wait()
	return p.copy.Run(ctx)
}

// Kick has the replays looked at, and the copy compared if listed is true.
func (p *Player) Kick(listed bool) {
	if listed {
		p.copy.Kick()
	}
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Running is how many replays this instance runs.
func (p *Player) Running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.plays)
}

// Run claims and runs replays until ctx ends. It returns once all that it ran are
// handed over.
func (p *Player) Run(ctx context.Context) error {
	var plays sync.WaitGroup
	defer plays.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	removed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.cfg.Session.Changes():
			p.judgeTrust()
		case <-tick.C:
		case <-p.kick:
		}
		if !p.cfg.Session.Valid() {
			continue
		}
		p.look(ctx, &plays)
		if time.Since(removed) >= removeEvery {
			removed = time.Now()
			p.removeOver(ctx)
		}
	}
}

// judgeTrust stops everything that runs if the session has lapsed: others may have
// taken it over.
func (p *Player) judgeTrust() {
	if p.cfg.Session.Valid() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, y := range p.plays {
		y.delivery.halt()
	}
}

// look claims one of the replays that may be claimed, if there is room for it.
func (p *Player) look(ctx context.Context, plays *sync.WaitGroup) {
	n := p.Running()
	if n >= p.cfg.Most {
		return
	}
	for _, r := range p.All() {
		if p.runs(r.ID) || !jobs.Free(r, p.cfg.Instance, p.cfg.Alive) {
			continue
		}
		if !sleep(ctx, time.Duration(min(n, maxSpread))*spread) {
			return
		}
		if p.claim(ctx, r.ID, plays) {
			p.Kick(false) // there may be more
			return
		}
	}
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}

func (p *Player) runs(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plays[id] != nil
}

// claim claims a replay and begins to run it.
func (p *Player) claim(ctx context.Context, id string, plays *sync.WaitGroup) bool {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	h, err := p.cfg.Jobs.Claim(call, id, p.cfg.Instance, p.cfg.Alive)
	switch {
	case errors.Is(err, jobs.ErrTaken):
		return false
	case err != nil:
		p.cfg.Log.Warn().Err(err).Str("replay", id).Msg("replay not claimed, tried again")
		return false
	}
	y, err := p.newPlay(call, h)
	if err != nil {
		p.refuse(call, h, err)
		return false
	}
	p.file(id, y)
	p.cfg.Log.Info().Str("replay", id).Str("subscription", h.Name).Uint64("epoch", h.Epoch).Uint64("floor", h.Checkpoint.Floor).Msg("replay claimed")
	plays.Go(func() {
		y.run(ctx)
		p.file(id, nil)
		p.Kick(false)
	})
	return true
}

// file notes what runs a replay; nil: nothing does any more.
func (p *Player) file(id string, y *play) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plays[id] = y; y == nil {
		delete(p.plays, id)
	}
	p.cfg.Metrics.runs(len(p.plays))
}

// fault says why a replay cannot go on, "" where it can or where that is not known.
func (p *Player) fault(ctx context.Context, r *wire.Replay) string {
	rec, rev, err := p.cfg.Records.Get(ctx, r.Name)
	gone := errors.Is(err, subscription.ErrNotFound)
	if err != nil && !gone {
		return "" // what cannot be read ends nothing
	}
	return jobs.Fault(r, rec, gone && rev > 0)
}

// refuse ends a replay that cannot run at all.
func (p *Player) refuse(ctx context.Context, h *jobs.Held, why error) {
	p.cfg.Log.Error().Err(why).Str("replay", h.ID).Msg("replay cannot run")
	at := time.Now().UTC()
	err := p.cfg.Jobs.Save(ctx, h, func(r *wire.Replay) {
		r.State, r.Owner, r.Reason, r.EndedAt = wire.ReplayFailed, "", why.Error(), &at
	})
	if err != nil {
		p.cfg.Log.Warn().Err(err).Str("replay", h.ID).Msg("end of a replay not written yet")
		return
	}
	p.cfg.Metrics.ends(wire.ReplayFailed)
	p.tell(&h.Replay, core.Notice{What: wire.AdvReplayFailed, Detail: h.Reason, Data: Facts(&h.Replay)})
}

// changed hears of a change of the copy.
func (p *Player) changed(key string) {
	e, _ := p.copy.Get(key)
	r := p.decode(e)
	p.mu.Lock()
	if p.replays[key] = r; r == nil {
		delete(p.replays, key)
	}
	y := p.plays[key]
	p.mu.Unlock()
	switch {
	case y != nil:
		y.tell()
	case r != nil && !r.State.Ended():
		p.Kick(false)
	}
}

// All returns the replays that can be read, the oldest first. They are not to be
// changed.
func (p *Player) All() []*wire.Replay {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.replays))
	p.mu.Unlock()
	jobs.NewestFirst(all)
	slices.Reverse(all)
	return all
}

// Copy is the copy of the bucket.
func (p *Player) Copy() *mirror.Mirror { return p.copy }

func (p *Player) decode(e mirror.Entry) *wire.Replay {
	if !jobs.Own(e.Key) || e.Deleted {
		return nil
	}
	r, err := subscription.DecodeReplayEntry(e, p.cfg.Namespace)
	if err != nil {
		p.cfg.Log.Warn().Err(err).Str("replay", e.Key).Msg("replay cannot be read, and is left alone")
		return nil
	}
	return r
}

// removeOver removes replays that ended long ago, and the oldest where there are
// many.
func (p *Player) removeOver(ctx context.Context) {
	all := p.All()
	jobs.NewestFirst(all)
	for _, r := range jobs.Over(all, time.Now()) {
		e, ok := p.copy.Get(r.ID)
		if !ok || e.Deleted {
			continue
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := p.cfg.Jobs.Remove(call, r.ID, e.Revision)
		cancel()
		if err != nil {
			p.cfg.Log.Warn().Err(err).Msg("replays that are over are not removed yet")
			return
		}
	}
}

// tell has an advisory published, soon and without waiting for it.
func (p *Player) tell(r *wire.Replay, n core.Notice) {
	data := map[string]any{"replay": r.ID}
	for k, v := range n.Data {
		data[k] = v
	}
	n.Data = data
	select {
	case p.notices <- notice{r.Name, n}:
	default:
		p.cfg.Log.Warn().Str("what", n.What).Str("replay", r.ID).Msg("too many advisories at once, one dropped")
	}
}

// publish publishes advisories until ctx ends, and what is left then.
func (p *Player) publish(ctx context.Context) {
	for {
		select {
		case n := <-p.notices:
			p.advise(n)
		case <-ctx.Done():
			for {
				select {
				case n := <-p.notices:
					p.advise(n)
				default:
					return
				}
			}
		}
	}
}

func (p *Player) advise(n notice) {
	p.cfg.Advisor.PublishWith(n.Trail, n.What, wire.Advisory{Name: n.name, Detail: n.Detail, Data: n.Data})
}
