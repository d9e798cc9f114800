package healthmon

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
	"github.com/sluicehq/sluice/services/healthmon/internal/repair"
)

// outlasts is how long an issue has to last to have outlasted its repairs: as
// long as all of them take, each with the time that a stall is watched for.
func (c Config) outlasts() time.Duration {
	return time.Duration(c.CleanupMaxAttempts) * (c.CleanupRetryDelay + c.StallAfter)
}

// markNeeds says of each issue whether a person must see to it.
func (m *monitor) markNeeds(res *check.Result, snap check.Snapshot) {
	for _, list := range [][]wire.Issue{res.Issues, res.Raised} {
		for i := range list {
			ref := check.Ref{Kind: list[i].Kind, Name: list[i].Name}
			list[i].NeedsPerson = m.needsPerson(list[i], facts(list[i], *res, snap, false), snap.At)
			held := res.Memory.Issues[ref]
			held.Issue.NeedsPerson = list[i].NeedsPerson
			res.Memory.Issues[ref] = held
		}
	}
}

// needsPerson reports whether there is no repair for an issue, or it has outlasted
// it.
func (m *monitor) needsPerson(i wire.Issue, f repair.Facts, now time.Time) bool {
	ref := check.Ref{Kind: i.Kind, Name: i.Name}
	switch {
	case !repair.Possible(i, f):
		return true
	case i.Kind == wire.IssueStale: // which is removed when its time is over
		return m.book.Spent(ref, now)
	default:
		return m.book.Spent(ref, now) || now.Sub(i.Since) > m.outlasts()
	}
}

// words puts evidence into words: its members in the order of their names.
func words(evidence map[string]any) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(evidence)) {
		v, err := wire.Marshal(evidence[k])
		if err != nil {
			continue // what cannot be shown has no place in a report either
		}
		out = append(out, fmt.Sprintf("%s %s", k, v))
	}
	return strings.Join(out, ", ")
}
