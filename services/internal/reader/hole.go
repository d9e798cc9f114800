package reader

import (
	"math"
	"slices"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// hole is a range of sequences that the stream did not deliver, and of which it is
// not known yet why: not asked for, deleted or displaced one by one, or gone from
// the front of the store.
type hole struct {
	from, to uint64
	look     uint64 // the last look at the store that had begun by then
	last     uint64 // a reader that keeps up had read everything up to here
	all      bool   // the reader asked for everything, so the store holds none of it
}

// holeOf returns a hole that r meets now, which the next round is to judge. A
// reader at the head has read all that the look before the last one saw. One that
// is not is behind all of it.
func (s *Store) holeOf(r *reader, from, to uint64) hole {
	s.wakeSoon()
	last := s.looks.end.Load()
	if r.atHead.Load() {
		last = s.looks.before.Load()
	}
	return hole{from, to, s.looks.begun.Load(), last, r.filters == nil}
}

// middle is what the store lacks of the hole above its front. Where the reader
// asked for a part only, the store's own list says it, up to where the reader was
// known to keep up. Beyond that, what it asked for came before it could be displaced.
func (h hole) middle(now info) ranges {
	from, to := max(h.from, now.first), h.to
	if h.all {
		return ranges{{from, to}}.within(from, to)
	}
	return now.missing.within(from, min(to, h.last))
}

// partial reports whether only the store's own list can say what of the hole was
// lost.
func (h hole) partial(now info) bool {
	return !h.all && max(h.from, now.first) <= min(h.to, h.last)
}

// maxHoles bounds the holes kept between two looks. Beyond it they are joined.
const maxHoles = 64

// holes are in the order of their sequences and not yet judged.
type holes []hole

func (hs holes) with(h hole) holes {
	if n := len(hs); n >= maxHoles {
		h.from, h.all = hs[n-1].from, false // the events between them are there
		hs[n-1] = h
		return hs
	}
	return append(hs, h)
}

// losses are what the store has lost of holes, at its front and above that.
type losses struct{ front, middle ranges }

// after is what lies beyond a sequence.
func (l losses) after(seq uint64) losses {
	return losses{l.front.within(seq+1, math.MaxUint64), l.middle.within(seq+1, math.MaxUint64)}
}

// judge returns what the store has lost of the holes, by a look at it. It also
// returns the holes that are not older than that look, which says nothing of them.
func (hs holes) judge(now info) (lost losses, younger holes) {
	for _, h := range hs {
		if h.look >= now.look {
			younger = append(younger, h)
			continue
		}
		if h.from < now.first {
			lost.front = append(lost.front, [2]uint64{h.from, min(h.to, now.first-1)})
		}
		lost.middle = append(lost.middle, h.middle(now)...)
	}
	return lost, younger
}

// judge tells members which of the holes that they have passed were gaps.
func (s *Store) judge(now info) {
	s.lock()
	defer s.mu.Unlock()
	middle := map[*member]ranges{} // each in ascending order
	note := func(m *member, lost losses) {
		m.reportFront(lost.front)
		if len(lost.middle) > 0 {
			middle[m] = append(middle[m], m.pool.NotRead(lost.middle)...)
		}
	}
	for m := range s.roster.open.in { // first: they passed these before those of their present readers
		var lost losses
		lost, m.passed = m.passed.judge(now)
		note(m, lost)
	}
	for _, r := range s.readers() {
		r.mu.Lock()
		var lost losses
		if lost, r.holes = r.holes.judge(now); len(lost.front)+len(lost.middle) > 0 {
			s.eachUnder(r, func(m *member) { note(m, lost.after(m.since)) })
		}
		r.mu.Unlock()
	}
	for m, lost := range middle {
		if len(lost) > 0 {
			m.pool.Lost(m.gap(wire.GapMiddle, lost))
		}
	}
	for m := range s.roster.open.in {
		s.roster.file(m)
		if m.state == retiring && len(m.passed) == 0 {
			s.roster.remove(m)
			close(m.judged)
		}
	}
}

// eachUnder calls f for each member under a reader, whose mu is held.
func (s *Store) eachUnder(r *reader, f func(*member)) {
	r.index.Keys(func(p *pool.Pool) {
		if m := s.roster.all[p]; m != nil {
			f(m)
		}
	})
}

// reportFront tells of what the front of the store has dropped of what the member
// has passed, and was still to read.
func (m *member) reportFront(lost ranges) {
	for _, r := range lost {
		if !m.pool.Finished(r[0], r[1]) {
			m.pool.Lost(m.gap(wire.GapFront, ranges{r}))
		}
	}
}

// gap is what is told of lost sequences: where they lie, and how many they are.
func (m *member) gap(kind string, lost ranges) wire.Gap {
	return wire.Gap{
		From: lost[0][0], To: lost[len(lost)-1][1], Count: lost.count(), Kind: kind,
		At: time.Now().UTC(), Generation: m.rec.Generation,
	}
}

// ranges are sequences, each range with its first and its last; they ascend and
// are disjoint.
type ranges [][2]uint64

// rangesOf joins sequences that follow each other.
func rangesOf(seqs []uint64) (rs ranges) {
	slices.Sort(seqs)
	for _, seq := range seqs {
		if n := len(rs); n > 0 && seq <= rs[n-1][1]+1 {
			rs[n-1][1] = seq
			continue
		}
		rs = append(rs, [2]uint64{seq, seq})
	}
	return rs
}

// within returns what of the ranges lies in from..to.
func (rs ranges) within(from, to uint64) (part ranges) {
	begin, _ := slices.BinarySearchFunc(rs, from, func(r [2]uint64, from uint64) int {
		if r[1] < from {
			return -1
		}
		return 1
	})
	for _, r := range rs[begin:] {
		if r[0], r[1] = max(r[0], from), min(r[1], to); r[0] > r[1] {
			break
		}
		part = append(part, r)
	}
	return part
}

// count is how many sequences there are.
func (rs ranges) count() (n uint64) {
	for _, r := range rs {
		n += r[1] - r[0] + 1
	}
	return n
}
