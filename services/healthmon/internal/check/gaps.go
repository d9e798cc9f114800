package check

import (
	"fmt"

	"github.com/sluicehq/sluice/pkg/wire"
)

// gap reports the last range lost, until the subscription has been changed or
// resumed since.
func (j *judge) gap(rec *wire.Record, pool *wire.Pool) {
	var g *wire.Gap
	if pool != nil {
		g = pool.Gap
	}
	if st, ok := j.live(rec); ok && st.Gap != nil {
		g = st.Gap
	}
	if g == nil {
		return
	}
	since := g.Generation
	if rec.Paused && rec.Spec.OnGap == wire.GapPause {
		since++ // the pause that the gap itself brought about
	}
	if since < rec.Generation {
		return
	}
	kind, count := kindOf(g)
	j.raise(finding{
		kind: wire.IssueGap, name: rec.Name, uid: rec.UID, detail: lostEvents(g),
		evidence: map[string]any{
			"from": g.From, "to": g.To, "count": count, "kind": kind,
			"at": g.At.UTC(), "generation": g.Generation, "on_gap": rec.Spec.OnGap,
		},
	}, g.At)
}

// kindOf returns the kind of a gap and how many events it has. Entries of
// earlier versions have neither: their gaps are at the front, without events
// in between.
func kindOf(g *wire.Gap) (kind string, count uint64) {
	kind, count = g.Kind, g.Count
	if kind == "" {
		kind = wire.GapFront
	}
	if count == 0 {
		count = g.To - g.From + 1
	}
	return kind, count
}

// lostEvents says of a gap what is known.
func lostEvents(g *wire.Gap) string {
	kind, count := kindOf(g)
	if kind == wire.GapFront {
		return fmt.Sprintf("the store no longer held the events %d to %d when the pool came to read them", g.From, g.To)
	}
	return fmt.Sprintf("the store lost %d of the events %d to %d before the pool read them; whether they would have matched is not known",
		count, g.From, g.To)
}
