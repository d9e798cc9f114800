package claim

import (
	"sync"
	"time"
)

// Bounds of the pause before a pool is taken from another owner again.
const (
	firstPause = 250 * time.Millisecond
	maxPause   = 10 * time.Second
	// calmAfter is how long after the last loss a contest is forgotten.
	calmAfter = time.Minute
)

// Contests slows down instances that take a pool from each other again and
// again, as they do when each takes the other for dead. Whoever lost a pool to
// another's claim for the second time waits before it takes it from an owner:
// a quarter of a second, then twice as long each time, up to ten seconds. The other
// one serves the pool meanwhile. A pool without an owner is claimed at once.
// The zero value is ready to use, from any goroutine.
type Contests struct {
	mu    sync.Mutex
	pools map[string]contest
}

// contest is what is known of one pool.
type contest struct {
	losses int
	last   time.Time
}

// Lost notes that the pool was lost to another's claim.
func (c *Contests) Lost(name string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, had := range c.pools {
		if now.Sub(had.last) >= calmAfter {
			delete(c.pools, n)
		}
	}
	if c.pools == nil {
		c.pools = map[string]contest{}
	}
	c.pools[name] = contest{losses: c.pools[name].losses + 1, last: now}
}

// Paused reports whether the pool is not to be taken from another owner yet.
func (c *Contests) Paused(name string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.pools[name]
	return had.losses > 0 && now.Sub(had.last) < pause(had.losses)
}

// pause is how long after the last loss the pause ends.
func pause(losses int) time.Duration {
	if losses <= 1 {
		return 0
	}
	return min(firstPause<<min(losses-2, 10), maxPause)
}
