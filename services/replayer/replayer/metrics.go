package replayer

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/sluicehq/sluice/pkg/wire"
)

type metrics struct {
	runs        metric.Int64Counter
	duration    metric.Float64Histogram
	transitions metric.Int64Counter
	unobserved  metric.Int64Gauge
	purges      metric.Int64Counter
}

func newMetrics(m metric.Meter) (*metrics, error) {
	runs, err1 := m.Int64Counter("replayer.runs", metric.WithUnit("{run}"),
		metric.WithDescription("Reconciliations of the lifecycle history, by outcome."))
	duration, err2 := m.Float64Histogram("replayer.run.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of a reconciliation, waiting for emitters included."))
	transitions, err3 := m.Int64Counter("replayer.transitions", metric.WithUnit("{transition}"),
		metric.WithDescription("Transitions found, each once in a term of leadership, by kind and whether they were missed."))
	unobserved, err4 := m.Int64Gauge("replayer.unobserved", metric.WithUnit("{transition}"),
		metric.WithDescription("Transitions that no pool had observed at the end of the last reconciliation."))
	purges, err5 := m.Int64Counter("replayer.purged", metric.WithUnit("{tombstone}"),
		metric.WithDescription("Tombstones of names that were purged after their retention, by bucket."))
	return &metrics{runs, duration, transitions, unobserved, purges}, errors.Join(err1, err2, err3, err4, err5)
}

func (m *metrics) run(ctx context.Context, took time.Duration, err error) {
	outcome := "done"
	switch {
	case ctx.Err() != nil:
		outcome = "cancelled"
	case err != nil:
		outcome = "failed"
	}
	ctx = context.WithoutCancel(ctx)
	by := metric.WithAttributes(attribute.String("outcome", outcome))
	m.runs.Add(ctx, 1, by)
	m.duration.Record(ctx, took.Seconds(), by)
}

// found counts the steps above revision told.
func (m *metrics) found(ctx context.Context, steps []wire.Transition, told uint64, unobserved int) {
	m.unobserved.Record(ctx, int64(unobserved))
	for _, t := range steps {
		if t.Revision > told {
			m.transitions.Add(ctx, 1, metric.WithAttributes(
				attribute.String("kind", t.Kind), attribute.Bool("missed", t.Missed)))
		}
	}
}

func (m *metrics) purged(ctx context.Context, bucket string, n int) {
	m.purges.Add(ctx, int64(n), metric.WithAttributes(attribute.String("bucket", bucket)))
}
