package check

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// statuses makes the status of every subscription, in the order of the records.
// Those of the sweep before stay, as of that time, where nothing could be seen.
func (j *judge) statuses(rates map[string]float64) []wire.SubscriptionHealth {
	if j.s.Buckets.Blind {
		return slices.SortedFunc(maps.Values(j.prev.Statuses), func(a, b wire.SubscriptionHealth) int {
			return cmp.Compare(a.Name, b.Name)
		})
	}
	own := map[string][]wire.Issue{}
	for ref, h := range j.found {
		if OfSubscription(ref.Kind) {
			own[ref.Name] = append(own[ref.Name], h.Issue)
		}
	}
	out := make([]wire.SubscriptionHealth, 0, len(j.s.Records))
	for i := range j.s.Records {
		r := &j.s.Records[i]
		mine := own[r.Key]
		for _, ref := range j.stores[r.Key] {
			mine = append(mine, j.found[ref].Issue)
		}
		slices.SortFunc(mine, j.inOrder)
		out = append(out, j.status(r, mine, rates[r.Key]))
	}
	return out
}

// status makes the status of one subscription from its issues.
func (j *judge) status(r *Record, mine []wire.Issue, rate float64) wire.SubscriptionHealth {
	h := wire.SubscriptionHealth{
		Name: r.Key, Status: Worst(mine), Reasons: make([]string, 0, len(mine)),
		State: wire.StateUnclaimed, Rate: rate, Since: j.s.At.UTC().Round(0), CheckedAt: j.s.At.UTC().Round(0),
	}
	for _, i := range mine {
		h.Reasons = append(h.Reasons, i.Kind+": "+i.Detail)
	}
	if rec := r.Record; rec != nil {
		p := j.pools[r.Key]
		if p != nil && p.Pool != nil && p.Pool.UID == rec.UID {
			h.State, h.Owner, h.Epoch = string(p.Pool.State), p.Pool.Owner, p.Pool.Epoch
		}
		if st, ok := j.live(rec); ok {
			h.State = string(st.State)
		}
		if rec.Paused && h.Status != wire.StatusFailing {
			h.Status = "paused"
		}
		h.Lag = j.lag(rec, p)
		h.LagAge = wire.Duration(j.lagAge(rec, p).Round(time.Millisecond))
		h.Parked = j.s.Parked[rec.Name]
		h.Listeners = j.s.Listeners[rec.Spec.Deliver.Subject].count(rec)
	}
	if prev, ok := j.prev.Statuses[r.Key]; ok {
		if prev.Status == h.Status {
			h.Since = prev.Since
		}
		if !j.s.ParkedKnown {
			h.Parked = prev.Parked
		}
	}
	return h
}
