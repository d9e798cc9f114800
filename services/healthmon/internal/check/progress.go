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
// or by deliveries that their subscriber may still answer, for as long as each
// of them can last; time counts only while nothing explains it.
func (j *judge) progress(rec *wire.Record, p *Pool) float64 {
	prev := j.prev.progress[rec.Name]
	st, ok := j.live(rec)
	if !ok {
		if prev.claim.uid == rec.UID {
			j.next.progress[rec.Name] = prev
		}
		return j.silent(rec)
	}
	now := progress{claim: claim{st.UID, st.Owner, st.Epoch}, finished: st.Finished, at: j.s.At}
	var rate float64
	if prev.claim == now.claim && st.Finished >= prev.finished {
		if dt := now.at.Sub(prev.at).Seconds(); dt > 0 {
			rate = float64(st.Finished-prev.finished) / dt
		}
	}
	if (p.Next.Behind || st.Pending > 0) && !rec.Paused && !j.explained(rec, p, st) {
		now.stand(prev, still{marks: marksOf(p, st), patience: j.patience(rec, p, st)})
		j.stalled(rec, st, prev, now)
	}
	j.slowReading(rec, p, st, prev, &now)
	j.next.progress[rec.Name] = now
	return rate
}

// silent is for a pool whose owner did not say how it is: what was known
// stays, if the owner lives, but nothing is done about it.
func (j *judge) silent(rec *wire.Record) float64 {
	if j.owned(rec) {
		j.keep(wire.IssueSlowReading, rec.Name, rec.UID)
		j.keepOnly(wire.IssueStalledPool, rec.Name, rec.UID)
		return j.prev.Statuses[rec.Name].Rate
	}
	return 0
}

// hung reports whether the pool's reader is opened anew again and again and has
// read nothing since, although the store has more. That is no way to wait for
// anything, whatever the pool's deliveries wait for.
func hung(p *Pool, st wire.PoolStatus) bool { return p.Next.Behind && st.Reopened > 0 }

// marksOf are the marks that have to move: of a reader that hangs it is its
// position, since deliveries may be tried on meanwhile.
func marksOf(p *Pool, st wire.PoolStatus) marks {
	if hung(p, st) {
		return marks{position: st.Position}
	}
	m := marks{
		floor: st.Floor, position: st.Position, matched: st.Matched,
		delivered: st.Delivered, finished: st.Finished, parked: st.Parked,
	}
	if st.ExtendedAt != nil {
		m.extended = st.ExtendedAt.UTC().Round(0)
	}
	return m
}

// explained reports whether the pool says why its work stands still, where that
// may last for any time. What can be checked is not simply believed.
func (j *judge) explained(rec *wire.Record, p *Pool, st wire.PoolStatus) bool {
	switch {
	case st.Unreadable != "" || st.Unparked != "" || st.State == wire.PoolStoreLost:
		return true // an issue of its own
	case hung(p, st):
		return false
	case st.State == wire.PoolWaiting:
		return !j.heardOn(rec)
	case st.State == wire.PoolNotBegun:
		return !p.Next.Behind
	case breakerOpen(st):
		return !j.heardOn(rec) // nobody answers a probe
	default:
		return st.Parking > 0 || endless(st.State)
	}
}

// endless reports whether a state may last for any time and cannot be checked.
func endless(s wire.PoolState) bool {
	return s == wire.PoolPaused || s == wire.PoolNoReader || s == wire.PoolReleased
}

// heardOn reports whether it is known that somebody listens on the delivery
// subject of rec.
func (j *judge) heardOn(rec *wire.Record) bool {
	l := j.s.Listeners[rec.Spec.Deliver.Subject]
	return l.Known && l.count(rec) > 0
}

// stand counts how long work has stood still: on from prev where that saw the
// same, else anew. This look vouches for at most one step of the patience.
func (n *progress) stand(prev progress, s still) {
	s.since, s.looks = n.at, 1
	if was := prev.still; prev.claim == n.claim && was.marks == s.marks && was.patience == s.patience && was.looks > 0 {
		s.since, s.looks = was.since, was.looks+1
		s.watched = was.watched + max(0, min(n.at.Sub(prev.at), step(s.patience)))
	}
	n.still = s
}

// maxDelay is the longest that a subscriber can ask to be left alone.
const maxDelay = time.Hour

