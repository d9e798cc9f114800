package history

import (
	"cmp"
	"slices"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Entry is one readable entry of the subscriptions bucket's history.
type Entry struct {
	Name     string
	Revision uint64
	// Deleted marks a tombstone, which has neither UID nor Generation.
	Deleted    bool
	UID        string
	Generation uint64
}

// Chain is what happened to one name within the window of a fold.
type Chain struct {
	Name string
	// Before is the last entry known of the name before the window; its zero
	// value says that none is known.
	Before Entry
	// Steps are the transitions within the window in order of revision, at
	// least one. Missed, Replayed and Observed are left unset.
	Steps []wire.Transition
}

// Last returns the chain's last step: the state that the window ends with.
func (c *Chain) Last() wire.Transition { return c.Steps[len(c.Steps)-1] }

// Fold turns entries into one chain for each name that changed at revision
// from or later, in order of each chain's first step. Entries may come in any
// order and more than once; those below from only tell what was there before.
// An entry that changes nothing (the same uid and generation again, a
// tombstone after a tombstone) is no step.
func Fold(entries []Entry, from uint64) []Chain {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Revision, b.Revision) })

	names := make(map[string]*life)
	for _, e := range entries {
		l := names[e.Name]
		if l == nil {
			l = &life{chain: Chain{Name: e.Name}}
			names[e.Name] = l
		}
		l.add(e, from)
	}
	var chains []Chain
	for _, l := range names {
		if len(l.chain.Steps) > 0 {
			chains = append(chains, l.chain)
		}
	}
	slices.SortFunc(chains, func(a, b Chain) int { return cmp.Compare(a.Steps[0].Revision, b.Steps[0].Revision) })
	return chains
}

// life is the state of one name while its entries go by.
type life struct {
	chain Chain
	last  Entry // zero before the first entry
	alive Entry // the last that was no tombstone; zero if none is known
}

// add takes the next entry of the name.
func (l *life) add(e Entry, from uint64) {
	kind := l.kind(e)
	if kind != "" && e.Revision >= from {
		step := wire.Transition{
			Name: e.Name, Kind: kind, UID: e.UID, Generation: e.Generation, Revision: e.Revision,
		}
		if e.Deleted { // the tombstone does not say what it ended
			step.UID, step.Generation = l.alive.UID, l.alive.Generation
		}
		l.chain.Steps = append(l.chain.Steps, step)
	}
	l.last = e
	if !e.Deleted {
		l.alive = e
	}
	if e.Revision < from {
		l.chain.Before = e
		if e.Deleted {
			l.chain.Before.UID, l.chain.Before.Generation = l.alive.UID, l.alive.Generation
		}
	}
}

// kind names the transition from the last entry to e; "" is none.
func (l *life) kind(e Entry) string {
	known := l.last.Revision > 0
	switch {
	case e.Deleted && known && l.last.Deleted:
		return ""
	case e.Deleted:
		return wire.TransitionDeleted
	case known && l.last.Deleted:
		return wire.TransitionRecreated
	case known && l.last.UID != e.UID:
		return wire.TransitionRecreated
	case known && l.last.Generation == e.Generation:
		return ""
	case known || e.Generation > 1: // the entries before it are no longer kept
		return wire.TransitionUpdated
	default:
		return wire.TransitionCreated
	}
}
