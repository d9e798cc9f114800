package healthmon

import (
	"time"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// decoded are the entries of a local copy as they were read at the last look, in
// the order of their keys. It holds what the copy showed then, and nothing else.
type decoded[V any] struct {
	read    func(subscription.Entry) V
	entries []decodedEntry[V]
}

type decodedEntry[V any] struct {
	key      string
	revision uint64
	created  time.Time
	value    V
}

// of returns what the live entries of a copy, sorted by key, say. Each revision
// is read once: another bucket may have the same one, but not of the same time.
// What is returned belongs to the caller, but for what its pointers point to.
func (d *decoded[V]) of(live []mirror.Entry) []V {
	before, i := d.entries, 0
	entries, values := make([]decodedEntry[V], 0, len(live)), make([]V, 0, len(live))
	for _, e := range live {
		if !wire.ValidName(e.Key) {
			continue
		}
		for i < len(before) && before[i].key < e.Key {
			i++
		}
		now := decodedEntry[V]{key: e.Key, revision: e.Revision, created: e.Created}
		if i < len(before) && before[i].key == e.Key && before[i].revision == e.Revision && before[i].created.Equal(e.Created) {
			now.value = before[i].value
		} else {
			now.value = d.read(e)
		}
		entries, values = append(entries, now), append(values, now.value)
	}
	d.entries = entries
	return values
}
