package registry

import (
	"slices"
	"strings"
)

// order is the readable entries of the view by name, so that a page costs what is
// on it. Entries that come are sorted in when somebody looks, all at once; those
// that go leave a hole until then. It is under the view's mu.
type order struct {
	sorted []*viewed // holes included
	added  []*viewed // not sorted in yet, holes included
	holes  int       // entries of both without a record
}

// slack is how many entries may wait to be sorted in, or be holes, beyond as many
// as are listed: names that come and go while nobody looks cost nothing.
const slack = 1024

// changed notes that e has a record now, or has none any more.
func (o *order) changed(e *viewed, had bool) {
	has := e.record != nil
	switch {
	case had == has:
		return
	case had:
		o.holes++
	case e.placed:
		o.holes--
	default:
		e.placed = true
		o.added = append(o.added, e)
	}
	if len(o.added)+o.holes > len(o.sorted)+slack {
		o.settle()
	}
}

// settle sorts in what was added, drops the holes, and returns all entries.
func (o *order) settle() []*viewed {
	if len(o.added) == 0 && o.holes == 0 {
		return o.sorted
	}
	slices.SortFunc(o.added, func(a, b *viewed) int { return strings.Compare(a.name, b.name) })
	next := make([]*viewed, 0, len(o.sorted)+len(o.added)-o.holes)
	old, added := o.sorted, o.added
	for len(old) > 0 || len(added) > 0 {
		var e *viewed
		if len(added) == 0 || len(old) > 0 && old[0].name < added[0].name {
			e, old = old[0], old[1:]
		} else {
			e, added = added[0], added[1:]
		}
		if e.placed = e.record != nil; e.placed {
			next = append(next, e)
		}
	}
	*o = order{sorted: next}
	return next
}
