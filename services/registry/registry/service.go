package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// startAnyway is how long a starting registry waits for JetStream before
	// it takes requests, and refuses them: with JetStream there it starts
	// without refusing any.
	startAnyway = time.Second
	// drainTimeout bounds the end of Run: every request is over by then.
	drainTimeout = answerWithin + time.Second
)

// Service is a registry.
type Service struct {
	cfg      Config
	common   service.Common
	ns       wire.Namespace
	instance string
	log      zerolog.Logger
	m        *metrics
	meter    metric.Meter
	checks   checks
	limits   *limits
	view     *view
	gate     *gate
	jobs     *dispatcher
	// explaining has a slot for each explanation that is being made.
	explaining chan struct{}
	verbs      []verb
	// opened are the stores; nil until the buckets are there.
	opened atomic.Pointer[stores]

	// answerWithin is the constant of that name, but for tests.
	answerWithin time.Duration
	// newJetStream is jetstream.New, but for tests.
	newJetStream func(*nats.Conn) (jetstream.JetStream, error)
}

// checks are what the registry's readiness depends on.
type checks struct{ nats, jetstream, buckets, requests *service.Check }

// api is a registry that is connected, and answers requests.
type api struct {
	*Service
	nc         *nats.Conn
	js         jetstream.JetStream
	advisor    *bus.Advisor
	replies    *bus.Responder
	rejections *rejections
}

// stores are there once the buckets are.
type stores struct {
	ns          wire.Namespace
	subs, pools gated
	mirror      *mirror.Mirror
	states      *states
}

func (st *stores) records() *subscription.Store { return subscription.NewStore(st.subs, st.ns) }
func (st *stores) entries() *subscription.Pools { return subscription.NewPools(st.pools) }

// New returns a registry that is not yet running. A failed New needs no cleanup.
func New(cfg Config, d service.Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("registry config: %w", err)
	}
	if err := d.Common.Validate(); err != nil {
		return nil, fmt.Errorf("registry config: %w", err)
	}
	m, err := newMetrics(d.Meter)
	if err != nil {
		return nil, fmt.Errorf("registry metrics: %w", err)
	}
	instance := bus.NewInstanceID(wire.ServiceRegistry)
	log := d.Log.With().Str("instance", instance).Logger()
	return &Service{
		cfg: cfg, common: d.Common, ns: d.Common.Namespace, instance: instance, log: log, m: m, meter: d.Meter,
		limits:     newLimits(cfg.MaxRequestsPerSecond, cfg.perPrefix()),
		view:       newView(d.Common.Namespace),
		gate:       newGate(log),
		jobs:       newDispatcher(),
		verbs:      verbs(),
		explaining: make(chan struct{}, maxExplaining),
		checks: checks{
			nats: d.Health.Check("nats"), jetstream: d.Health.Check("jetstream"),
			requests: d.Health.Check("requests"), buckets: d.Health.Check("buckets"),
		},
		answerWithin: answerWithin,
		newJetStream: func(nc *nats.Conn) (jetstream.JetStream, error) { return jetstream.New(nc) },
	}, nil
}

// verbs are what a registry can be asked for.
func verbs() []verb {
	return []verb{
		{name: wire.VerbSubscribe, named: true, ordered: true, handle: (*api).subscribe, does: "create or change a subscription"},
		{name: wire.VerbUnsubscribe, named: true, ordered: true, handle: (*api).unsubscribe, does: "remove a subscription"},
		{name: wire.VerbPause, named: true, ordered: true, handle: (*api).pause, does: "pause a subscription"},
		{name: wire.VerbResume, named: true, ordered: true, handle: (*api).resume, does: "resume a subscription"},
		{name: wire.VerbSeek, named: true, ordered: true, handle: (*api).seek, does: "move a subscription's checkpoint"},
		{name: wire.VerbExplain, named: true, handle: (*api).explain, does: "say why an event matches a subscription, or not"},
		{name: wire.VerbGet, named: true, handle: (*api).get, does: "show a subscription and its pool"},
		{name: wire.VerbList, handle: (*api).list, does: "list subscriptions"},
	}
}

// Name implements service.Runner.
func (s *Service) Name() string { return wire.ServiceRegistry }

// Run serves until ctx ends, then lets the requests under way finish, for
// drainTimeout at most. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	nc, err := bus.Dialer{
		Config: s.common.NATS, Name: s.ns.MicroName(wire.ServiceRegistry), Log: s.log, Waiting: s.checks.nats.Fail,
	}.Connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	js, err := s.newJetStream(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	advisor := bus.NewAdvisor(nc, s.ns, s.instance, s.log)
	replies, err := bus.NewResponder(nc, bus.ResponderConfig{
		Service: wire.ServiceRegistry, Advisor: advisor, Meter: s.meter, Log: s.log,
	})
	if err != nil {
		return err
	}
	defer replies.Close()
	return (&api{s, nc, js, advisor, replies, newRejections(advisor.Publish)}).run(ctx)
}