// patience is how long work may stand still: twice what may lie between two
// signs of life of a pool in that state, and never less than configured.
func (j *judge) patience(rec *wire.Record, p *Pool, st wire.PoolStatus) time.Duration {
	var wait time.Duration
	if st.InFlight > 0 {
		// A delivery may stay unanswered for ack_wait; then it is tried
		// again or parked, and both are progress.
		wait = rec.Spec.AckWait.Std()
	}
	switch {
	case hung(p, st):
		wait = 0
	case breakerOpen(st): // a probe every open_for
		wait = rec.Spec.AckWait.Std() + rec.Spec.Breaker.OpenFor.Std()
	case st.Retrying > 0 || st.State == wire.PoolBlocked:
		wait = rec.Spec.AckWait.Std() + max(maxDelay, rec.Spec.Retry.MaxBackoff.Std())
	}
	return max(j.cfg.StallAfter, 2*wait)
}

// step is how much of a patience one look vouches for, rounded up.
func step(patience time.Duration) time.Duration { return (patience + stallSteps - 1) / stallSteps }

// stalled raises the issue once the work has stood still for too long, and
// keeps it until the pool is seen to move: a new claim alone is no cure. But a
// claim is restarted only after it has been watched itself.
func (j *judge) stalled(rec *wire.Record, st wire.PoolStatus, prev, now progress) {
	s, next := now.still, j.pools[rec.Name].Next
	f := finding{kind: wire.IssueStalledPool, name: rec.Name, uid: rec.UID, repair: "restart_pool"}
	if s.watched < s.patience {
		j.again(min(s.patience-s.watched, step(s.patience)))
		if !j.stillStalled(st, prev, now) {
			return
		}
		f.repair = ""
	}
	f.evidence = map[string]any{
		"owner": st.Owner, "epoch": st.Epoch, "state": string(st.State), "floor": st.Floor,
		"position": st.Position, "pending": st.Pending, "in_flight": st.InFlight,
		"delivered": st.Delivered, "finished": st.Finished, "unread": next.Behind, evReopened: st.Reopened,
		"store_last": j.s.Stores[rec.Spec.Store].Last,
		"looks":      s.looks, "watched_ms": s.watched.Milliseconds(), "stood_ms": now.at.Sub(s.since).Milliseconds(),
	}
	if next.Fault != "" {
		f.evidence["next_sequence"], f.evidence["next_fault"] = next.Sequence, next.Fault
	}
	f.detail = fmt.Sprintf("the pool has work and has not moved in %d looks over %s",
		s.looks, now.at.Sub(s.since).Round(time.Millisecond))
	switch {
	case f.repair == "":
		f.detail = "the pool has work, and has not been seen to move since it was found stalled"
	case hung(j.pools[rec.Name], st):
		f.detail = fmt.Sprintf("the reader stands at sequence %d of %d, however often it is opened anew", st.Position, j.s.Stores[rec.Spec.Store].Last)
	}
	j.raise(f, s.since)
}

// evReopened is the evidence of how often the reader was opened anew.
const evReopened = "reopened"

// stillStalled reports whether a pool that was stalled has not moved since, as
// far as that is known.
func (j *judge) stillStalled(st wire.PoolStatus, prev, now progress) bool {
	held, was := j.prev.Issues[Ref{wire.IssueStalledPool, st.Name}]
	if !was || held.UID != st.UID {
		return false
	}
	if prev.claim == now.claim {
		return prev.still.marks == now.still.marks
	}
	return !Moved(held.Issue.Evidence, st)
}

// Moved reports whether a pool has moved since the evidence of its stall was
// taken: only its reader can, where that was what hung. Of another claim than
// that of the evidence nothing is known.
func Moved(evidence map[string]any, st wire.PoolStatus) bool {
	if !SameClaim(evidence, st.Owner, st.Epoch) {
		return false
	}
	if reopened, ok := evidence[evReopened]; ok && !equal(reopened, 0) {
		return !equal(evidence["position"], st.Position)
	}
	return !equal(evidence["floor"], st.Floor) || !equal(evidence["position"], st.Position) ||
		!equal(evidence["delivered"], st.Delivered) || !equal(evidence["finished"], st.Finished)
}

// SameClaim reports whether evidence was taken of the claim of owner and epoch.
func SameClaim(evidence map[string]any, owner string, epoch uint64) bool {
	return evidence["owner"] == owner && equal(evidence["epoch"], epoch)
}

// equal compares a number of evidence, which was made here or came back from
// JSON, with n.
func equal(v any, n uint64) bool {
	switch v := v.(type) {
	case int:
		return v >= 0 && uint64(v) == n
	case uint64:
		return v == n
	case float64:
		return v == float64(n)
	default:
		return false
	}
}
