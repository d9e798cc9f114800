package player

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Metrics are what an instance tells of its replays.
type Metrics struct {
	running metric.Int64Gauge
	events  metric.Int64Counter
	ended   metric.Int64Counter
}

// NewMetrics returns the metrics of a meter.
func NewMetrics(m metric.Meter) (*Metrics, error) {
	running, err1 := m.Int64Gauge("replayer.replays", metric.WithUnit("{replay}"),
		metric.WithDescription("Replays that this instance runs."))
	events, err2 := m.Int64Counter("replayer.replayed", metric.WithUnit("{event}"),
		metric.WithDescription("Replayed events as the entries have them, by outcome: sent (repeats included), finished, parked."))
	ended, err3 := m.Int64Counter("replayer.replays.ended", metric.WithUnit("{replay}"),
		metric.WithDescription("Replays that this instance ended, by state."))
	return &Metrics{running, events, ended}, errors.Join(err1, err2, err3)
}

// runs notes how many replays run.
func (m *Metrics) runs(n int) { m.running.Record(context.Background(), int64(n)) }

// moved counts what has been done between two entries of a replay.
func (m *Metrics) moved(before, after wire.ReplayCounts) {
	for _, c := range []struct {
		outcome string
		n       uint64
	}{
		{"sent", after.Sent - before.Sent}, {"finished", after.Finished - before.Finished}, {"parked", after.Parked - before.Parked},
	} {
		if int64(c.n) > 0 { // a delivery that did not leave is taken back
			m.events.Add(context.Background(), int64(c.n), metric.WithAttributes(attribute.String("outcome", c.outcome)))
		}
	}
}

// ends counts a replay that has ended.
func (m *Metrics) ends(state wire.ReplayState) {
	m.ended.Add(context.Background(), 1, metric.WithAttributes(attribute.String("state", string(state))))
}
