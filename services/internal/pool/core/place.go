package core

import "github.com/sluicehq/sluice/pkg/wire"

// place is how far a pool is in its store, and what the store lost.
type place struct {
	read     uint64      // everything at or below has been read
	gap      *wire.Gap   // the last range lost; nil if none was
	lostFrom uint64      // the store lost what was read from here on; 0: it did not
	holes    *wire.Holes // what the store lacked when the pool began; nil: not known yet
}

// ReadTo notes how far the pool's reader has read. The reader must have offered
// what lies there.
func (p *Pool) ReadTo(seq uint64) { p.place.read = max(p.place.read, seq) }

// SkipTo notes that the events up to seq are not there to be read.
func (p *Pool) SkipTo(seq uint64) {
	if seq > p.place.read {
		p.place.read = seq
		p.fx.Moved = true
	}
}

// Lost notes that events of a range were gone before they were read.
func (p *Pool) Lost(gap wire.Gap) {
	p.place.gap = &gap
	p.fx.Moved = true
	p.note(wire.AdvEventLost, "the store no longer held events that were still to be read", map[string]any{
		"from": gap.From, "to": gap.To, "count": gap.Count, "kind": gap.Kind,
	})
}

// LoseEnd notes that the store has lost what the pool has read from the given
// sequence on. That cannot be taken back: what the store keeps there from now on
// are other events.
func (p *Pool) LoseEnd(from uint64) {
	p.place.lostFrom = from
	p.fx.Moved = true
}

// Position is the last sequence that the pool has read.
func (p *Pool) Position() uint64 { return p.place.read }

// Reach is the last sequence that the pool has read or knows to be finished.
func (p *Pool) Reach() uint64 { return max(p.place.read, p.tracker.Reach()) }

// Finished reports whether the whole range is known to be finished.
func (p *Pool) Finished(from, to uint64) bool { return p.tracker.Finished(from, to) }

// Gap is the last range that was lost, nil if none was.
func (p *Pool) Gap() *wire.Gap { return p.place.gap }

// LostFrom is what LoseEnd, of this owner or an earlier one, noted; else 0.
func (p *Pool) LostFrom() uint64 { return p.place.lostFrom }

// Checkpoint is what the pool has finished, in at most 1.5 × MaxRanges ranges:
// what has been read may finish in any pattern, and what an earlier owner left
// comes on top. Beyond that the last ranges are left out, so that the checkpoint
// can be written; a next owner would deliver them again.
func (p *Pool) Checkpoint() wire.Checkpoint {
	cp := p.tracker.Snapshot(p.place.read)
	most := p.room.maxRanges + p.room.maxRanges/2
	cp.Ranges = cp.Ranges[:min(len(cp.Ranges), most)]
	return cp
}
