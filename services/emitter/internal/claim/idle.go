package claim

import (
	"slices"
	"sync"
	"time"
)

// failsOfIdle is how many pools an instance must have failed for to be left out
// of the hashing for all of them.
const failsOfIdle = 3

// Idle knows which instances that live do not claim what they should: stuck
// ones, and sessions that somebody made up. It is one instance's own
// observation; the others make theirs.
//
// A pool that has waited for its owner for two TTLs is no longer that one's: the
// next in the order of the hashing has it, half a TTL later the one after that,
// and so on; four TTLs after the beginning, whoever is left. An instance that
// failed for three pools is left out for all, until it claims something. For the
// pools that it failed for it is left out until it claims them or is gone:
// otherwise they would be handed over to it again and again.
//
// It knows at most the pools times the instances that failed for them. Its
// methods may be called from any goroutine.
type Idle struct {
	me    string
	ttl   time.Duration
	owned func(instance string) map[string]uint64

	mu    sync.Mutex
	waits map[string]wait  // by pool
	fails map[string]*fail // by instance
}

// wait is a pool that should be claimed by somebody else.
type wait struct {
	since  time.Time
	at     time.Time // when it was last seen to wait
	passed int       // how many were left out since
}

// fail is what an instance did not do.
type fail struct {
	pools  map[string]struct{}
	owned  map[string]uint64 // epochs by pool, when it was left out for all; nil: it is not
	liveAt time.Time         // when its session was last seen
}

// NewIdle returns the Idle of instance me that suspects nobody, for sessions of a TTL.
// Owned returns the pools that an instance owns, with their epochs.
func NewIdle(me string, ttl time.Duration, owned func(instance string) map[string]uint64) *Idle {
	return &Idle{me: me, ttl: ttl, owned: owned, waits: map[string]wait{}, fails: map[string]*fail{}}
}

// patience is how long a pool waits before the next instance is left out, where
// a number of them were already.
func (i *Idle) patience(passed int) time.Duration {
	return 2*i.ttl + min(time.Duration(passed)*i.ttl/2, 2*i.ttl)
}

// Candidates returns those of instances that should be hashed over for the pool.
// It may return instances itself.
func (i *Idle) Candidates(name string, instances []string) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.fails) == 0 {
		return instances
	}
	return slices.DeleteFunc(slices.Clone(instances), func(in string) bool {
		return i.out(in, name)
	})
}

// out reports whether an instance is left out for a pool. i.mu is held.
func (i *Idle) out(instance, name string) bool {
	f := i.fails[instance]
	if f == nil {
		return false
	}
	_, failed := f.pools[name]
	return f.owned != nil || failed
}

// Suspects reports whether an instance is left out for any pool. Claimed may change that.
func (i *Idle) Suspects(instance string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fails[instance] != nil
}

// Waits notes that a pool still waits for another instance, where candidates are as
// Candidates gives them. It returns who is left out for the pool from now on.
func (i *Idle) Waits(name string, candidates []string, now time.Time) (left []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	have, ok := i.waits[name]
	if !ok {
		have.since = now
	}
	rest := slices.Clone(candidates)
	for len(rest) > 0 && now.Sub(have.since) >= i.patience(have.passed) {
		first := Rightful(name, rest)
		if first == i.me {
			break // nobody leaves itself out
		}
		rest = slices.DeleteFunc(rest, func(in string) bool { return in == first })
		left = append(left, first)
		have.passed++
		i.failed(first, name, now)
	}
	have.at = now
	i.waits[name] = have
	return left
}

// failed notes that instance did not claim what it should have. i.mu is held.
func (i *Idle) failed(instance, name string, now time.Time) {
	f := i.fails[instance]
	if f == nil {
		f = &fail{pools: map[string]struct{}{}}
		i.fails[instance] = f
	}
	f.pools[name] = struct{}{}
	f.liveAt = now
	if f.owned == nil && len(f.pools) >= failsOfIdle {
		f.owned = i.owned(instance)
	}
}

// Settled notes that nothing has to be done for the pool, or not by another.
func (i *Idle) Settled(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.waits, name)
}

// Claimed notes that the pool is an instance's, under an epoch.
func (i *Idle) Claimed(name, owner string, epoch uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := i.fails[owner]
	if f == nil {
		return
	}
	delete(f.pools, name)
	if epoch > f.owned[name] {
		f.owned = nil
	}
	if len(f.pools) == 0 && f.owned == nil {
		delete(i.fails, owner)
	}
}

// Live notes which sessions are there. It forgets instances that have been gone
// for long, since each start of a process has a name of its own, and pools that
// were not seen to wait for a TTL.
func (i *Idle) Live(instances []string, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, in := range instances {
		if f := i.fails[in]; f != nil {
			f.liveAt = now
		}
	}
	for name, w := range i.waits {
		if now.Sub(w.at) >= i.ttl {
			delete(i.waits, name)
		}
	}
	for in, f := range i.fails {
		if now.Sub(f.liveAt) >= 10*i.ttl {
			delete(i.fails, in)
		}
	}
}

// Blind notes that this instance could not see what the others did: they all
// have their time anew.
func (i *Idle) Blind() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.waits)
}
