package service

import (
	"net/http"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/sluicehq/sluice/pkg/telemetry"
)

// Deps is what a service gets from its surroundings.
type Deps struct {
	Common Common
	Log    zerolog.Logger
	Meter  metric.Meter
	Tracer trace.Tracer

	// Health takes the service's readiness checks. Register them in the
	// Factory: until they are OK the process is not ready.
	Health *Health

	// Mux is served on Common.HTTPAddr. Register in the Factory only.
	// /livez, /readyz and /metrics are taken.
	Mux *http.ServeMux

	telemetry *telemetry.Telemetry // nil where telemetry is discarded
}

// Factory makes a service from an environment.
type Factory struct {
	// Configs are pointers to the structs that New has Parse fill in: --help lists
	// their variables.
	Configs []any
	// New validates and does no I/O. Its error holds everything that is wrong with
	// the service's own part of env, d.Common having been checked already.
	New func(env Env, d Deps) (Runner, error)
}

// FromEnv is the Factory of a service that is configured by one struct.
func FromEnv[C any, R Runner](newRunner func(C, Deps) (R, error)) Factory {
	return Factory{Configs: []any{new(C)}, New: func(env Env, d Deps) (Runner, error) {
		var cfg C
		if err := Parse(env, &cfg); err != nil {
			return nil, err
		}
		r, err := newRunner(cfg, d)
		if err != nil {
			return nil, err // not r, which would be a Runner that is not nil
		}
		return r, nil
	}}
}

// Discard returns Deps that log, count and trace nowhere, with a Health and a
// Mux of their own: for tests, and as a start for Deps made by hand.
func Discard(common Common) Deps {
	return Deps{
		Common: common,
		Log:    zerolog.Nop(),
		Meter:  metricnoop.NewMeterProvider().Meter(""),
		Tracer: tracenoop.NewTracerProvider().Tracer(""),
		Health: NewHealth(),
		Mux:    http.NewServeMux(),
	}
}

// For returns the Deps of one service among several in a process: its name in
// the log, as the scope of its metrics and traces, and before the names of its
// health checks.
func (d Deps) For(service string) Deps {
	d.Log = d.Log.With().Str("part", service).Logger()
	d.Health = d.Health.For(service)
	if d.telemetry != nil {
		d.Meter, d.Tracer = d.telemetry.Meter(scope(service)), d.telemetry.Tracer(scope(service))
	}
	return d
}

func scope(service string) string { return "sluice-" + service }
