package healthmon

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

type metrics struct {
	sweeps  metric.Float64Histogram
	repairs metric.Int64Counter

	mu     sync.Mutex
	issues map[string]int64 // by kind; nil while this instance does not lead
	last   time.Time        // when the last sweep ended; zero: this instance made none
}

func newMetrics(m metric.Meter) (*metrics, error) {
	out := &metrics{}
	var err1, err2 error
	out.sweeps, err1 = m.Float64Histogram("healthmon.sweep.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of sweeps, by outcome."))
	out.repairs, err2 = m.Int64Counter("healthmon.repairs", metric.WithUnit("{repair}"),
		metric.WithDescription("Repairs, by action and outcome."))
	_, err3 := m.Int64ObservableGauge("healthmon.issues", metric.WithUnit("{issue}"),
		metric.WithDescription("Issues found by the last sweep, by kind."), metric.WithInt64Callback(out.observeIssues))
	_, err4 := m.Float64ObservableGauge("healthmon.last.sweep.timestamp", metric.WithUnit("s"),
		metric.WithDescription("When this instance last finished a sweep, in Unix time."),
		metric.WithFloat64Callback(out.observeLast))
	return out, errors.Join(err1, err2, err3, err4)
}

func (m *metrics) observeIssues(_ context.Context, o metric.Int64Observer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for kind, n := range m.issues {
		o.Observe(n, metric.WithAttributes(attribute.String("kind", kind)))
	}
	return nil
}

func (m *metrics) observeLast(_ context.Context, o metric.Float64Observer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.last.IsZero() {
		o.Observe(float64(m.last.UnixMilli()) / 1000)
	}
	return nil
}

// swept counts a sweep that began at start.
func (m *metrics) swept(ctx context.Context, start time.Time, issues []wire.Issue, err error) {
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	m.sweeps.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(attribute.String("outcome", outcome)))
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = time.Now()
	m.issues = make(map[string]int64, len(check.Kinds()))
	for _, k := range check.Kinds() {
		m.issues[k] = 0
	}
	for _, i := range issues {
		m.issues[i.Kind]++
	}
}

// follow forgets what only a leader knows.
func (m *metrics) follow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.issues, m.last = nil, time.Time{}
}

func (m *metrics) repaired(ctx context.Context, r wire.Repair) {
	m.repairs.Add(ctx, 1, metric.WithAttributes(
		attribute.String("action", r.Action), attribute.String("outcome", r.Outcome)))
}
