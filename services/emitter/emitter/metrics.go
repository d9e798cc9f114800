package emitter

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"
)

// metrics are read from the pools when somebody asks, so that counting costs
// deliveries nothing.
type metrics struct{ registration metric.Registration }

func newMetrics(m metric.Meter, reports *reporter) (*metrics, error) {
	var errs []error
	gauge := func(name, unit, text string) metric.Int64ObservableGauge {
		g, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(text))
		errs = append(errs, err)
		return g
	}
	pools := gauge("emitter.pools", "{pool}", "Pools that this instance owns.")
	pending := gauge("emitter.pending", "{event}", "Events that are matched and not finished.")
	inFlight := gauge("emitter.in_flight", "{event}", "Deliveries that wait for an answer.")
	held := gauge("emitter.held", "By", "Bytes of events held in memory.")
	reg, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := reports.totals()
		o.ObserveInt64(pools, int64(now.Pools))
		o.ObserveInt64(pending, int64(now.Pending))
		o.ObserveInt64(inFlight, int64(now.InFlight))
		o.ObserveInt64(held, now.HeldBytes)
		return nil
	}, pools, pending, inFlight, held)
	return &metrics{registration: reg}, errors.Join(append(errs, err)...)
}

func (m *metrics) close() {
	if m.registration != nil {
		_ = m.registration.Unregister() // nothing is lost by a callback too many
	}
}
