package emitter

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"

	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/reader"
)

// reporter says how the pools of this instance are.
type reporter struct {
	me       string
	holdings *holdings
	readers  *reader.Set
	budget   *core.Budget
	log      zerolog.Logger
}

// verbPools names the type of what an instance says of its pools.
const verbPools = "emitter.pools"

// tellPools answers a question about the live state of pools.
func (r *reporter) tellPools(req *endpoint.Request) {
	var q wire.PoolsRequest
	var bad *wire.Error
	now := time.Now().UTC()
	answer := wire.PoolsResponse{At: &now}
	if err := json.Unmarshal(req.Body, &q); err != nil && len(req.Body) > 0 {
		bad = wire.Errorf(wire.CodeBadJSON, "the question cannot be read: %s", err)
	} else {
		answer.Pools = r.statuses(q.Names)
	}
	if err := req.Answer(answer, bad); err != nil {
		r.log.Debug().Err(err).Msg("question about pools not answered")
	}
}

// statuses are the live states of the pools with the given names, of all if
// there are none.
func (r *reporter) statuses(names []string) []wire.PoolStatus {
	var hs []*holding
	if len(names) == 0 {
		hs = r.holdings.all()
	}
	for _, n := range names {
		if h := r.holdings.of(n); h != nil {
			hs = append(hs, h)
		}
	}
	out := make([]wire.PoolStatus, 0, len(hs))
	for _, h := range hs {
		out = append(out, r.status(h))
	}
	return out
}

func (r *reporter) status(h *holding) wire.PoolStatus {
	h.mu.Lock()
	p, entry, store := h.pool, h.entry, h.rec.Spec.Store
	h.mu.Unlock()
	st := wire.PoolStatus{
		Name: h.name, UID: entry.UID, Epoch: entry.Epoch, State: entry.State, Reason: entry.Reason,
		Floor: entry.Checkpoint.Floor, Position: entry.Checkpoint.Floor, Gap: entry.Gap,
		Generation: entry.ObservedGeneration,
	}
	if p != nil {
		st = p.Status()
	}
	st.Owner = r.me
	st.StoreLast = max(r.readers.Last(store), st.Position)
	return st
}

// totals are over all pools of the instance.
type totals struct {
	Pools     int   `json:"pools"`
	Pending   int   `json:"pending"`
	InFlight  int   `json:"in_flight"`
	HeldBytes int64 `json:"held_bytes"`
}

func (r *reporter) totals() totals {
	statuses := r.statuses(nil)
	sum := totals{Pools: len(statuses), HeldBytes: r.budget.Used()}
	for _, p := range statuses {
		sum.Pending += p.Pending
		sum.InFlight += p.InFlight
	}
	return sum
}

// registerMetrics has metrics read from the pools when somebody asks, so that
// counting costs deliveries nothing.
func registerMetrics(m metric.Meter, reports *reporter) (metric.Registration, error) {
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
	return reg, errors.Join(append(errs, err)...)
}
