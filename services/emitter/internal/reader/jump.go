package reader

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// jump is a range of sequences that the stream did not deliver: not asked for,
// deleted or displaced one by one, or gone from the front of the stream.
type jump struct {
	from, to uint64
	look     uint64 // the last look at the store that had begun by then
	last     uint64 // a reader that keeps up had read everything up to here
	all      bool   // the reader asked for everything, so the store holds none of it
}

// jumpOf returns one that r meets now, which the next round is to judge. A reader at the head has read all that
// the look before the last one saw; one that is not is behind all of it.
func (s *Store) jumpOf(r *reader, from, to uint64) jump {
	s.soon()
	last := s.looks.end.Load()
	if r.atHead.Load() {
		last = s.looks.before.Load()
	}
	return jump{from, to, s.looks.begun.Load(), last, r.filters == nil}
}

// maxJumps bounds the jumps kept between two looks; beyond it they are joined.
const maxJumps = 64

// jumps are in the order of their sequences and not yet judged.
type jumps []jump

func (js jumps) with(j jump) jumps {
	if n := len(js); n >= maxJumps {
		j.from, j.all = js[n-1].from, false // the events between them are there
		js[n-1] = j
		return js
	}
	return append(js, j)
}

// middle is what the store lacks of the jump above its front. Where the reader
// asked for a part only, the store's own list says it, but nothing of what a
// reader would have had at once: what it asks for comes before it can be
// displaced, and the rest is none of its business.
func (j jump) middle(now info) ranges {
	from, to := max(j.from, now.first), j.to
	if j.all {
		return ranges{{from, to}}.within(from, to)
	}
	return now.holes.within(from, min(to, j.last))
}

// losses are told of what the store has lost of a jump.
type losses struct {
	front  func(from, to uint64)
	middle func(holes ranges)
}

// judge tells, by a look at the store, what it has lost of each jump, and
// returns the jumps that are not older than that look: it says nothing of them.
func (js jumps) judge(now info, tell losses) (younger jumps) {
	for _, j := range js {
		if j.look >= now.look {
			younger = append(younger, j)
			continue
		}
		if j.from < now.first {
			tell.front(j.from, min(j.to, now.first-1))
		}
		if holes := j.middle(now); len(holes) > 0 {
			tell.middle(holes)
		}
	}
	return younger
}

// keep takes over the jumps of a reader that the pool has left at the given
// position, as far as it passed them there: the reader may be gone when they
// are judged.
func (m *member) keep(passed jumps, at uint64) {
	for _, j := range passed {
		if j.from, j.to = max(j.from, m.since+1), min(j.to, at); j.from <= j.to {
			m.passed = m.passed.with(j)
		}
	}
}

// judge tells pools which of the jumps that they have passed were gaps.
func (s *Store) judge(now info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := map[*pool.Pool]ranges{} // of the middle, each in ascending order
	judged := s.crowds.judging.in
	for p, m := range judged { // first: it passed these before those of its present reader
		m.passed = m.passed.judge(now, losses{
			front:  func(from, to uint64) { m.missed(p, from, to) },
			middle: func(holes ranges) { lost[p] = append(lost[p], p.NotRead(holes)...) },
		})
	}
	for _, r := range s.readers() {
		r.mu.Lock()
		each := func(tell func(p *pool.Pool, m *member)) {
			r.index.Keys(func(p *pool.Pool) {
				if m := s.members[p]; m != nil {
					tell(p, m)
				}
			})
		}
		r.jumps = r.jumps.judge(now, losses{
			front: func(from, to uint64) {
				each(func(p *pool.Pool, m *member) { m.missed(p, max(from, m.since+1), to) })
			},
			middle: func(holes ranges) {
				each(func(p *pool.Pool, m *member) {
					lost[p] = append(lost[p], p.NotRead(holes.within(m.since+1, ^uint64(0)))...)
				})
			},
		})
		r.mu.Unlock()
	}
	for p, gone := range lost {
		if len(gone) > 0 {
			p.Lost(s.members[p].gap(wire.GapMiddle, gone))
		}
	}
	for p, m := range judged {
		s.file(p, m)
		if m.told != nil && len(m.passed) == 0 {
			s.expel(p)
			close(m.told)
		}
	}
}

// missed tells p of a gap that it has passed, if it was still to read any of that.
func (m *member) missed(p *pool.Pool, from, to uint64) {
	if from <= to && !p.Finished(from, to) {
		p.Lost(m.gap(wire.GapFront, ranges{{from, to}}))
	}
}

// gap is what is told of lost sequences: where they lie, and how many they are.
func (m *member) gap(kind string, lost ranges) wire.Gap {
	return wire.Gap{
		From: lost[0][0], To: lost[len(lost)-1][1], Count: lost.count(), Kind: kind,
		At: time.Now().UTC(), Generation: m.rec.Generation,
	}
}
