package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	defaultProbeEvery = 250 * time.Millisecond
	// deadAfter is how many probes in a row must find nobody.
	deadAfter = 2
	// probeGap bounds the probes of an instance to 100 a second, however many
	// peers it has.
	probeGap = 10 * time.Millisecond
)

// PeersConfig of Peers.
type PeersConfig struct {
	// Namespace of the installation. Required.
	Namespace wire.Namespace
	// Service is whose sessions are watched. Required.
	Service string
	// TTL of the sessions, the same that they are renewed with. Required.
	TTL time.Duration
	// ProbeEvery is the time between two probes of a peer. It is stretched to
	// 10 ms times the number of peers. Defaults to 250ms.
	ProbeEvery time.Duration
	// Own is this process's session where it is of the same service: it is
	// alive exactly while it is valid. Optional.
	Own *Session
	// OnChange is called after it has changed who lives, or who of them is
	// draining; not for changes of load. It must not block. Optional.
	OnChange func()
}

// Peers knows which instances of a service live.
//
// An instance lives while its key is there and is renewed, as seen on this
// process's clock, unless two probes in a row find nobody on its subject.
// Such a proof is forgotten when the session is renewed again.
//
// A session is declared dead for silence only after a read of the bucket says
// the same as the watch, and only if the instance does not answer probes either;
// one that answers gets half a TTL more. While the bucket cannot be read, and for
// a moment after this process was cut off itself, nobody dies: the others were
// perhaps cut off too.
type Peers struct {
	nc  *nats.Conn
	kv  mirror.Bucket
	cfg PeersConfig
	log zerolog.Logger
	m   *mirror.Mirror

	mu    sync.Mutex
	peers map[string]*peer // by instance
	calm  time.Time        // deaths are believed from then on
}

// NewPeers returns Peers that know nobody until Run.
func NewPeers(nc *nats.Conn, kv mirror.Bucket, cfg PeersConfig, log zerolog.Logger) (*Peers, error) {
	if nc == nil {
		return nil, errors.New("peers: no connection")
	}
	return newPeers(nc, kv, cfg, log)
}

func newPeers(nc *nats.Conn, kv mirror.Bucket, cfg PeersConfig, log zerolog.Logger) (*Peers, error) {
	if cfg.ProbeEvery == 0 {
		cfg.ProbeEvery = defaultProbeEvery
	}
	errs := []error{cfg.Namespace.Validate(), validateTTL(cfg.TTL)}
	if !wire.ValidName(cfg.Service) {
		errs = append(errs, fmt.Errorf("service %q is not a name", cfg.Service))
	}
	if cfg.ProbeEvery < 0 || cfg.ProbeEvery > cfg.TTL {
		errs = append(errs, fmt.Errorf("probe period %v: want it positive and at most the TTL, %v", cfg.ProbeEvery, cfg.TTL))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("peers config: %w", err)
	}
	p := &Peers{nc: nc, kv: kv, cfg: cfg, log: log, peers: make(map[string]*peer)}
	p.m = mirror.New(kv, mirror.Options{
		Keys: wire.SessionKey(cfg.Service, "*"), OnChange: p.observe, Log: log,
	})
	return p, nil
}

// Synced is closed once the sessions have been listed.
func (p *Peers) Synced() <-chan struct{} { return p.m.Synced() }

// Alive reports whether instance lives, as far as is known.
func (p *Peers) Alive(instance string) bool {
	if p.own(instance) {
		return p.cfg.Own.Valid()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	have, ok := p.peers[instance]
	return ok && have.alive()
}

// Live returns the sessions of those that live, sorted by instance.
func (p *Peers) Live() []wire.Session {
	var live []wire.Session
	if p.cfg.Own != nil && p.cfg.Own.Valid() {
		live = append(live, p.cfg.Own.Shown())
	}
	p.mu.Lock()
	for name, have := range p.peers {
		if have.alive() && !p.own(name) {
			live = append(live, have.session)
		}
	}
	p.mu.Unlock()
	slices.SortFunc(live, func(a, b wire.Session) int { return strings.Compare(a.Instance, b.Instance) })
	return live
}

func (p *Peers) own(instance string) bool {
	return p.cfg.Own != nil && p.cfg.Own.cfg.Service == p.cfg.Service && p.cfg.Own.cfg.Instance == instance
}

func (p *Peers) changed() {
	if p.cfg.OnChange != nil {
		p.cfg.OnChange()
	}
}

// Run watches and probes until ctx ends and then returns nil. It may be
// called once.
func (p *Peers) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.m.Run(ctx) })
	g.Go(func() error { return p.judge(ctx) })
	return g.Wait()
}

// observe takes over what the mirror shows of key.
func (p *Peers) observe(key string) {
	instance, ok := strings.CutPrefix(key, p.cfg.Service+".")
	if !ok {
		return
	}
	e, ok := p.m.Get(key)
	switch {
	case !ok:
	case e.Absent:
		// That a key is absent proves no death: silence will.
		if e.Revision == 0 {
			p.uproot(instance)
		}
	case e.Deleted:
		p.lose(instance, e.Revision)
	default:
		p.see(instance, e.Revision, e.Value)
	}
}

