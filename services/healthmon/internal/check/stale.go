package check

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// heard is what was last known of when an owner heard of a subscriber.
type heard struct {
	uid string    // the uid of the subscription
	at  time.Time // by the owner's clock; zero: never
}

// stale judges whether there is a subscriber: somebody who listens on the
// delivery subject at the time of the sweep, or who has answered since the one
// before. A subscriber that comes and goes may be missed by every probe.
func (j *judge) stale(r *Record) {
	rec := r.Record
	if rec.Spec.Deliver.HTTP != nil {
		return // whether anybody listens at a URL shows when it is called
	}
	ephemeral := rec.Spec.ExpireAfter > 0
	was, knew := j.heardBefore(rec)
	l, ok := j.s.Listeners[rec.Spec.Deliver.Subject]
	if !ok || !l.Known {
		j.keep(wire.IssueStale, rec.Name, rec.UID)
		if knew {
			j.next.heard[rec.Name] = was
		}
		return
	}
	now := heard{uid: rec.UID, at: was.at}
	if st, ok := j.live(rec); ok {
		if at := heardOf(rec, st); !at.IsZero() { // a new owner has heard nobody yet
			now.at = at
		}
	}
	j.next.heard[rec.Name] = now
	if l.count(rec) > 0 || rec.Paused && !ephemeral {
		return
	}
	f := finding{
		kind: wire.IssueStale, name: rec.Name, uid: rec.UID,
		detail: fmt.Sprintf("nobody listens on %q", rec.Spec.Deliver.Subject),
		evidence: map[string]any{
			"subject": rec.Spec.Deliver.Subject, "listeners": 0,
			"expire_after": rec.Spec.ExpireAfter.String(), "revision": r.Revision,
		},
	}
	if !now.at.IsZero() {
		f.evidence[lastHeardAt] = stamp(now.at)
	}
	if knew && !now.at.Equal(was.at) {
		f.notBefore = j.ours(now.at)
	}
	grace := j.cfg.Grace
	if ephemeral {
		f.repair = "remove_subscription"
		grace = min(grace, rec.Spec.ExpireAfter.Std())
	}
	j.lasting(f, r.Created, grace)
	if ephemeral {
		j.expiry(rec)
	}
}

// expiry notes an ephemeral subscription that has been stale for long enough.
// While a live owner is silent it may hear a subscriber that nobody knows of.
func (j *judge) expiry(rec *wire.Record) {
	held, ok := j.found[Ref{wire.IssueStale, rec.Name}]
	if !ok || j.owned(rec) && !j.answered(rec) {
		return
	}
	left := rec.Spec.ExpireAfter.Std() - j.s.At.Sub(held.Issue.Since)
	if left <= 0 {
		j.expired[rec.Name] = true
		return
	}
	j.again(left)
}

// lastHeardAt is the evidence of when a subscriber was last heard, as its owner
// says, by the owner's clock.
const lastHeardAt = "last_heard_at"

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// heardBefore is what the sweep before knew; a new leader has it from the
// evidence of the issue. It is false where there was no sweep before.
func (j *judge) heardBefore(rec *wire.Record) (heard, bool) {
	if h, ok := j.prev.heard[rec.Name]; ok && h.uid == rec.UID {
		return h, true
	}
	held, ok := j.prev.Issues[Ref{wire.IssueStale, rec.Name}]
	if !ok || held.UID != rec.UID {
		return heard{}, false
	}
	text, _ := held.Issue.Evidence[lastHeardAt].(string)
	at, _ := time.Parse(time.RFC3339Nano, text) // zero: it was never heard
	return heard{uid: rec.UID, at: at}, true
}

// ours turns a time of an owner's clock, which is new since the sweep before,
// into one of ours. Clocks need not agree: what is not between the two sweeps
// counts as now, so that nothing expires early by more than is between them.
func (j *judge) ours(at time.Time) time.Time {
	if j.prev.at.IsZero() || at.Before(j.prev.at) || at.After(j.s.At) {
		return j.s.At
	}
	return at
}

// heardOf is when a subscriber last answered anything; zero is never. In mode
// publish nobody answers, and an event is finished whether or not it arrived.
func heardOf(rec *wire.Record, st wire.PoolStatus) time.Time {
	var last time.Time
	for _, at := range []*time.Time{st.HeardAt, st.ExtendedAt, st.LastAckAt} {
		if at != nil && rec.Spec.Deliver.Mode == wire.ModeAck {
			last = later(last, *at)
		}
	}
	return last
}

// HeardSince reports whether a subscriber has answered since the evidence of
// its absence was taken.
func HeardSince(evidence map[string]any, rec *wire.Record, st wire.PoolStatus) bool {
	at := heardOf(rec, st)
	return !at.IsZero() && evidence[lastHeardAt] != stamp(at)
}
