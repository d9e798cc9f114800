package replayer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/names"
)

// flushTimeout bounds the sending of what is left at the end.
const flushTimeout = 2 * time.Second

// Service is one instance of the replayer.
type Service struct {
	cfg      Config
	common   service.Common
	instance string
	log      zerolog.Logger
	metrics  *metrics
	meter    metric.Meter
	ready    *service.Check
	buckets  *service.Check

	step func(name string) error // see reconciler
}

// New returns a replayer that is not yet running. A failed New needs no
// cleanup.
func New(cfg Config, d service.Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("replayer config: %w", err)
	}
	m, err := newMetrics(d.Meter)
	if err != nil {
		return nil, fmt.Errorf("replayer metrics: %w", err)
	}
	instance := bus.NewInstanceID(wire.ServiceReplayer)
	return &Service{
		cfg: cfg, common: d.Common, instance: instance, metrics: m, meter: d.Meter,
		log:   d.Log.With().Str("instance", instance).Logger(),
		ready: d.Health.Check("nats"), buckets: d.Health.Check("buckets"),
	}, nil
}

// Name implements service.Runner.
func (s *Service) Name() string { return wire.ServiceReplayer }

// Run connects, stands by, and reconciles whenever this instance leads, until
// ctx ends. A run on its way is then given up: the next leader does it again.
// It may be called once.
func (s *Service) Run(ctx context.Context) error {
	nc, err := bus.Dialer{
		Config: s.common.NATS, Name: s.instance, Log: s.log, Waiting: s.ready.Fail,
	}.Connect(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	layout := s.common.Layout()
	layout.Waiting, layout.Owner = s.ready.Fail, s.common.Owner(wire.ServiceReplayer, s.instance)
	buckets, err := bus.Ensure(ctx, js, layout, s.log)
	if err != nil {
		return ended(ctx, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.common.KeepBuckets(gctx, js, s.buckets, s.log) })
	g.Go(func() error { return s.serve(gctx, nc, buckets) })
	return g.Wait()
}

// ended drops an error that only says that ctx ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Service) serve(ctx context.Context, nc *nats.Conn, buckets *bus.Buckets) error {
	ns := s.common.Namespace
	advisor := bus.NewAdvisor(nc, ns, s.instance, s.log)
	replies, err := bus.NewResponder(nc, bus.ResponderConfig{
		Service: wire.ServiceReplayer, Advisor: advisor, Meter: s.meter, Log: s.log,
	})
	if err != nil {
		return err
	}
	defer replies.Close()
	session, err := lease.NewSession(nc, buckets.Sessions, lease.SessionConfig{
		Namespace: ns, Service: wire.ServiceReplayer, Instance: s.instance, TTL: s.common.SessionTTL,
		Responder: replies,
	}, s.log)
	if err != nil {
		return err
	}
	leader, err := lease.NewLeader(buckets.Sessions, advisor, lease.LeaderConfig{
		Namespace: ns, Role: wire.ServiceReplayer, Instance: s.instance, TTL: s.common.SessionTTL, NATS: nc,
	}, s.log)
	if err != nil {
		return err
	}
	api, err := serveAPI(nc, endpoint.Config{
		Namespace: ns, Service: wire.ServiceReplayer, Instance: s.instance, Responder: replies, Log: s.log,
		Description: "makes sure that no change of a subscription goes unobserved",
	}, advisor)
	if err != nil {
		return err
	}
	defer func() {
		_ = api.Stop() // fails only where the connection has ended
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		_ = nc.FlushWithContext(late) // advisories; best effort
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return session.RunAround(ctx, func(ctx context.Context) error {
			return leader.Run(ctx, func(ctx context.Context, l wire.Lease) error {
				return s.lead(ctx, nc, buckets, advisor, l)
			})
		})
	})
	// An instance that stands by is as ready as the one that leads.
	g.Go(func() error { bus.Follow(ctx, nc, s.ready, nil); return nil })
	return g.Wait()
}

// lead watches and reconciles for one term of leadership.
func (s *Service) lead(ctx context.Context, nc *nats.Conn, b *bus.Buckets, a *bus.Advisor, l wire.Lease) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	r := &reconciler{
		nc: nc, ns: s.common.Namespace, instance: s.instance, epoch: l.Epoch,
		grace: s.cfg.Settle, wait: s.cfg.Wait,
		buckets: b, archive: archive{b.Replays}, advisor: a, metrics: s.metrics, log: s.log, step: s.step,
		journal: &journal{kv: b.Subscriptions, js: js, ns: s.common.Namespace, log: s.log, feed: feed.Config{
			Owner:   s.common.Owner(wire.ServiceReplayer, s.instance),
			Purpose: "reads what happened to subscriptions", Log: s.log,
		}},
	}
	moves := newMoves()
	moves.add(moveElected)
	c := scheduler{moves: moves, settle: s.cfg.Settle, pace: s.cfg.Pace, retry: s.cfg.Retry, log: s.log, run: r.run}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return newWatch(nc, s.common.Namespace, b, moves, s.log).run(ctx) })
	g.Go(func() error { c.schedule(ctx); return nil })
	purger := names.New(names.Config{
		Subscriptions: b.Subscriptions, Pools: b.Pools, Health: b.Health,
		Retention: s.common.NamesRetention, Reconciled: r.reconciled, Purged: s.metrics.purged, Log: s.log,
	})
	g.Go(func() error { purger.Run(ctx); return nil })
	return g.Wait()
}
