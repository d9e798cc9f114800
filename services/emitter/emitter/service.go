package emitter

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/presence"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/ask"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
	"github.com/sluicehq/sluice/services/emitter/internal/fetch"
	"github.com/sluicehq/sluice/services/emitter/internal/park"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
	"github.com/sluicehq/sluice/services/emitter/internal/reader"
	"github.com/sluicehq/sluice/services/emitter/internal/timers"
)

// Service is one emitter instance.
type Service struct {
	cfg      Config
	common   service.Common
	ns       wire.Namespace
	instance string
	log      zerolog.Logger
	rarely   zerolog.Logger // for failures that many pools may share, at every try
	metrics  *metrics
	meter    metric.Meter
	nats     *service.Check
	ready    *service.Check
	buckets  *service.Check

	timers   *timers.Timers
	budget   *pool.Budget
	answers  *answers
	carriers pool.Carriers
	dues     *dues
	notices  chan notice

	// Made by Run, before anything else runs.
	ctl, data   *nats.Conn // apart, so that no flood of events delays a renewal
	records     *subscription.Store
	pools       *subscription.Pools
	recordCopy  *mirror.Mirror
	poolCopy    *mirror.Mirror
	session     *lease.Session
	keepBuckets func(ctx context.Context) error
	trust       func() time.Duration // how long the session may be trusted from now
	peers       *lease.Peers
	readers     *reader.Set
	parker      *park.Parker
	fetcher     *fetch.Fetcher
	asker       *ask.Asker
	advisor     *bus.Advisor
	replies     *bus.Responder

	slots      *semaphore.Weighted // of actions; those that drain have none
	kick       chan struct{}       // cap 1: something is dirty
	reconnects chan struct{}       // cap 1: the connection came back

	mu       sync.Mutex
	holdings map[string]*holding
	toLook   map[string]struct{}
	lookAll  bool
	busy     map[string]struct{}
	failed   map[string]struct{}
	vanished claim.Vanished
	contests claim.Contests
	left     left
	idle     *claim.Idle
	gaps     map[string]gapped // by subscription: to be paused
	draining bool
}

// askTimeout bounds how long servers may take to tell who listens.
const askTimeout = 500 * time.Millisecond

// notice is an advisory on its way out.
type notice struct {
	name string
	pool.Notice
}

// maxNotices bounds the advisories that wait to be published; beyond it they
// are dropped, since advisories must never hold deliveries back.
const maxNotices = 4096

// New returns an emitter that does nothing yet.
func New(cfg Config, d service.Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("emitter config: %w", err)
	}
	s := &Service{
		cfg: cfg, common: d.Common, ns: d.Common.Namespace,
		instance: bus.NewInstanceID(wire.ServiceEmitter),
		nats:     d.Health.Check("nats"),
		ready:    d.Health.Check("pools"),
		buckets:  d.Health.Check("buckets"),
		meter:    d.Meter,
		timers:   timers.New(),
		budget:   pool.NewBudget(cfg.EventBytes),
		dues:     newDues(),
		notices:  make(chan notice, maxNotices),
		slots:    semaphore.NewWeighted(maxActions),
		kick:     make(chan struct{}, 1),

		reconnects: make(chan struct{}, 1),

		holdings: map[string]*holding{},
		toLook:   map[string]struct{}{},
		busy:     map[string]struct{}{},
		failed:   map[string]struct{}{},
		idle:     claim.NewIdle(d.Common.SessionTTL),
		gaps:     map[string]gapped{},
	}
	s.log = d.Log.With().Str("instance", s.instance).Logger()
	s.rarely = bus.Rarely(s.log)
	s.answers = newAnswers(s.ns.Answers(s.instance))
	var err error
	if s.metrics, err = newMetrics(d.Meter, s); err != nil {
		return nil, fmt.Errorf("emitter metrics: %w", err)
	}
	return s, nil
}

// Name is part of service.Runner.
func (s *Service) Name() string { return wire.ServiceEmitter }

// Run claims and serves pools until ctx ends, then hands them over and returns.
func (s *Service) Run(ctx context.Context) error {
	defer s.metrics.close()
	dial := bus.Dialer{Config: s.common.NATS, Name: s.ns.MicroName(s.instance), Log: s.log, Waiting: s.nats.Fail}
	var err error
	if s.ctl, err = dial.Connect(ctx, nats.ReconnectHandler(s.heardReconnect)); err != nil {
		return stopped(ctx, err)
	}
	defer s.ctl.Close()
	dial.Name += "/data"
	if s.data, err = dial.Connect(ctx, s.watchData); err != nil {
		return stopped(ctx, err)
	}
	defer s.data.Close()
	if err := s.assemble(ctx); err != nil {
		return stopped(ctx, err)
	}
	return s.serve(ctx)
}

