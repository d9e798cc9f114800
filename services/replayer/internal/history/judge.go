package history

import "github.com/sluicehq/sluice/pkg/wire"

// Pool is what a pool entry says of the record it runs by; nil is no entry.
type Pool struct {
	UID                string
	ObservedGeneration uint64
}

// Record is what a fresh read of the record says; nil is no record, or one
// that nobody can read.
type Record struct {
	UID        string
	Generation uint64
}

// Observed returns how many of the chain's steps, from the first, are behind
// the emitters, as far as a fresh read of pool entry and record shows. A step
// is behind them when the pool runs by it or by a later one, and also when it
// was overtaken: there is no pool, and a later deletion, or a life that began
// after the window, made the step void.
func (c *Chain) Observed(p *Pool, r *Record) int {
	if p == nil {
		return c.observedWithoutPool(r)
	}
	return c.observedBy(p, r)
}

func (c *Chain) observedWithoutPool(r *Record) int {
	last := c.Last()
	if r == nil || last.Kind == wire.TransitionDeleted || r.UID != last.UID {
		return len(c.Steps)
	}
	for i := len(c.Steps) - 1; i >= 0; i-- {
		if c.Steps[i].Kind == wire.TransitionDeleted {
			return i + 1
		}
	}
	return 0
}

func (c *Chain) observedBy(p *Pool, r *Record) int {
	first, n := -1, 0
	for i, s := range c.Steps {
		if s.UID != p.UID {
			continue
		}
		if first < 0 {
			first = i
		}
		if s.Kind != wire.TransitionDeleted && s.Generation <= p.ObservedGeneration {
			n = i + 1
		}
	}
	switch {
	case n > 0:
		return n
	case first >= 0: // it is an earlier state of that life: lives before it are over
		return first
	case r != nil && r.UID == p.UID && p.UID != c.Before.UID:
		return len(c.Steps) // a life that began after the window
	default:
		return 0
	}
}

// Advance returns the revision up to which everything is behind the emitters:
// the barrier, or the one before the earliest step that is not. observed[i]
// is what Observed said of chains[i].
func Advance(chains []Chain, observed []int, barrier uint64) uint64 {
	upTo := barrier
	for i, c := range chains {
		if observed[i] < len(c.Steps) {
			upTo = min(upTo, c.Steps[observed[i]].Revision-1)
		}
	}
	return upTo
}
