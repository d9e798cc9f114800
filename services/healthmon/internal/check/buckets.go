package check

import (
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/pkg/wire"
)

// buckets reports the buckets that do not exist.
func (j *judge) buckets() {
	for _, name := range j.s.Unasked {
		j.keep(wire.IssueMissingBucket, name, "")
	}
	for _, name := range j.s.Missing {
		j.raise(finding{
			kind: wire.IssueMissingBucket, name: name,
			detail:   fmt.Sprintf("the bucket %s does not exist", name),
			evidence: map[string]any{"bucket": name, "missing": slices.Sorted(slices.Values(j.s.Missing)), "blind": j.s.Blind},
		}, j.s.At)
	}
}

// evGone is the evidence that a record went without having been deleted.
const evGone = "vanished"

// gone reports a subscription whose record went without having been deleted.
func (j *judge) gone(g Gone) {
	f := finding{
		kind: wire.IssueCorruptRecord, name: g.Name, detail: g.Detail,
		evidence: map[string]any{"bucket": "subscriptions", evGone: true},
	}
	if g.Last != nil {
		f.evidence["last_known_uid"], f.evidence["last_known_generation"] = g.Last.UID, g.Last.Generation
		f.repair = "restore_record"
	}
	j.raise(f, j.s.At)
}

// Known are the subscriptions that were there at the last sweep, or have been
// missed since.
func (m Memory) Known() []string {
	out := make([]string, 0, len(m.Statuses))
	for name := range m.Statuses {
		out = append(out, name)
	}
	for ref, h := range m.Issues {
		if ref.Kind == wire.IssueCorruptRecord && h.Issue.Evidence[evGone] == true {
			out = append(out, ref.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
