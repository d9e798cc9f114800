package check

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// record judges one subscription and returns the rate at which its pool
// finishes events.
func (j *judge) record(r *Record, p *Pool) float64 {
	rec := r.Record
	var pool *wire.Pool
	if p != nil && p.Pool != nil && p.Pool.UID == rec.UID {
		pool = p.Pool
	}
	unreadable := p != nil && p.Pool == nil
	j.stale(r)
	if unreadable {
		j.keep(wire.IssueMissingPool, rec.Name, rec.UID)
	} else {
		j.missing(r, pool)
	}
	j.unobserved(r, pool)
	j.parked(rec)
	j.gap(rec, pool)
	j.breaker(rec, pool)
	j.captured(r)
	j.costly(rec)
	rate := j.progress(rec, p)
	j.lagging(rec, p)
	return rate
}

// missing judges whether the subscription has an owner that lives and, as far
// as it answers, has the pool.
func (j *judge) missing(r *Record, pool *wire.Pool) {
	rec := r.Record
	f := finding{
		kind: wire.IssueMissingPool, name: rec.Name, uid: rec.UID, repair: "start_pool",
		evidence: map[string]any{
			"emitters": len(j.s.Emitters), "revision": r.Revision, "generation": rec.Generation,
		},
	}
	var since time.Time
	owned := j.owned(rec)
	switch {
	case rec.Paused:
		return
	case owned && !j.answered(rec):
		j.keepDisowned(rec, pool)
		return
	case owned && j.has(rec):
		return
	case owned:
		f.detail = fmt.Sprintf("the pool's owner %s answers that it does not have it", pool.Owner)
		f.repair, f.evidence["listed"] = "restart_pool", false
		f.claim = claim{pool.UID, pool.Owner, pool.Epoch}
	case pool == nil:
		f.detail = "no emitter has claimed the subscription"
		if prev, ok := j.prev.Statuses[rec.Name]; !ok || prev.State == wire.StateUnclaimed {
			since = r.Created
		} else {
			f.notBefore = j.s.At // it had a pool when last seen; that holds for the next sweep too
		}
	case pool.Owner == "":
		f.detail = "the pool was released and no emitter has claimed it"
	default:
		f.detail = fmt.Sprintf("the pool's owner %s is gone", pool.Owner)
	}
	if pool != nil {
		f.evidence["owner"], f.evidence["epoch"] = pool.Owner, pool.Epoch
	}
	j.lasting(f, since, j.cfg.Grace)
}

// keepDisowned is for an owner that is silent: what it said earlier of the
// same claim stays.
func (j *judge) keepDisowned(rec *wire.Record, pool *wire.Pool) {
	ref := Ref{wire.IssueMissingPool, rec.Name}
	held := j.prev.Issues[ref].Issue.Evidence
	said := held["listed"] == false && SameClaim(held, pool.Owner, pool.Epoch)
	if said || j.prev.suspects[ref].claim == (claim{pool.UID, pool.Owner, pool.Epoch}) {
		j.keepOnly(wire.IssueMissingPool, rec.Name, rec.UID)
	}
}

// unobserved judges whether the owner runs by the latest generation.
func (j *judge) unobserved(r *Record, pool *wire.Pool) {
	rec := r.Record
	if pool == nil || pool.ObservedGeneration >= rec.Generation || !j.s.Emitters[pool.Owner] {
		return
	}
	j.lasting(finding{
		kind: wire.IssueUnobservedChange, name: rec.Name, uid: rec.UID,
		detail: fmt.Sprintf("the pool runs by generation %d of %d", pool.ObservedGeneration, rec.Generation),
		evidence: map[string]any{
			"generation": rec.Generation, "observed_generation": pool.ObservedGeneration,
			"revision": r.Revision, "observed_revision": pool.ObservedRevision, "owner": pool.Owner,
		},
		repair: "reconcile_pool",
	}, r.Created, j.cfg.Grace)
}

func (j *judge) parked(rec *wire.Record) {
	if !j.s.ParkedKnown {
		j.keep(wire.IssueParkedEvents, rec.Name, rec.UID)
		return
	}
	if n := j.s.Parked[rec.Name]; n > 0 {
		j.raise(finding{
			kind: wire.IssueParkedEvents, name: rec.Name, uid: rec.UID,
			detail:   fmt.Sprintf("%d events are parked", n),
			evidence: map[string]any{"parked": n},
		}, j.s.At)
	}
}

