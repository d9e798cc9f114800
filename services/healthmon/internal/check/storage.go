package check

import (
	"fmt"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Room is how much one of Sluice's own buckets or streams holds, in bytes, and
// how much it may hold; 0 is any amount.
type Room struct{ Bytes, Max uint64 }

// How full, in percent, is worth an issue, and no longer is.
const (
	nearFull = 90
	notNear  = 85
)

// storage judges how full Sluice's own buckets and streams are.
func (j *judge) storage() {
	for name, r := range j.s.Buckets.Rooms {
		ref := Ref{wire.IssueStorageFull, name}
		limit := uint64(nearFull)
		if _, held := j.prev.Issues[ref]; held {
			limit = notNear
		}
		if r.Max == 0 || r.Bytes*100 < r.Max*limit {
			continue
		}
		j.raise(finding{
			kind: ref.Kind, name: name,
			detail:   fmt.Sprintf("%s holds %d %% of the bytes that it may; at 100 %% nothing more is written", name, r.Bytes*100/r.Max),
			evidence: map[string]any{"bytes": r.Bytes, "max_bytes": r.Max},
		}, j.s.At)
	}
	for ref := range j.prev.Issues {
		if _, seen := j.s.Buckets.Rooms[ref.Name]; ref.Kind == wire.IssueStorageFull && !seen {
			j.keep(ref.Kind, ref.Name, "")
		}
	}
}

// evWaiting is the evidence of how many subscriptions have events that cannot be
// parked.
const evWaiting = "subscription_count"

// unparked raises the issue of the parked stream for the subscriptions whose
// events it has no room for, whatever it is that is full.
func (j *judge) unparked() {
	ref := Ref{wire.IssueStorageFull, j.s.Buckets.Parked}
	var affected []*wire.Record
	var why string
	silent := false
	for i := range j.s.Records {
		rec := j.s.Records[i].Record
		if rec == nil {
			continue
		}
		live, ok := j.live(rec)
		silent = silent || !ok && j.owned(rec)
		if ok && live.Unparked != "" {
			affected, why = append(affected, rec), live.Unparked
		}
	}
	held := j.prev.Issues[ref].Issue.Evidence[evWaiting]
	switch {
	case len(affected) > 0:
		r := j.s.Buckets.Rooms[ref.Name]
		j.raise(finding{
			kind: ref.Kind, name: ref.Name, detail: fmt.Sprintf("%d subscriptions hold events that cannot be parked: %s", len(affected), why),
			evidence: map[string]any{
				"bytes": r.Bytes, "max_bytes": r.Max, "subscriptions": names(affected), evWaiting: len(affected),
			},
		}, j.s.At)
		j.concern(ref, affected)
	case silent && held != nil:
		j.keep(ref.Kind, ref.Name, "")
	}
}
