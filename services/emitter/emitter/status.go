package emitter

import (
	"encoding/json"
	"time"

	"github.com/rs/zerolog"

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
	if len(req.Body) > 0 {
		if err := json.Unmarshal(req.Body, &q); err != nil {
			bad = wire.Errorf(wire.CodeBadJSON, "the question cannot be read: %s", err)
		}
	}
	var pools []wire.PoolStatus
	now := time.Now().UTC()
	if bad == nil {
		pools = r.statuses(q.Names)
	}
	if err := req.Answer(wire.PoolsResponse{Pools: pools, At: &now}, bad); err != nil {
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
