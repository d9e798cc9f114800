package preview

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

const (
	// maxValues bounds the types, and the keys, that are told apart.
	maxValues = 1 << 16
	top       = 10
)

// tally counts the events that match.
type tally struct {
	what Range

	looked, events, bytes, costly uint64

	first, last *wire.ReplayPlace
	types, keys map[string]uint64
	partial     bool
}

func newTally(r Range) *tally {
	return &tally{what: r, types: map[string]uint64{}, keys: map[string]uint64{}}
}

// add looks at an event of the store.
func (t *tally) add(e *event.Event) {
	t.looked++
	v := t.what.Matcher.Judge(&e.Event)
	if v == pattern.Matches && t.what.Also != nil {
		v = t.what.Also.Judge(&e.Event)
	}
	switch v {
	case pattern.NoMatch:
		return
	case pattern.TooCostly:
		t.costly++
		return
	}
	t.events++
	t.bytes += uint64(len(e.Data))
	at := &wire.ReplayPlace{Sequence: e.Sequence, Time: e.Time.UTC()}
	if t.first == nil || at.Sequence < t.first.Sequence {
		t.first = at
	}
	if t.last == nil || at.Sequence > t.last.Sequence {
		t.last = at
	}
	t.count(t.types, e.Type)
	if key, alone := core.OrderingKey(t.what.OrderBy, e); !alone {
		t.count(t.keys, key)
	}
}

func (t *tally) count(into map[string]uint64, value string) {
	if _, known := into[value]; !known && len(into) >= maxValues {
		t.partial = true
		return
	}
	into[value]++
}

// plus adds what was counted elsewhere, each event of which stands for several.
func (t *tally) plus(s *tally, factor float64) {
	scale := func(n uint64) uint64 { return uint64(float64(n)*factor + 0.5) }
	t.looked += s.looked
	t.events += scale(s.events)
	t.bytes += scale(s.bytes)
	t.costly += scale(s.costly)
	t.partial = t.partial || s.partial
	if t.first == nil {
		t.first = s.first
	}
	if s.last != nil {
		t.last = s.last
	}
	for v, n := range s.types {
		t.types[v] += scale(n)
	}
	for v, n := range s.keys {
		t.keys[v] += scale(n)
	}
}

// become corrects an estimate of the events by their true number.
func (t *tally) become(n uint64) {
	if t.events > 0 {
		t.bytes = uint64(float64(t.bytes) / float64(t.events) * float64(n))
	}
	t.events = n
}

// most returns the most frequent values.
func most(counts map[string]uint64) (list []wire.ReplayCount) {
	for _, v := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	}) {
		if len(list) == top {
			break
		}
		list = append(list, wire.ReplayCount{Value: v, Events: counts[v]})
	}
	return list
}
