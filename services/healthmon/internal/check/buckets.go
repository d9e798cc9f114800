package check

import (
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Buckets is what was seen of Sluice's own buckets and streams.
type Buckets struct {
	// Missing are the buckets that do not exist. Blind is set where one is among
	// them without which records and pools cannot be judged.
	Missing []string
	Blind   bool
	Unasked []string // the buckets that could not be looked at
	// Rooms says how full the buckets and streams are that were looked at.
	Rooms  map[string]Room
	Parked string // the stream of parked events
}

// Has reports whether a bucket may exist.
func (b Buckets) Has(bucket string) bool { return !slices.Contains(b.Missing, bucket) }

// buckets reports the buckets that do not exist.
func (j *judge) buckets() {
	for _, name := range j.s.Buckets.Unasked {
		j.keep(wire.IssueMissingBucket, name, "")
	}
	for _, name := range j.s.Buckets.Missing {
		j.raise(finding{
			kind: wire.IssueMissingBucket, name: name,
			detail:   fmt.Sprintf("the bucket %s does not exist", name),
			evidence: map[string]any{"bucket": name, "missing": slices.Sorted(slices.Values(j.s.Buckets.Missing)), "blind": j.s.Buckets.Blind},
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
