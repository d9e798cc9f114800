package reader

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// action is what to do about a member that wants a reader.
type action int

const (
	proceed          action = iota // it may be put under a reader, behind what was lost
	waitForStore                   // the store that it began in is no more
	halt                           // what it has read is lost: wait until it is attached anew
	waitForBeginning               // the store is to reach the first event to read
	lookAgain                      // its last event may have been read since the look
	loseEnd                        // the store has lost its end, which the pool has read
	waitForLook                    // it left its reader after the look, which says nothing of that
)

// situation is all that is decided from what becomes of such a member.
type situation struct {
	store    info      // as the last look has shown it
	created  time.Time // of the store that the pool began in; zero: of any
	begin    uint64    // the first sequence to read where somebody named one; else 0
	state    memberState
	hole     *hole  // where it left its reader; nil: nowhere
	position uint64 // everything up to here is read
	reach    uint64 // the last sequence that is read or finished
	endLost  bool   // the pool knows that the store lost what it had read
}

// decide returns what to do.
func (s situation) decide() action {
	ahead := s.reach > s.store.last
	switch {
	case !s.created.IsZero() && !s.created.Equal(s.store.created):
		return waitForStore
	case s.endLost:
		return halt
	case ahead && s.reach+1 == s.begin:
		return waitForBeginning
	case ahead && s.state != aheadOfStore:
		return lookAgain
	case ahead:
		return loseEnd
	case s.hole != nil && s.hole.look >= s.store.look:
		return waitForLook
	default:
		return proceed
	}
}

// passes returns what is lost of what comes next, and up to where nothing is there
// to be read.
func (s situation) passes() (lost losses, to uint64) {
	to = s.store.first - 1
	if to > s.position {
		lost.front = ranges{{s.position + 1, to}}
	}
	if s.hole != nil && s.hole.from == s.position+1 { // it comes next
		lost.middle, to = s.hole.middle(s.store), max(to, s.hole.to)
	}
	return lost, to
}

// judgeGap decides about a gap that a pool has met. It returns what the pool is
// to be told, nil if it knows, and whether it goes on behind the gap. A pool that
// is to pause waits until the subscription has been paused for this very gap,
// whatever else changes. Before is the last gap that the pool was told of.
func judgeGap(gap wire.Gap, before *wire.Gap, pauses bool) (tell *wire.Gap, goOn bool) {
	if before != nil && before.From == gap.From && before.Paused {
		gap.Paused = true
		if before.To == gap.To {
			return nil, true // nothing more was lost since it was told
		}
	}
	return &gap, !pauses || gap.Paused
}
