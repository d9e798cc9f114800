package check

import (
	"fmt"

	"github.com/sluicehq/sluice/pkg/wire"
)

// count is a number that an owner tells and that only grows while it owns the
// pool, and what it was when the pool began to run as it does now.
type count struct {
	claim      claim
	generation uint64
	base, now  uint64
}

// counted follows such a number and returns how much it has come to, and how much
// of that since the sweep before. A change of the subscription begins anew: what
// was counted before may have been about what was changed.
func (j *judge) counted(kind string, rec *wire.Record, st wire.PoolStatus, n uint64) (total, more uint64) {
	ref := Ref{kind, rec.Name}
	now := count{claim: claim{st.UID, st.Owner, st.Epoch}, generation: rec.Generation, now: n}
	was, ok := j.prev.counts[ref]
	switch {
	case !ok || was.claim != now.claim || was.now > n:
		now.base, was.now = j.baseOf(ref, now), 0
	case was.generation != rec.Generation:
		now.base = was.now
	default:
		now.base = was.base
	}
	j.next.counts[ref] = now
	return n - min(n, now.base), n - was.now
}

// evBase is the evidence of where a number began to count.
const evBase = "counted_from"

// baseOf is where a number began to count, as a new leader has it from the
// evidence of the issue.
func (j *judge) baseOf(ref Ref, now count) uint64 {
	ev := j.prev.Issues[ref].Issue.Evidence
	if !SameClaim(ev, now.claim.owner, now.claim.epoch) {
		return 0
	}
	switch v := ev[evBase].(type) {
	case uint64:
		return v
	case float64:
		return uint64(v)
	default:
		return 0
	}
}

// costly judges whether events were parked since they were too costly to judge.
func (j *judge) costly(rec *wire.Record) {
	st, ok := j.live(rec)
	if !ok {
		if j.owned(rec) {
			j.keep(wire.IssueTooCostly, rec.Name, rec.UID)
		}
		return
	}
	total, _ := j.counted(wire.IssueTooCostly, rec, st, st.TooCostly)
	if total == 0 {
		return
	}
	j.raise(finding{
		kind: wire.IssueTooCostly, name: rec.Name, uid: rec.UID,
		detail: fmt.Sprintf("%d events were parked since matching them would have cost too much", total),
		evidence: map[string]any{
			"events": total, "owner": st.Owner, "epoch": st.Epoch, "generation": rec.Generation,
			evBase: st.TooCostly - total,
		},
	}, j.s.At)
}