// run is what Run does once there is a connection.
func (s *api) run(ctx context.Context) error {
	jobs, endJobs := context.WithCancel(context.WithoutCancel(ctx)) // ends when requests must
	defer endJobs()
	opened := make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { bus.Follow(gctx, s.nc, s.checks.nats, s.connected); return nil })
	g.Go(func() error { return s.keepRecords(gctx, opened) })
	g.Go(func() error { return s.gate.run(gctx, s.probe, s.tellJetStream) })
	g.Go(func() error { return s.serve(gctx, jobs, opened) })
	g.Go(func() error { return s.rejections.run(gctx) })
	return g.Wait()
}

// connected has JetStream looked at again as soon as the connection is back.
func (s *api) connected() {
	s.gate.hurry()
	if st := s.opened.Load(); st != nil {
		st.mirror.Kick()
	}
}

// keepRecords waits for the buckets, opens the stores, and keeps the view and
// the session.
func (s *api) keepRecords(ctx context.Context, opened chan<- struct{}) error {
	layout := s.common.Layout()
	layout.Waiting, layout.Owner = s.checks.jetstream.Fail, s.common.Owner(wire.ServiceRegistry, s.instance)
	buckets, err := bus.Ensure(ctx, s.js, layout, s.log)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var m *mirror.Mirror
	m = mirror.New(buckets.Subscriptions, mirror.Options{
		Tombstones: s.common.Tombstones(), Log: s.log,
		OnChange: func(key string) { s.view.follow(m, key) }, OnForget: s.view.forget,
	})
	states := newStates(buckets.Pools, s.log)
	s.opened.Store(&stores{
		ns: s.ns, subs: gated{buckets.Subscriptions, s.gate}, pools: gated{buckets.Pools, s.gate}, mirror: m, states: states,
	})
	session, err := lease.NewSession(s.nc, buckets.Sessions, lease.SessionConfig{
		Namespace: s.ns, Service: wire.ServiceRegistry, Instance: s.instance, TTL: s.common.SessionTTL,
		Responder: s.replies,
	}, s.log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.Run(ctx) })
	g.Go(func() error { states.run(ctx); return nil })
	g.Go(func() error { return session.Run(ctx) })
	g.Go(func() error { return s.common.KeepBuckets(ctx, s.js, s.checks.buckets, s.log) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-m.Synced():
			s.checks.jetstream.OK()
			close(opened)
		}
		return nil
	})
	return g.Wait()
}

// probe asks JetStream for the bucket. Where that is gone nothing can be written
// until it is made again.
func (s *api) probe(ctx context.Context) error {
	st := s.opened.Load()
	if st == nil {
		return nil
	}
	_, err := st.subs.kv.Status(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = fmt.Errorf("%w: %w", jetstream.ErrNoStreamResponse, err)
	}
	return err
}

func (s *api) tellJetStream(open bool) {
	switch {
	case !open:
		s.checks.jetstream.Fail("JetStream does not answer")
	case s.opened.Load() != nil:
		s.checks.jetstream.OK()
	}
}

// serve takes requests until ctx ends, and carries them out until jobs ends. It
// begins once the records are there, or after startAnyway.
func (s *api) serve(ctx, jobs context.Context, opened <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return nil
	case <-opened:
	case <-time.After(startAnyway):
		s.log.Warn().Msg("jetstream is not there yet, requests are refused until it is")
	}
	svc, err := s.addEndpoints(jobs)
	if err != nil {
		return err
	}
	// Behind this round trip the server has the endpoints. Where it is away they
	// are sent when it is back.
	if err := s.flush(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn().Err(err).Msg("endpoints not confirmed by the server")
	}
	s.checks.requests.OK()
	s.log.Info().Msg("registry takes requests")
	<-ctx.Done()
	return s.drain(svc)
}

func (s *api) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.nc.FlushWithContext(ctx)
}

func (s *api) addEndpoints(jobs context.Context) (*endpoint.Service, error) {
	var endpoints []endpoint.Endpoint
	for _, v := range s.verbs {
		subject := s.ns.API(v.name)
		if v.named {
			subject += ".>" // a name of several tokens gets an answer too
		}
		endpoints = append(endpoints, endpoint.Endpoint{
			Name: endpointName(v.name), Subject: subject, Verb: v.name, Description: v.does,
			Handle: func(m *endpoint.Request) { s.take(jobs, v, m) },
		})
	}
	return endpoint.Serve(s.nc, endpoint.Config{
		Namespace: s.ns, Service: wire.ServiceRegistry, Instance: s.instance,
		Description: "takes, changes and shows subscriptions", Responder: s.replies, Log: s.log,
	}, endpoints...)
}

func endpointName(verb string) string { return strings.ReplaceAll(verb, ".", "-") }

// drain takes no more requests, finishes those taken, and closes the connection.
func (s *api) drain(svc *endpoint.Service) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := svc.Stop(); err != nil {
		s.log.Warn().Err(err).Msg("service not stopped cleanly")
	}
	// Behind this round trip no request comes in any more.
	if err := s.nc.FlushWithContext(ctx); err != nil && s.nc.IsConnected() {
		s.log.Warn().Err(err).Msg("connection not flushed")
	}
	s.jobs.close(ctx)
	s.rejections.flush()
	if err := s.nc.FlushWithContext(ctx); err != nil && s.nc.IsConnected() {
		s.log.Warn().Err(err).Msg("answers not flushed")
	}
	return nil
}
