// Package checkpoint keeps track of which events a pool has finished, and says
// so in the form that is stored: a floor and the finished ranges above it.
//
// It is pure: the pool that owns a Tracker guards it. It remembers unfinished
// events only, so what it holds does not grow while one event stays unfinished
// and others pass it.
package checkpoint

import (
	"slices"
	"sort"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Mark stands for one unfinished event. The zero value is ready for Tracker.Add.
type Mark struct {
	seq        uint64
	open       bool
	prev, next *Mark // the unfinished ones around it, in a ring through Tracker.ends
}

// Sequence is that of the event, once it has been added.
func (m *Mark) Sequence() uint64 { return m.seq }

// Tracker knows the unfinished events of a pool and, from an earlier owner's
// checkpoint, which events above the floor need not be delivered again.
//
// Everything that the pool has read and that is not unfinished is finished:
// events that did not match are never told to the Tracker.
type Tracker struct {
	floor    uint64      // of the restored checkpoint: everything at or below is finished
	restored [][2]uint64 // finished ranges above floor, ascending and disjoint

	ends  Mark // before the first unfinished event, and behind the last; ascending by sequence
	open  int  // how many there are
	holes int  // pairs of neighbours with finished events between them
}

// Restore returns a tracker that begins where cp ends.
func Restore(cp wire.Checkpoint) *Tracker {
	t := &Tracker{floor: cp.Floor}
	t.ends.prev, t.ends.next = &t.ends, &t.ends
	ranges := slices.Clone(cp.Ranges)
	sort.Slice(ranges, func(i, j int) bool { return ranges[i][0] < ranges[j][0] })
	for _, r := range ranges {
		if r[0] > r[1] || r[1] <= t.floor {
			continue // nothing in it
		}
		if r[0] <= t.floor+1 {
			t.floor = r[1]
			continue
		}
		t.restored = appendRange(t.restored, r[0], r[1])
	}
	return t
}

// Floor is the floor that the tracker began with.
func (t *Tracker) Floor() uint64 { return t.floor }

// Reach is the last sequence of the checkpoint that the tracker began with.
func (t *Tracker) Reach() uint64 {
	if n := len(t.restored); n > 0 {
		return t.restored[n-1][1]
	}
	return t.floor
}

// Finished reports whether the restored checkpoint says that everything from
// one sequence to another, both included, is finished.
func (t *Tracker) Finished(from, to uint64) bool {
	from = max(from, t.floor+1)
	if from > to {
		return true
	}
	i := sort.Search(len(t.restored), func(i int) bool { return t.restored[i][1] >= to })
	return i < len(t.restored) && t.restored[i][0] <= from
}

// Add begins to track the event at seq, which must be above all added before.
func (t *Tracker) Add(m *Mark, seq uint64) {
	*m = Mark{seq: seq, open: true, prev: t.ends.prev, next: &t.ends}
	m.prev.next, m.next.prev = m, m
	t.open++
	t.holes += hole(m.prev, m)
}

// Done finishes an event. Finishing it again changes nothing.
func (t *Tracker) Done(m *Mark) {
	if !m.open {
		return
	}
	t.open--
	t.holes += hole(m.prev, m.next) - hole(m.prev, m) - hole(m, m.next)
	m.prev.next, m.next.prev = m.next, m.prev
	*m = Mark{seq: m.seq}
}

// hole is 1 if finished events lie between two unfinished neighbours.
func hole(a, b *Mark) int {
	if !a.open || !b.open || a.seq+1 == b.seq {
		return 0
	}
	return 1
}

// Open is the number of unfinished events.
func (t *Tracker) Open() int { return t.open }

// Ranges is about how many ranges a snapshot has: those between unfinished
// events and one behind them, but not what is left of the restored ones.
func (t *Tracker) Ranges() int { return t.holes + min(t.open, 1) }

// Oldest returns the lowest unfinished sequence.
func (t *Tracker) Oldest() (seq uint64, ok bool) {
	return t.ends.next.seq, t.open > 0
}

// Snapshot returns the checkpoint of a pool that has read everything up to and
// including position.
func (t *Tracker) Snapshot(position uint64) wire.Checkpoint {
	position = max(position, t.floor)
	cp := wire.Checkpoint{Floor: position}
	if first, ok := t.Oldest(); ok {
		cp.Floor = first - 1
		prev := first
		for m := t.ends.next.next; m.open; m = m.next {
			cp.Ranges = appendRange(cp.Ranges, prev+1, m.seq-1)
			prev = m.seq
		}
		cp.Ranges = appendRange(cp.Ranges, prev+1, position)
	}
	for _, r := range t.restored {
		if r[1] <= position {
			continue
		}
		from := max(r[0], position+1)
		if from <= cp.Floor+1 {
			cp.Floor = r[1]
			continue
		}
		cp.Ranges = appendRange(cp.Ranges, from, r[1])
	}
	return cp
}

// appendRange adds the range, if it is not empty, and joins it to the last one
// where they touch.
func appendRange(rs [][2]uint64, from, to uint64) [][2]uint64 {
	if from > to {
		return rs
	}
	if n := len(rs); n > 0 && from <= rs[n-1][1]+1 {
		rs[n-1][1] = max(rs[n-1][1], to)
		return rs
	}
	return append(rs, [2]uint64{from, to})
}

// DefaultMaxRanges is how many finished ranges a checkpoint has at most where
// the server's limit of a message leaves room for them.
const DefaultMaxRanges = 16384

const (
	minRanges   = 64
	bytesARange = 42 // of JSON, with two sequences of 19 digits
)

// RangesWithin is how many finished ranges a checkpoint should have at most where
// a message may have maxPayload bytes. That is half of what fits: half as many
// ranges may come on top (those of an earlier owner), and so does the rest of
// the entry.
func RangesWithin(maxPayload int64) int {
	return int(min(max(maxPayload/2/bytesARange, minRanges), DefaultMaxRanges))
}
