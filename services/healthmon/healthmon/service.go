package healthmon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/presence"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// maxSkew is how far a clock may be off: more than networks make of an answer's way.
const maxSkew = 2 * time.Second

// Role is the role that the monitors elect a leader for.
const Role = "healthmon"

// Service is one instance of the monitor.
type Service struct {
	cfg          Config
	common       service.Common
	log          zerolog.Logger
	metrics      *metrics
	meter        metric.Meter
	nats         *service.Check
	ready        *service.Check
	instance     string
	clock        func() time.Time // tells this machine's time
	bucketsCheck *service.Check
}

// New returns an instance that is not yet running.
func New(cfg Config, d service.Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("healthmon config: %w", err)
	}
	m, err := newMetrics(d.Meter)
	if err != nil {
		return nil, fmt.Errorf("healthmon metrics: %w", err)
	}
	instance := bus.NewInstanceID(wire.ServiceHealthmon)
	return &Service{
		cfg: cfg, common: d.Common, metrics: m, meter: d.Meter, instance: instance, clock: time.Now,
		log:   d.Log.With().Str("instance", instance).Logger(),
		nats:  d.Health.Check("nats"),
		ready: d.Health.Check("healthmon"), bucketsCheck: d.Health.Check("buckets"),
	}, nil
}

// Name implements service.Runner.
func (s *Service) Name() string { return wire.ServiceHealthmon }

// Instance is the name of this instance, as reports show it.
func (s *Service) Instance() string { return s.instance }

// Run stands for the lease and serves requests until ctx ends; then it
// finishes what is under way, releases the lease, and returns nil. It may be
// called once.
func (s *Service) Run(ctx context.Context) error {
	nc, err := bus.Dialer{
		Config: s.common.NATS, Name: string(s.common.Namespace) + "-" + s.instance, Log: s.log, Waiting: s.nats.Fail,
	}.Connect(ctx)
	if err != nil {
		return s.ended(ctx, err)
	}
	defer nc.Close()
	p, err := s.parts(ctx, nc)
	if err != nil {
		return s.ended(ctx, err)
	}
	defer p.replies.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.subs.Run(ctx) })
	g.Go(func() error { return p.pools.Run(ctx) })
	g.Go(func() error { return p.peers.Run(ctx) })
	g.Go(func() error { bus.Follow(ctx, nc, s.nats, p.connected); return nil })
	g.Go(func() error { return s.common.KeepBuckets(ctx, p.js, s.bucketsCheck, s.log) })
	g.Go(func() error {
		return p.session.RunAround(ctx, func(ctx context.Context) error {
			if !p.synced(ctx) {
				return nil
			}
			return p.leader.Run(ctx, p.mon.lead)
		})
	})
	g.Go(func() error {
		if !p.synced(ctx) {
			return nil
		}
		return p.api.run(ctx, s.ready.OK)
	})
	return g.Wait()
}

// synced waits until the copies of the buckets are complete, and reports whether
// they are.
func (p *parts) synced(ctx context.Context) bool {
	for _, synced := range []<-chan struct{}{p.subs.Synced(), p.pools.Synced(), p.peers.Synced()} {
		select {
		case <-synced:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// ended turns an error that only says that ctx ended into none.
func (s *Service) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// parts are what an instance consists of while it runs.
type parts struct {
	nc          *nats.Conn
	js          jetstream.JetStream
	subs, pools *mirror.Mirror
	peers       *lease.Peers
	session     *lease.Session
	leader      *lease.Leader
	mon         *monitor
	replies     *bus.Responder
	api         *api
}

// parts puts an instance together.
func (s *Service) parts(ctx context.Context, nc *nats.Conn) (*parts, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	layout := s.common.Layout()
	layout.Waiting, layout.Owner = s.ready.Fail, s.common.Owner(wire.ServiceHealthmon, s.instance)
	b, err := bus.Ensure(ctx, js, layout, s.log)
	if err != nil {
		return nil, err
	}
	ns, advisor := s.common.Namespace, bus.NewAdvisor(nc, s.common.Namespace, s.instance, s.log)
	p := &parts{
		nc: nc, js: js,
		subs:  mirror.New(b.Subscriptions, mirror.Options{KeepAbsent: true, Tombstones: s.common.Tombstones(), Log: s.log}),
		pools: mirror.New(b.Pools, mirror.Options{Tombstones: s.common.Tombstones(), Log: s.log}),
	}
	p.replies, err = bus.NewResponder(nc, bus.ResponderConfig{
		Service: wire.ServiceHealthmon, Advisor: advisor, Meter: s.meter, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	src := &source{
		ns: ns, nc: nc, js: js, subs: p.subs, pools: p.pools, subsKV: b.Subscriptions, poolsKV: b.Pools,
		prober:   presence.New(nc, func(stream string) bool { return subscription.OwnStream(stream, ns) }, probeTimeout),
		emitters: func() []wire.Session { return p.peers.Live() },
		clock:    &clock{local: s.clock},
		doubts:   doubts{hold: s.common.SessionTTL},
		log:      s.log,
	}
	p.mon = newMonitor(monitorConfig{
		Config: s.cfg, ns: ns, instance: s.instance, replies: p.replies, advisor: advisor, metrics: s.metrics,
		check: check.Config{Grace: s.common.SessionTTL, StallAfter: s.cfg.StallAfter, LagAge: s.cfg.LagAge, Skew: maxSkew},
	}, src, b.Health, s.log)
	p.api = &api{
		nc: nc, ns: ns, health: b.Health, subs: src.store(), advisor: advisor, replies: p.replies, log: s.log, instance: s.instance,
	}
	return p, s.join(p, b.Sessions, advisor)
}

// join makes the parts by which an instance knows the emitters, is known itself,
// and stands for the lease.
func (s *Service) join(p *parts, sessions bucket.KeyValue, advisor *bus.Advisor) (err error) {
	ns, ttl := s.common.Namespace, s.common.SessionTTL
	p.peers, err = lease.NewPeers(p.nc, sessions, lease.PeersConfig{
		Namespace: ns, Service: wire.ServiceEmitter, TTL: ttl,
		OnChange: func() { p.mon.emittersChanged(p.peers.Live()) },
	}, s.log)
	if err != nil {
		return err
	}
	p.session, err = lease.NewSession(p.nc, sessions, lease.SessionConfig{
		Namespace: ns, Service: wire.ServiceHealthmon, Instance: s.instance, TTL: ttl,
		Responder: p.replies,
	}, s.log)
	if err != nil {
		return err
	}
	p.leader, err = lease.NewLeader(sessions, advisor, lease.LeaderConfig{
		Namespace: ns, Role: Role, Instance: s.instance, TTL: ttl, NATS: p.nc, Service: wire.ServiceHealthmon,
	}, s.log)
	return err
}

// connected lists the buckets anew whenever the connection is back, since a
// watch may have missed something.
func (p *parts) connected() {
	p.subs.Kick()
	p.pools.Kick()
	p.mon.wake()
}
