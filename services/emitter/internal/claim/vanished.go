package claim

import (
	"sync"
	"time"
)

// awaitOwner is how long a pool whose entry is gone is left to the instance that
// holds it. An emitter notices within some ten seconds that a bucket is another
// one, each in its own time.
const awaitOwner = 15 * time.Second

// Vanished knows since when entries of pools are gone although nobody deleted
// them. The zero value knows of none.
type Vanished struct{ since sync.Map } // each is a time.Time

// Note says whether the entry of a pool is gone, and returns whether its owner
// may still write it back.
func (v *Vanished) Note(name string, gone bool, now time.Time) (awaited bool) {
	if !gone {
		v.since.Delete(name)
		return false
	}
	since, _ := v.since.LoadOrStore(name, now)
	return now.Sub(since.(time.Time)) < awaitOwner
}
