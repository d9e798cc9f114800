package registry

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/sluicehq/sluice/pkg/wire"
)

type metrics struct {
	requests metric.Int64Counter
	latency  metric.Float64Histogram
}

func newMetrics(m metric.Meter) (*metrics, error) {
	requests, err1 := m.Int64Counter("registry.requests", metric.WithUnit("{request}"),
		metric.WithDescription("Requests answered, by verb and err_code."))
	latency, err2 := m.Float64Histogram("registry.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from a request's arrival to its answer."))
	return &metrics{requests: requests, latency: latency}, errors.Join(err1, err2)
}

func (m *metrics) observe(verb string, bad *wire.Error, took time.Duration) {
	code := "none"
	if bad != nil {
		code = strconv.Itoa(int(bad.ErrCode))
	}
	ctx := context.Background()
	m.requests.Add(ctx, 1, metric.WithAttributes(
		attribute.String("verb", verb), attribute.String("err_code", code)))
	m.latency.Record(ctx, took.Seconds(), metric.WithAttributes(attribute.String("verb", verb)))
}
