package check

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// progress judges whether a pool that has work gets on with it, and returns
// the rate at which it finishes events. Work that stands still is explained
// by a wait that the pool declares, by a backoff, or by deliveries that their
// subscriber may still answer; time counts only while nothing explains it.
func (j *judge) progress(rec *wire.Record, p *Pool) float64 {
	st, ok := j.live(rec)
	if !ok {
		if prev, had := j.prev.progress[rec.Name]; had && prev.uid == rec.UID {
			j.next.progress[rec.Name] = prev
		}
		return j.silent(rec)
	}
	now := progress{
		uid: st.UID, owner: st.Owner, epoch: st.Epoch, at: j.s.At, settled: st.Finished,
		marks: marks{
			position: st.Position, matched: st.Matched, delivered: st.Delivered,
			finished: st.Finished, parked: st.Parked,
		},
	}
	if st.ExtendedAt != nil {
		now.marks.extended = st.ExtendedAt.UTC().Round(0)
	}
	prev, had := j.prev.progress[rec.Name]
	same := had && prev.uid == now.uid && prev.owner == now.owner && prev.epoch == now.epoch
	var rate float64
	if same && now.settled >= prev.settled {
		if dt := now.at.Sub(prev.at).Seconds(); dt > 0 {
			rate = float64(now.settled-prev.settled) / dt
		}
	}
	unread := p.NextAt != nil
	work := unread || st.Pending > 0
	if work && !rec.Paused && !declared(st.State) && st.Retrying == 0 && st.Breaker != "open" && st.Breaker != "half-open" {
		now.workAt = j.s.At
		if same && prev.marks == now.marks && !prev.workAt.IsZero() {
			now.workAt = prev.workAt
		}
		j.stalled(rec, st, now, unread)
	}
	j.next.progress[rec.Name] = now
	return rate
}

// silent is for a pool whose owner did not say how it is: what was known
// stays, if the owner lives.
func (j *judge) silent(rec *wire.Record) float64 {
	p := j.pools[rec.Name]
	if p != nil && p.Pool != nil && p.Pool.UID == rec.UID && j.s.Emitters[p.Pool.Owner] {
		j.keep(wire.IssueStalledPool, rec.Name, rec.UID)
		return j.prev.Statuses[rec.Name].Rate
	}
	return 0
}

// stalled raises the issue once the work has stood still for too long.
func (j *judge) stalled(rec *wire.Record, st wire.PoolStatus, now progress, unread bool) {
	patience := j.cfg.StallAfter
	if st.InFlight > 0 {
		// A delivery may stay unanswered for ack_wait; then it is tried
		// again or parked, and both are progress.
		patience = max(patience, 2*rec.Spec.AckWait.Std())
	}
	stood := j.s.At.Sub(now.workAt)
	held, was := j.prev.Issues[Ref{wire.IssueStalledPool, rec.Name}]
	still := was && held.UID == rec.UID && (stood > 0 || len(j.prev.progress) == 0)
	if stood < patience && !still {
		j.again(patience - stood)
		return
	}
	f := finding{
		kind: wire.IssueStalledPool, name: rec.Name, uid: rec.UID,
		detail: fmt.Sprintf("the pool has work and has not moved for %s", stood.Round(time.Millisecond)),
		evidence: map[string]any{
			"owner": st.Owner, "epoch": st.Epoch, "state": string(st.State), "floor": st.Floor,
			"position": st.Position, "pending": st.Pending, "in_flight": st.InFlight,
			"delivered": st.Delivered, "finished": st.Finished, "unread": unread,
			"store_last": j.s.Stores[rec.Spec.Store].Last, "stood_ms": stood.Milliseconds(),
		},
		repair: "restart_pool",
	}
	j.raise(f, now.workAt)
}

// statuses makes the status of every subscription, in the order of the records.
func (j *judge) statuses(issues []wire.Issue, rates map[string]float64) []wire.SubscriptionHealth {
	own := map[string][]wire.Issue{}
	for _, i := range issues {
		if i.Kind == wire.IssueLostStore {
			continue
		}
		own[i.Name] = append(own[i.Name], i)
	}
	lost := map[string]wire.Issue{}
	for _, i := range issues {
		if i.Kind == wire.IssueLostStore {
			lost[i.Name] = i
		}
	}
	out := make([]wire.SubscriptionHealth, 0, len(j.s.Records))
	for i := range j.s.Records {
		r := &j.s.Records[i]
		mine := own[r.Key]
		if rec := r.Record; rec != nil {
			st := j.s.Stores[rec.Spec.Store]
			if l, ok := lost[rec.Spec.Store]; ok && (!st.Known || !st.Exists || otherStore(rec, st)) {
				mine = append(mine, l)
			}
		}
		out = append(out, j.status(r, mine, rates[r.Key]))
	}
	return out
}

// status makes the status of one subscription from its issues.
func (j *judge) status(r *Record, mine []wire.Issue, rate float64) wire.SubscriptionHealth {
	h := wire.SubscriptionHealth{
		Name: r.Key, Status: worst(mine), Reasons: make([]string, 0, len(mine)),
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
		h.Listeners = j.s.Listeners[rec.Spec.Deliver.Subject].Count
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