func (j *judge) breaker(rec *wire.Record, pool *wire.Pool) {
	st, ok := j.live(rec)
	open := ok && breakerOpen(st)
	if !ok {
		open = pool != nil && pool.State == wire.PoolBreakerOpen && j.s.Emitters[pool.Owner]
	}
	if !open {
		return
	}
	ev := map[string]any{"failures": rec.Spec.Breaker.Failures, "open_for": rec.Spec.Breaker.OpenFor.String()}
	detail := "the breaker is open: deliveries fail one after the other, events wait"
	if ok {
		ev["breaker"], ev["pending"] = st.Breaker, st.Pending
	}
	j.raise(finding{
		kind: wire.IssueOpenBreaker, name: rec.Name, uid: rec.UID, detail: detail, evidence: ev,
	}, j.s.At)
}

func breakerOpen(st wire.PoolStatus) bool {
	return st.Breaker == "open" || st.Breaker == "half-open" || st.State == wire.PoolBreakerOpen
}

// live is what the owner of a record's pool says of it, if it is of the same
// claim as the pool entry.
func (j *judge) live(rec *wire.Record) (wire.PoolStatus, bool) {
	st, ok := j.s.Statuses[rec.Name]
	p := j.pools[rec.Name]
	if !ok || st.UID != rec.UID || p == nil || p.Pool == nil ||
		p.Pool.Owner != st.Owner || p.Pool.Epoch != st.Epoch {
		return wire.PoolStatus{}, false
	}
	return st, true
}

// has reports whether the owner of a record's pool says that it has it.
func (j *judge) has(rec *wire.Record) bool {
	_, ok := j.live(rec)
	return ok
}

// owned reports whether the entry of a record's pool names a live owner.
func (j *judge) owned(rec *wire.Record) bool {
	p := j.pools[rec.Name]
	return p != nil && p.Pool != nil && p.Pool.UID == rec.UID && j.s.Emitters[p.Pool.Owner]
}

// answered reports whether the owner of a record's pool answered when it was
// asked about it, whatever it said.
func (j *judge) answered(rec *wire.Record) bool {
	p := j.pools[rec.Name]
	return j.has(rec) || p != nil && p.Pool != nil && p.Pool.Owner != "" && j.s.Answered[rec.Name] == p.Pool.Owner
}

// lagAge is the age of the oldest event that is not finished; 0 where there
// is none or it is not known.
func (j *judge) lagAge(rec *wire.Record, p *Pool) time.Duration {
	var oldest time.Time
	if st, ok := j.live(rec); ok && st.OldestAt != nil {
		oldest = *st.OldestAt
	}
	if p != nil && !p.Next.At.IsZero() && (oldest.IsZero() || p.Next.At.Before(oldest)) {
		oldest = p.Next.At
	}
	if oldest.IsZero() {
		return 0
	}
	return max(0, j.s.At.Sub(oldest))
}

func (j *judge) lagging(rec *wire.Record, p *Pool) {
	age := j.lagAge(rec, p)
	if rec.Paused || age <= j.cfg.LagAge {
		return
	}
	j.raise(finding{
		kind: wire.IssueLaggingPool, name: rec.Name, uid: rec.UID,
		detail: fmt.Sprintf("the oldest unfinished event is older than %s", j.cfg.LagAge),
		evidence: map[string]any{
			"lag": j.lag(rec, p), "lag_age": wire.Duration(age.Round(time.Millisecond)).String(),
			"threshold": wire.Duration(j.cfg.LagAge).String(),
		},
	}, j.s.At)
}

// lag counts the stored events after the floor, matching or not.
func (j *judge) lag(rec *wire.Record, p *Pool) uint64 {
	store := j.s.Stores[rec.Spec.Store]
	if !store.Known || !store.Exists || otherStore(rec, store) {
		return 0
	}
	floor := uint64(0)
	if rec.StartSequence > 0 {
		floor = rec.StartSequence - 1
	}
	if p != nil && p.Pool != nil && p.Pool.UID == rec.UID {
		floor = p.Pool.Checkpoint.Floor
	}
	if st, ok := j.live(rec); ok {
		floor = max(floor, st.Floor)
	}
	if store.First > 0 {
		floor = max(floor, store.First-1)
	}
	if store.Last <= floor {
		return 0
	}
	return store.Last - floor
}
