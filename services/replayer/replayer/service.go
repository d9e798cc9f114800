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
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/answers"
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
	l := link{answers: answers.New(s.common.Namespace.Answers(s.instance))}
	dial := bus.Dialer{Config: s.common.NATS, Name: s.instance, Log: s.log, Waiting: s.ready.Fail}
	var err error
	if l.ctl, err = dial.Connect(ctx); err != nil {
		return ended(ctx, err)
	}
	defer l.ctl.Close()
	dial.Name += "/data"
	if l.data, err = dial.Connect(ctx, l.answers.Observe); err != nil {
		return ended(ctx, err)
	}
	defer l.data.Close()
	js, err := jetstream.New(l.ctl)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	layout := s.common.Layout()
	layout.Waiting, layout.Owner = s.ready.Fail, s.common.Owner(wire.ServiceReplayer, s.instance)
	if l.buckets, err = bus.Ensure(ctx, js, layout, s.log); err != nil {
		return ended(ctx, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.common.KeepBuckets(gctx, js, s.buckets, s.log) })
	g.Go(func() error { return s.serve(gctx, l) })
	return g.Wait()
}

// ended drops an error that only says that ctx ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
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
