package core

import (
	"math"

	"github.com/sluicehq/sluice/pkg/wire"
)

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

// HasBegun reports whether Began was called, here or by an earlier owner.
func (p *Pool) HasBegun() bool { return p.place.holes != nil }

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

// Entry returns the pool's entry with what there is to say of the pool now.
func (p *Pool) Entry(e wire.Pool) wire.Pool {
	e.Checkpoint, e.Gap, e.LostFrom, e.Holes = p.Checkpoint(), p.place.gap, p.place.lostFrom, p.holes()
	e.State, e.Reason = p.State()
	return e
}

// maxHoles bounds the ranges of Holes: they are written with every checkpoint
// until the pool has passed them.
const maxHoles = 256

// Began notes what the store lacks up to last, its end, as the pool begins to
// read there: ascending ranges, or that they are not known. Only the first call
// since the pool's start or a seek counts.
func (p *Pool) Began(last uint64, holes [][2]uint64, known bool) {
	if p.place.holes != nil {
		return
	}
	elsewhere := [][2]uint64{{0, p.place.read}, {last + 1, math.MaxUint64 - 1}}
	h := &wire.Holes{To: last, Many: !known, Ranges: minus(holes, elsewhere)}
	if len(h.Ranges) > maxHoles {
		h.Ranges, h.Many = nil, true
	}
	p.place.holes = h
	p.fx.Moved = true
}

// holes is what Began noted, without what the pool has passed.
func (p *Pool) holes() *wire.Holes {
	h := p.place.holes
	if h == nil {
		return nil
	}
	floor := p.place.read
	if first, open := p.tracker.Oldest(); open {
		floor = first - 1 // where a next owner begins
	}
	passed := 0
	for passed < len(h.Ranges) && h.Ranges[passed][1] <= floor {
		passed++
	}
	if passed > 0 { // h is in an entry, so another one takes its place
		h = &wire.Holes{To: h.To, Ranges: h.Ranges[passed:], Many: h.Many}
		p.place.holes = h
	}
	return h
}

// NotRead returns those of the holes of a store, in ascending ranges, that the
// pool has lost: it has not finished them, and the store held them when the pool
// began.
func (p *Pool) NotRead(holes [][2]uint64) (lost [][2]uint64) {
	h := p.place.holes
	if h == nil {
		return nil
	}
	before := h.Ranges
	if h.Many {
		before = [][2]uint64{{0, h.To}} // any of these may have been missing
	}
	for _, r := range minus(holes, before) {
		if !p.tracker.Finished(r[0], r[1]) {
			lost = append(lost, r)
		}
	}
	return lost
}

// minus returns the ranges of a without what is in those of b. Both ascend and
// are disjoint.
func minus(a, b [][2]uint64) (rest [][2]uint64) {
	for _, r := range a {
		for len(b) > 0 && b[0][1] < r[0] {
			b = b[1:]
		}
		for _, cut := range b {
			if cut[0] > r[1] {
				break
			}
			if cut[0] > r[0] {
				rest = append(rest, [2]uint64{r[0], cut[0] - 1})
			}
			r[0] = max(r[0], cut[1]+1)
		}
		if r[0] <= r[1] {
			rest = append(rest, r)
		}
	}
	return rest
}
