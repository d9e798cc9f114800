package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// namespace begins the Prometheus name of every metric: an instrument
// "lease.renewals" is served as sluice_lease_renewals_total.
const namespace = "sluice"

// Config says whose telemetry it is and where to send it.
type Config struct {
	Service string // the name of the process, e.g. "registry"; OTEL_SERVICE_NAME wins
	Version string // the version of the process; left out if empty

	// Env decides whether exporters and the SDK are on (see the package
	// comment). How an exporter works (endpoint, protocol, headers, batches,
	// sampling) the OpenTelemetry SDK reads from the process's environment.
	Env map[string]string
}

// Telemetry holds the meter and tracer providers of one process. It belongs to
// its creator: nothing is registered globally, so that several fit in one
// process.
type Telemetry struct {
	registry *prometheus.Registry
	meters   *sdkmetric.MeterProvider
	tracers  trace.TracerProvider
	stop     []func(context.Context) error
}

// New returns the telemetry that cfg asks for. Exporters dial when they first
// send, not here. An unknown exporter or protocol is an error. Call Shutdown
// when done.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	disabled, disabledErr := sdkDisabled(cfg.Env)
	res, resErr := newResource(ctx, cfg)
	if err := errors.Join(disabledErr, resErr); err != nil {
		return nil, err
	}
	t := &Telemetry{registry: prometheus.NewRegistry(), tracers: tracenoop.NewTracerProvider()}
	t.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	meterErr := t.startMeters(ctx, cfg.Env, res, !disabled)
	var traceErr error
	if !disabled && named(cfg.Env, "TRACES") {
		traceErr = t.startTracers(ctx, res)
	}
	if err := errors.Join(meterErr, traceErr); err != nil {
		return nil, errors.Join(err, t.Shutdown(context.WithoutCancel(ctx)))
	}
	return t, nil
}

func (t *Telemetry) startMeters(ctx context.Context, env map[string]string, res *resource.Resource, export bool) error {
	reader, err := otelprom.New(otelprom.WithRegisterer(t.registry), otelprom.WithNamespace(namespace),
		otelprom.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("prometheus metrics: %w", err)
	}
	opts := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(reader), sdkmetric.WithView(inSeconds())}
	// "prometheus" is what /metrics serves already; autoexport would open a
	// second listener for it.
	if export && named(env, "METRICS") && env["OTEL_METRICS_EXPORTER"] != "prometheus" {
		sent, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return fmt.Errorf("OTEL_METRICS_EXPORTER: %w", err)
		}
		opts = append(opts, sdkmetric.WithReader(sent))
	}
	t.meters = sdkmetric.NewMeterProvider(opts...)
	t.stop = append(t.stop, t.meters.Shutdown)
	return nil
}

// inSeconds gives every histogram of seconds bounds that fit: those that
// OpenTelemetry has by itself are for milliseconds, and put everything that
// takes less than five seconds into one bucket.
func inSeconds() sdkmetric.View {
	return sdkmetric.NewView(
		sdkmetric.Instrument{Kind: sdkmetric.InstrumentKindHistogram, Unit: "s"},
		sdkmetric.Stream{Aggregation: sdkmetric.AggregationExplicitBucketHistogram{
			Boundaries: []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10},
		}},
	)
}

func (t *Telemetry) startTracers(ctx context.Context, res *resource.Resource) error {
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("OTEL_TRACES_EXPORTER: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(exporter))
	t.tracers = provider
	t.stop = append(t.stop, provider.Shutdown)
	return nil
}

// Meter returns the meter of one part of the process, e.g. "sluice-registry".
// The scope is not shown: parts that use the same instrument tell their numbers
// apart by an attribute.
func (t *Telemetry) Meter(scope string) metric.Meter { return t.meters.Meter(scope) }

// Tracer returns the tracer of one part of the process. It records nothing
// where no exporter is named.
func (t *Telemetry) Tracer(scope string) trace.Tracer { return t.tracers.Tracer(scope) }

// Handler serves the metrics in Prometheus' formats. A metric that cannot be
// shown is left out rather than failing the whole answer.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorHandling:     promhttp.ContinueOnError,
		EnableOpenMetrics: true,
		Registry:          t.registry,
	})
}

// Shutdown sends what is still to be sent and ends all exporters. It waits as
// long as ctx allows.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var errs []error
	for _, stop := range t.stop {
		errs = append(errs, stop(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("shut telemetry down: %w", err)
	}
	return nil
}

// named reports whether env names an exporter or an OTLP endpoint for signal.
func named(env map[string]string, signal string) bool {
	if exporter := env["OTEL_"+signal+"_EXPORTER"]; exporter != "" {
		return exporter != "none"
	}
	return env["OTEL_EXPORTER_OTLP_ENDPOINT"] != "" || env["OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"] != ""
}

// sdkDisabled reads OTEL_SDK_DISABLED, which the Go SDK does not.
func sdkDisabled(env map[string]string) (bool, error) {
	value := env["OTEL_SDK_DISABLED"]
	if value == "" {
		return false, nil
	}
	disabled, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("OTEL_SDK_DISABLED %q: want true or false", value)
	}
	return disabled, nil
}

// newResource describes the process; OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES have the last word.
func newResource(ctx context.Context, cfg Config) (*resource.Resource, error) {
	attrs := []resource.Option{
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("sluice-" + cfg.Service)),
	}
	if cfg.Version != "" {
		attrs = append(attrs, resource.WithAttributes(semconv.ServiceVersion(cfg.Version)))
	}
	res, err := resource.New(ctx, append(attrs, resource.WithFromEnv())...)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return res, nil
}
