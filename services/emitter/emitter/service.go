package emitter

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/answers"
)

// Service is one emitter instance. It connects, and then makes and runs the parts
// that do the work.
type Service struct {
	cfg      Config
	common   service.Common
	ns       wire.Namespace
	instance string
	log      zerolog.Logger
	limited  zerolog.Logger // for failures that many pools may share, at every try
	meter    metric.Meter
	nats     *service.Check
	ready    *service.Check
	buckets  *service.Check
}

// New returns an emitter that does nothing yet.
func New(cfg Config, d service.Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("emitter config: %w", err)
	}
	s := &Service{
		cfg: cfg, common: d.Common, ns: d.Common.Namespace,
		instance: bus.NewInstanceID(wire.ServiceEmitter),
		meter:    d.Meter,
		nats:     d.Health.Check("nats"),
		ready:    d.Health.Check("pools"),
		buckets:  d.Health.Check("buckets"),
	}
	s.log = d.Log.With().Str("instance", s.instance).Logger()
	s.limited = bus.Rarely(s.log)
	return s, nil
}

// Name is part of service.Runner.
func (s *Service) Name() string { return wire.ServiceEmitter }

// Run claims and serves pools until ctx ends, then hands them over and returns.
func (s *Service) Run(ctx context.Context) error {
	l := link{answers: answers.New(s.ns.Answers(s.instance))}
	dial := bus.Dialer{Config: s.common.NATS, Name: s.ns.MicroName(s.instance), Log: s.log, Waiting: s.nats.Fail}
	var err error
	if l.ctl, err = dial.Connect(ctx); err != nil {
		return stopped(ctx, err)
	}
	defer l.ctl.Close()
	dial.Name += "/data"
	if l.data, err = dial.Connect(ctx, l.answers.Observe); err != nil {
		return stopped(ctx, err)
	}
	defer l.data.Close()
	if err := s.prepare(ctx, &l); err != nil {
		return stopped(ctx, err)
	}
	p, err := s.build(l)
	if err != nil {
		return err
	}
	defer p.close()
	return p.run(ctx)
}

// stopped makes an error that came of the end of ctx no error.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// prepare completes a link that is connected: it waits for the buckets.
func (s *Service) prepare(ctx context.Context, l *link) error {
	var err error
	if l.ctlJS, err = jetstream.New(l.ctl); err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	if l.dataJS, err = jetstream.New(l.data); err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	layout := s.common.Layout()
	layout.Waiting, layout.Owner = s.ready.Fail, s.common.Owner(wire.ServiceEmitter, s.instance)
	l.buckets, err = bus.Ensure(ctx, l.ctlJS, layout, s.log)
	return err
}