// see takes over a revision of a session. Seeing one again changes nothing.
func (p *Peers) see(instance string, rev uint64, value []byte) {
	var c wire.Session
	if err := json.Unmarshal(value, &c); err != nil || c.Instance != instance {
		p.log.Warn().Err(err).Str("peer", instance).Uint64("revision", rev).Msg("session not readable, ignored")
		return
	}
	p.mu.Lock()
	have := p.peers[instance]
	if have == nil {
		have = &peer{lapsed: true}
		p.peers[instance] = have
	}
	before := *have
	news := have.renewed(c, rev, time.Now()) && (!before.alive() || !sameSession(before.session, c))
	p.mu.Unlock()
	if news {
		p.changed()
	}
}

// lose takes over that a session was deleted, at revision rev.
func (p *Peers) lose(instance string, rev uint64) {
	if p.dies(instance, func(have *peer) { have.ends(rev) }) {
		p.log.Info().Str("peer", instance).Msg("session ended")
		p.changed()
	}
}

// uproot takes over that the bucket was made anew, without this session yet.
func (p *Peers) uproot(instance string) {
	p.disturbed(time.Now())
	p.dies(instance, (*peer).uproot)
}

// dies changes what is known of instance, and reports whether it died of it.
func (p *Peers) dies(instance string, change func(*peer)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	have := p.peers[instance]
	if have == nil {
		return false
	}
	before := have.alive()
	change(have)
	return before && !have.alive()
}

// disturbed notes that this process was cut off at a time, or that the bucket
// was. For a while from then nothing proves a death: when a server restarts,
// everybody comes back, one by one.
func (p *Peers) disturbed(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if calm := at.Add(settle(p.cfg.TTL)); calm.After(p.calm) {
		p.calm = calm
	}
}

// judge probes the peers and looks for those that fell silent.
func (p *Peers) judge(ctx context.Context) error {
	pr, err := p.startProbes()
	if err != nil {
		return err
	}
	defer pr.stop()
	t := time.NewTimer(p.cfg.ProbeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if pr.reconnects.moved() {
			p.disturbed(time.Now())
			p.m.Kick() // the watch may take its time to recover
		}
		if p.cfg.Own != nil {
			p.disturbed(p.cfg.Own.lastGap(time.Now()))
		}
		names := p.candidates()
		for name, rev := range names {
			pr.probe(name, rev)
		}
		p.expire(ctx)
		t.Reset(max(p.cfg.ProbeEvery, time.Duration(len(names))*probeGap))
	}
}

// candidates are the peers worth a probe: those whose key is there and
// renewed. One that is proven dead is probed no more until it is renewed.
func (p *Peers) candidates() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := make(map[string]uint64)
	for name, have := range p.peers {
		if have.alive() && !p.own(name) {
			c[name] = have.rev
		}
	}
	return c
}

// expire declares dead who was not renewed for a TTL, after reading its key.
func (p *Peers) expire(ctx context.Context) {
	now := time.Now()
	p.mu.Lock()
	due := make(map[string]uint64)
	for name, have := range p.peers {
		switch {
		case have.silent(now, p.cfg.TTL) && !p.own(name):
			due[name] = have.rev
		case have.stale(now, p.cfg.TTL):
			delete(p.peers, name)
		}
	}
	p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(due)) {
		p.confirm(ctx, name, due[name])
	}
}

// confirm reads the key of a peer that the watch says is silent at rev.
func (p *Peers) confirm(ctx context.Context, name string, rev uint64) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout(p.cfg.TTL))
	defer cancel()
	e, err := p.kv.Get(ctx, wire.SessionKey(p.cfg.Service, name))
	switch {
	case err == nil && e.Revision() > rev: // the watch is behind
		p.see(name, e.Revision(), e.Value())
		p.m.Kick()
		return
	case err == nil && e.Revision() < rev: // a bucket made anew, or a copy of it that lags
		p.m.Kick()
		return
	case err != nil && !isGone(err):
		p.disturbed(time.Now())
		return // we cannot know
	}
	if p.dies(name, func(have *peer) {
		have.lapsed = have.lapsed || have.rev == rev && have.lapses(time.Now(), p.calm, p.cfg.TTL)
	}) {
		p.log.Warn().Str("peer", name).Msg("session expired")
		p.changed()
	}
}

// probed takes over the outcome of a probe of a session at revision rev.
func (p *Peers) probed(name string, rev uint64, found bool) {
	if p.dies(name, func(have *peer) { have.probed(found, rev, time.Now(), p.calm) }) {
		p.log.Warn().Str("peer", name).Msg("instance gone: nobody answers on its session")
		p.changed()
	}
}
