package parked

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/park"
)

const (
	// maxValues bounds how many reasons, and how many types, are told apart.
	maxValues = 1000
	// maxValue bounds what is kept of each, in bytes.
	maxValue = 256
	top      = 10
)

// row is what is remembered of an event for as long as it takes to discard it.
type row struct {
	parked, sequence uint64
	reason, typ      string
	size             int
	at               time.Time
}

func rowOf(c *park.Copy) row {
	return row{
		parked: c.Parked, sequence: c.Event.Sequence, reason: clip(c.Reason), typ: clip(c.Event.Type),
		size: c.Size, at: c.StoredAt,
	}
}

// clip returns the beginning of a text, in memory of its own.
func clip(s string) string {
	if len(s) > maxValue {
		s = strings.ToValidUTF8(s[:maxValue], "") + "…"
	}
	return strings.Clone(s)
}

type age struct {
	name  string
	below time.Duration // 0: any
}

// ages are by what events are counted, the youngest first.
var ages = [...]age{
	{"under 1h", time.Hour},
	{"under 1d", 24 * time.Hour},
	{"under 7d", 7 * 24 * time.Hour},
	{"under 30d", 30 * 24 * time.Hour},
	{"30d and over", 0},
}

// tally counts events in bounded memory.
type tally struct {
	now            time.Time // by the server's clock
	events, bytes  uint64
	unjudged       uint64
	lowest, newest uint64 // sequences in the store
	reasons, types map[string]uint64
	ages           [len(ages)]uint64
}

func newTally(now time.Time) *tally {
	return &tally{now: now, reasons: map[string]uint64{}, types: map[string]uint64{}}
}

func (t *tally) add(r row) {
	if t.events == 0 || r.sequence < t.lowest {
		t.lowest = r.sequence
	}
	t.newest = max(t.newest, r.sequence)
	t.events++
	t.bytes += uint64(r.size)
	count(t.reasons, r.reason)
	count(t.types, r.typ)
	old := t.now.Sub(r.at)
	t.ages[slices.IndexFunc(ages[:], func(a age) bool { return a.below == 0 || old < a.below })]++
}

// count counts a value, unless it is a new one and there are many already.
func count(values map[string]uint64, value string) {
	if _, known := values[value]; known || len(values) < maxValues {
		values[value]++
	}
}

// counts are what answers say.
func (t *tally) counts() wire.ParkedCounts {
	c := wire.ParkedCounts{
		Events: t.events, Bytes: t.bytes, Unjudged: t.unjudged,
		ByReason: most(t.reasons), ByType: most(t.types), ByAge: make([]wire.ParkedCount, 0, len(ages)),
	}
	for i, n := range t.ages {
		c.ByAge = append(c.ByAge, wire.ParkedCount{Value: ages[i].name, Events: n})
	}
	return c
}

// most are the most frequent values, those of the same number by name.
func most(values map[string]uint64) []wire.ParkedCount {
	all := make([]wire.ParkedCount, 0, len(values))
	for v, n := range values {
		all = append(all, wire.ParkedCount{Value: v, Events: n})
	}
	slices.SortFunc(all, func(a, b wire.ParkedCount) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), strings.Compare(a.Value, b.Value))
	})
	return all[:min(len(all), top)]
}
