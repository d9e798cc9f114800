package check

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// stallSteps is in how many steps a stall is watched: a look vouches for at
// most one such part of the patience. So it takes four answers of the owner,
// spread over all of the time, to call something a stall, and a machine that
// is too busy to run the emitter or the monitor, or that was suspended, uses up
// one part however long that lasted.
const stallSteps = 3

// progress judges whether a pool that has work gets on with it, and returns
// the rate at which it finishes events. It goes by what the owner answers and
// by nothing else: the checkpoint in the pool's entry is late by design. Work
// that stands still is explained by a wait that the pool declares, by a backoff
// or by deliveries that their subscriber may still answer; time counts only
// while nothing explains it.
func (j *judge) progress(rec *wire.Record, p *Pool) float64 {
	prev := j.prev.progress[rec.Name]
	st, ok := j.live(rec)
	if !ok {
		if prev.claim.uid == rec.UID {
			j.next.progress[rec.Name] = prev
		}
		return j.silent(rec)
	}
	now := progress{claim: claim{st.UID, st.Owner, st.Epoch}, marks: marksOf(st), at: j.s.At}
	var rate float64
	if prev.claim == now.claim && st.Finished >= prev.marks.finished {
		if dt := now.at.Sub(prev.at).Seconds(); dt > 0 {
			rate = float64(st.Finished-prev.marks.finished) / dt
		}
	}
	if (p.NextAt != nil || st.Pending > 0) && !rec.Paused && !explained(st) {
		now.stand(prev, step(j.patience(rec, st)))
		j.stalled(rec, st, prev, now)
	}
	j.next.progress[rec.Name] = now
	return rate
}

// silent is for a pool whose owner did not say how it is: what was known
// stays, if the owner lives, but nothing is done about it.
func (j *judge) silent(rec *wire.Record) float64 {
	if j.owned(rec) {
		j.keepOnly(wire.IssueStalledPool, rec.Name, rec.UID)
		return j.prev.Statuses[rec.Name].Rate
	}
	return 0
}

func marksOf(st wire.PoolStatus) marks {
	m := marks{
		floor: st.Floor, position: st.Position, matched: st.Matched,
		delivered: st.Delivered, finished: st.Finished, parked: st.Parked,
	}
	if st.ExtendedAt != nil {
		m.extended = st.ExtendedAt.UTC().Round(0)
	}
	return m
}

// explained reports whether the pool itself says why its work stands still.
func explained(st wire.PoolStatus) bool {
	return declared(st.State) || st.Retrying > 0 || st.Parking > 0 || st.Breaker == "open" || st.Breaker == "half-open"
}

// stand counts how long work has stood still: on from prev where that saw the
// same, else anew. This look vouches for at most the given part of the time.
func (n *progress) stand(prev progress, most time.Duration) {
	n.stillAt, n.looks = n.at, 1
	if prev.claim == n.claim && prev.marks == n.marks && !prev.stillAt.IsZero() {
		n.stillAt, n.looks = prev.stillAt, prev.looks+1
		n.watched = prev.watched + max(0, min(n.at.Sub(prev.at), most))
	}
}

// patience is how long work may stand still without an explanation.
func (j *judge) patience(rec *wire.Record, st wire.PoolStatus) time.Duration {
	if st.InFlight > 0 {
		// A delivery may stay unanswered for ack_wait; then it is tried
		// again or parked, and both are progress.
		return max(j.cfg.StallAfter, 2*rec.Spec.AckWait.Std())
	}
	return j.cfg.StallAfter
}

// step is how much of a patience one look vouches for, rounded up.
func step(patience time.Duration) time.Duration { return (patience + stallSteps - 1) / stallSteps }

// stalled raises the issue once the work has stood still for too long, and
// keeps it until the pool is seen to move: a new claim alone is no cure. But a
// claim is restarted only after it has been watched itself.
func (j *judge) stalled(rec *wire.Record, st wire.PoolStatus, prev, now progress) {
	patience := j.patience(rec, st)
	f := finding{kind: wire.IssueStalledPool, name: rec.Name, uid: rec.UID, repair: "restart_pool"}
	if now.watched < patience {
		j.again(min(patience-now.watched, step(patience)))
		if !j.stillStalled(st, prev, now) {
			return
		}
		f.repair = ""
	}
	f.evidence = map[string]any{
		"owner": st.Owner, "epoch": st.Epoch, "state": string(st.State), "floor": st.Floor,
		"position": st.Position, "pending": st.Pending, "in_flight": st.InFlight,
		"delivered": st.Delivered, "finished": st.Finished, "unread": j.pools[rec.Name].NextAt != nil,
		"store_last": j.s.Stores[rec.Spec.Store].Last,
		"looks":      now.looks, "watched_ms": now.watched.Milliseconds(), "stood_ms": now.at.Sub(now.stillAt).Milliseconds(),
	}
	f.detail = fmt.Sprintf("the pool has work and has not moved in %d looks over %s",
		now.looks, now.at.Sub(now.stillAt).Round(time.Millisecond))
	if f.repair == "" {
		f.detail = "the pool has work, and has not been seen to move since it was found stalled"
	}
	j.raise(f, now.stillAt)
}

// stillStalled reports whether a pool that was stalled has not moved since, as
// far as that is known.
func (j *judge) stillStalled(st wire.PoolStatus, prev, now progress) bool {
	held, was := j.prev.Issues[Ref{wire.IssueStalledPool, st.Name}]
	if !was || held.UID != st.UID {
		return false
	}
	if prev.claim == now.claim {
		return prev.marks == now.marks
	}
	return !Moved(held.Issue.Evidence, st)
}

// Moved reports whether a pool has moved since the evidence of its stall was
// taken. Of another claim than that of the evidence nothing is known.
func Moved(evidence map[string]any, st wire.PoolStatus) bool {
	return SameClaim(evidence, st.Owner, st.Epoch) &&
		(!equal(evidence["floor"], st.Floor) || !equal(evidence["position"], st.Position) ||
			!equal(evidence["delivered"], st.Delivered) || !equal(evidence["finished"], st.Finished))
}

// SameClaim reports whether evidence was taken of the claim of owner and epoch.
func SameClaim(evidence map[string]any, owner string, epoch uint64) bool {
	return evidence["owner"] == owner && equal(evidence["epoch"], epoch)
}

// equal compares a number of evidence, which was made here or came back from
// JSON, with n.
func equal(v any, n uint64) bool {
	switch v := v.(type) {
	case uint64:
		return v == n
	case float64:
		return v == float64(n)
	default:
		return false
	}
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
		if rec := r.Record; rec != nil && j.lost[rec.Name] {
			mine = append(mine, lost[rec.Spec.Store])
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
