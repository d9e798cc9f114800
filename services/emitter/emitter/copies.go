package emitter

import (
	"bytes"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/wire"
)

// copies are the local copies of the buckets.
type copies struct{ records, pools *mirror.Mirror }

func newCopies(records, pools mirror.Bucket, queue *workQueue, opts mirror.Options) copies {
	opts.OnChange = func(name string) { queue.add(name) }
	ofPools := opts
	ofPools.Same = sameClaim
	return copies{mirror.New(records, opts), mirror.New(pools, ofPools)}
}

// beforePlace begins, in an entry as Sluice writes it, what changes with every
// checkpoint. Who owns the pool, and by what record it runs, stands before it.
var beforePlace = []byte(`"checkpoint":`)

// sameClaim reports whether an entry was written by the same claim as the one
// before: it says nothing new but where the pool stands, so nobody has to look at
// the pool. Entries in which others wrote the members in another order are told of,
// or found by the next comparison of everything.
func sameClaim(was, now mirror.Entry) bool {
	old, _, _ := bytes.Cut(was.Value, beforePlace)
	claim, _, found := bytes.Cut(now.Value, beforePlace)
	return found && bytes.Equal(old, claim) && bytes.Contains(claim, []byte(`"owner":`))
}

// kick has both listed anew: watches may have missed something.
func (c copies) kick() {
	c.records.Kick()
	c.pools.Kick()
}

// names are those of the pools that have a record or an entry, in no order.
func (c copies) names() []string {
	var names []string
	c.records.Each(func(e mirror.Entry) {
		if wire.ValidName(e.Key) {
			names = append(names, e.Key)
		}
	})
	c.pools.Each(func(e mirror.Entry) {
		if r, ok := c.records.Get(e.Key); (!ok || r.Deleted) && wire.ValidName(e.Key) {
			names = append(names, e.Key)
		}
	})
	return names
}
