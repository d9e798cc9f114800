package registry

import (
	"sync"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// view is the records in memory, decoded once for each revision. It is fed by
// a mirror of the bucket and by the registry's own writes, whichever tells of
// a revision first. Only lists and the count are answered from it.
type view struct {
	ns wire.Namespace

	mu       sync.Mutex
	entries  map[string]*viewed
	order    order
	live     int // entries that are not gone
	reserved int // creations under way
	seen     uint64
}

type viewed struct {
	name     string
	placed   bool // in the order
	revision uint64
	record   *wire.Record // nil: gone, or unreadable
	gone     bool
	last     *wire.Record // the record, where it is gone although nobody deleted it
}

func newView(ns wire.Namespace) *view {
	return &view{ns: ns, entries: make(map[string]*viewed)}
}

// follow takes over what the mirror shows of key.
func (v *view) follow(m *mirror.Mirror, key string) {
	e, found := m.Get(key)
	defer v.saw(e.Revision)
	if !wire.ValidName(key) {
		return
	}
	next := viewed{revision: e.Revision, gone: !found || e.Deleted}
	if !next.gone {
		next.record, _ = subscription.DecodeRecord(e, v.ns) // unreadable: counted, not listed
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.entries[key]
	if known != nil && known.revision > next.revision && found && !e.Absent {
		return // the mirror is behind our own write
	}
	if e.Absent {
		next.last = known.lastKnown()
	}
	v.set(key, next)
}

// forget takes over that the bucket has nothing of key, not even that it was
// deleted. What vanished is remembered all the same.
func (v *view) forget(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.entries[key]; e != nil && e.gone && e.last == nil {
		delete(v.entries, key)
	}
}

// lastKnown is the record, also of a name that vanished; v may be nil.
func (v *viewed) lastKnown() *wire.Record {
	switch {
	case v == nil:
		return nil
	case v.gone:
		return v.last
	}
	return v.record
}

// vanished returns the last known record of a name of which the bucket knows
// nothing, not even that it was deleted; nil where none was seen, or it was
// deleted.
func (v *view) vanished(name string) *wire.Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.entries[name].lastKnown()
}

func (v *view) saw(revision uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen = max(v.seen, revision)
}

// newest is the highest revision that the mirror has told of.
func (v *view) newest() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen
}

// wrote takes over the registry's own write of a record.
func (v *view) wrote(r *wire.Record, revision uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.entries[r.Name]; e == nil || e.revision < revision {
		v.set(r.Name, viewed{revision: revision, record: r})
	}
}

// removed takes over the registry's own removal of the record at revision.
func (v *view) removed(name string, revision uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.entries[name]; e == nil || e.revision <= revision {
		v.set(name, viewed{revision: revision + 1, gone: true}) // the tombstone's is at least this
	}
}

// set makes the entry of key what next says.
func (v *view) set(key string, next viewed) {
	e := v.entries[key]
	switch {
	case e == nil:
		e = &viewed{name: key, gone: true}
		v.entries[key] = e
	case !e.gone:
		v.live--
	}
	if !next.gone {
		v.live++
	}
	had := e.record != nil
	e.revision, e.record, e.gone, e.last = next.revision, next.record, next.gone, next.last
	v.order.changed(e, had)
}

// reserve makes room for one more subscription until release is called, or
// returns false where there are limit.
func (v *view) reserve(limit int) (release func(), ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.live+v.reserved >= limit {
		return nil, false
	}
	v.reserved++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.reserved--
	}, true
}

// row is one record of the view.
type row struct {
	record   *wire.Record
	revision uint64
}

// page returns how many readable records keep says yes to, and those of them, by
// name, that begin at an offset, limit at most. A nil keep says yes to all.
func (v *view) page(offset, limit int, keep func(*wire.Record) bool) (total int, rows []row) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := v.order.settle()
	if keep == nil {
		begin := min(offset, len(all))
		for _, e := range all[begin:min(begin+limit, len(all))] {
			rows = append(rows, row{e.record, e.revision})
		}
		return len(all), rows
	}
	for _, e := range all {
		if !keep(e.record) {
			continue
		}
		if total >= offset && len(rows) < limit {
			rows = append(rows, row{e.record, e.revision})
		}
		total++
	}
	return total, rows
}