// stopped makes an error that came of the end of ctx no error.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// assemble makes the parts that need a connection.
func (s *Service) assemble(ctx context.Context) error {
	js, err := jetstream.New(s.ctl)
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	layout := s.common.Layout()
	layout.Waiting, layout.Owner = s.ready.Fail, s.common.Owner(wire.ServiceEmitter, s.instance)
	b, err := bus.Ensure(ctx, js, layout, s.log)
	if err != nil {
		return err
	}
	s.advisor = bus.NewAdvisor(s.ctl, s.ns, s.instance, s.log)
	s.replies, err = bus.NewResponder(s.ctl, bus.ResponderConfig{
		Service: wire.ServiceEmitter, Advisor: s.advisor, Meter: s.meter, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.records = subscription.NewStore(b.Subscriptions, s.ns)
	s.pools = subscription.NewPools(b.Pools)
	copying := mirror.Options{OnChange: s.dirty, Tombstones: s.common.Tombstones(), Log: s.log}
	s.recordCopy, s.poolCopy = mirror.New(b.Subscriptions, copying), mirror.New(b.Pools, copying)
	s.session, err = lease.NewSession(s.ctl, b.Sessions, lease.SessionConfig{
		Namespace: s.ns, Service: wire.ServiceEmitter, Instance: s.instance,
		TTL: s.common.SessionTTL, Load: s.load, Responder: s.replies,
	}, s.log)
	if err != nil {
		return err
	}
	s.trust = s.session.ValidFor
	s.peers, err = lease.NewPeers(s.ctl, b.Sessions, lease.PeersConfig{
		Namespace: s.ns, Service: wire.ServiceEmitter, TTL: s.common.SessionTTL,
		Own: s.session, OnChange: s.allDirty,
	}, s.log)
	if err != nil {
		return err
	}
	dataJS, err := jetstream.New(s.data)
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	s.readers = reader.NewSet(reader.Config{
		JetStream: dataJS, MaxReaders: s.cfg.MaxReaders, Log: s.log,
		Owner: layout.Owner, Paused: s.metGap,
	})
	ours := func(stream string) bool { return subscription.OwnStream(stream, s.ns) }
	s.asker = ask.New(presence.New(s.data, ours, askTimeout), s.log)
	s.keepBuckets = func(ctx context.Context) error { return s.common.KeepBuckets(ctx, js, s.buckets, s.log) }
	s.parker = park.New(js, s.ns, s.data.MaxPayload, s.log)
	s.fetcher = fetch.New(fetch.Leaders{JetStream: dataJS}, s.log)
	return nil
}

// serve runs the parts; those that a hand-over needs outlive ctx until it is done.
func (s *Service) serve(ctx context.Context) error {
	defer s.replies.Close()
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, base := errgroup.WithContext(base)
	for _, run := range []func(context.Context) error{
		s.recordCopy.Run, s.poolCopy.Run, s.session.Run, s.peers.Run, s.keepBuckets,
		s.timers.Run, s.readers.Run, s.parker.Run, s.fetcher.Run, s.asker.Run, s.checkpoint, s.skim, s.pauseAtGaps, s.publishNotices,
	} {
		g.Go(func() error { return run(base) })
	}
	g.Go(func() error { bus.Follow(base, s.ctl, s.nats, nil); return nil })
	g.Go(func() error {
		defer stop()
		unsubscribe, err := s.listen()
		if err != nil {
			return err
		}
		defer unsubscribe()
		g.Go(func() error { return s.watchSession(base) }) // over the hand-over too
		work, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(base, cancel)() // a part that fails ends the work too
		s.log.Info().Msg("emitter ready")
		err = s.reconcile(work)
		s.handOver(context.WithoutCancel(ctx))
		return err
	})
	return g.Wait()
}

// listen subscribes to answers, to questions about pools and to replayed
// transitions, and announces the service.
func (s *Service) listen() (stop func(), err error) {
	if _, err := s.answers.subscribe(s.data, s.replies.On(s.data)); err != nil {
		return nil, err
	}
	if _, err := s.ctl.Subscribe(s.ns.Lifecycle("*"), s.replayed); err != nil {
		return nil, fmt.Errorf("subscribe to replayed transitions: %w", err)
	}
	served, err := endpoint.Serve(s.ctl, endpoint.Config{
		Namespace: s.ns, Service: wire.ServiceEmitter, Instance: s.instance,
		Description: "owns pools and delivers", Responder: s.replies, Log: s.log,
	}, endpoint.Endpoint{
		Name: "pools", Subject: s.ns.EmitterPools(s.instance), Verb: verbPools,
		Description: "tell how this instance's pools are, to the other services",
		Handle:      s.tellPools, Data: func() any { return s.totals() },
	})
	if err != nil {
		return nil, err
	}
	return func() {
		if err := served.Stop(); err != nil {
			s.log.Debug().Err(err).Msg("service not taken back")
		}
	}, nil
}

// verbPools names the type of what an instance says of its pools.
const verbPools = "emitter.pools"

// tellPools answers a question about the live state of pools.
func (s *Service) tellPools(r *endpoint.Request) {
	var q wire.PoolsRequest
	var bad *wire.Error
	if len(r.Body) > 0 {
		if err := json.Unmarshal(r.Body, &q); err != nil {
			bad = wire.Errorf(wire.CodeBadJSON, "the question cannot be read: %s", err)
		}
	}
	var pools []wire.PoolStatus
	now := time.Now().UTC()
	if bad == nil {
		pools = s.statuses(q.Names)
	}
	if err := r.Answer(wire.PoolsResponse{Pools: pools, At: &now}, bad); err != nil {
		s.log.Debug().Err(err).Msg("question about pools not answered")
	}
}

// replayed hears of a transition that the replayer, or the monitor, thinks
// nobody has observed: the copies are listed anew, and the pool looked at.
func (s *Service) replayed(m *nats.Msg) {
	var t wire.Transition
	if err := json.Unmarshal(m.Data, &t); err != nil || !wire.ValidName(t.Name) {
		s.log.Warn().Err(err).Msg("replayed transition cannot be read")
		return
	}
	s.recordCopy.Kick()
	s.poolCopy.Kick()
	s.dirty(t.Name)
}

func (s *Service) heardReconnect(nc *nats.Conn) {
	s.log.Info().Str("server", bus.Server(nc)).Msg("nats connection back")
	select {
	case s.reconnects <- struct{}{}:
	default:
	}
}

// reconnected lists everything anew: watches may have missed something.
func (s *Service) reconnected() {
	s.recordCopy.Kick()
	s.poolCopy.Kick()
	s.allDirty()
}

// load is what the session says of this instance.
func (s *Service) load() wire.Session {
	inFlight := s.answers.inFlight()
	s.mu.Lock()
	defer s.mu.Unlock()
	return wire.Session{Pools: len(s.holdings), InFlight: inFlight, Version: wire.Version, Draining: s.draining}
}

// handOver releases all pools, so that the others take them over at once.
func (s *Service) handOver(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.session.Renew() // tells the others not to wait for us
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DrainTimeout+actTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(maxDrains)
	for _, h := range s.allHoldings() {
		g.Go(func() error {
			s.drain(ctx, h, s.cfg.DrainTimeout)
			if err := s.release(ctx, h); err != nil {
				s.rarely.Warn().Err(err).Str("subscription", h.name).Msg("pool not handed over; it will be taken over")
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no errors
	s.log.Info().Msg("pools handed over")
}

// maxDrains bounds the pools that drain at once: waiting costs nothing, so
// that the slowest subscribers of many decide how long a stop takes.
const maxDrains = 4096

// tell has an advisory published, soon and without waiting for it.
func (s *Service) tell(what, name, detail string, data map[string]any) {
	s.tellOf(name, pool.Notice{What: what, Detail: detail, Data: data})
}

func (s *Service) tellOf(name string, n pool.Notice) {
	select {
	case s.notices <- notice{name, n}:
	default:
		s.log.Warn().Str("what", n.What).Str("subscription", name).Msg("too many advisories at once, one dropped")
	}
}

func (s *Service) publish(n notice) {
	s.advisor.PublishWith(n.Trail, n.What, wire.Advisory{Name: n.name, Detail: n.Detail, Data: n.Data})
}

// publishNotices publishes advisories until ctx ends, and what is left then.
func (s *Service) publishNotices(ctx context.Context) error {
	for {
		select {
		case n := <-s.notices:
			s.publish(n)
		case <-ctx.Done():
			for {
				select {
				case n := <-s.notices:
					s.publish(n)
				default:
					return nil
				}
			}
		}
	}
}
