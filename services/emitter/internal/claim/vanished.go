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
type Vanished struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// Note says whether the entry of a pool is gone, and returns whether its owner
// may still write it back.
func (v *Vanished) Note(name string, gone bool, now time.Time) (awaited bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !gone {
		delete(v.since, name)
		return false
	}
	since, known := v.since[name]
	if !known {
		if v.since == nil {
			v.since = map[string]time.Time{}
		}
		since = now
		v.since[name] = now
	}
	return now.Sub(since) < awaitOwner
}
