package reader

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// jump is a range of sequences that the stream did not deliver: not asked for,
// deleted one by one (which is no fault) or gone from the front of the stream.
type jump struct {
	from, to uint64
	look     uint64 // the last look at the store that had begun by then
}

// jump returns one that a reader meets now.
func (s *Store) jump(from, to uint64) jump { return jump{from, to, s.looks.Load()} }

// maxJumps bounds the jumps kept between two looks; beyond it they are joined.
const maxJumps = 64

// jumps are in the order of their sequences and not yet judged.
type jumps []jump

func (js jumps) with(j jump) jumps {
	if n := len(js); n >= maxJumps {
		js[n-1].to, js[n-1].look = j.to, j.look
		return js
	}
	return append(js, j)
}

// judge calls lost with what the store has dropped from its front of each jump,
// by a look at it, and returns the jumps that are not older than that look: it
// says nothing of them.
func (js jumps) judge(now info, lost func(from, to uint64)) jumps {
	var younger jumps
	for _, j := range js {
		switch {
		case j.look >= now.look:
			younger = append(younger, j)
		case j.from < now.first:
			lost(j.from, min(j.to, now.first-1))
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
	for p, m := range s.members { // first: it passed these before those of its present reader
		m.passed = m.passed.judge(now, func(from, to uint64) { m.missed(p, from, to) })
		if m.told != nil && len(m.passed) == 0 {
			delete(s.members, p)
			close(m.told)
		}
	}
	for _, r := range s.readers() {
		r.mu.Lock()
		r.jumps = r.jumps.judge(now, func(from, to uint64) {
			r.index.Keys(func(p *pool.Pool) {
				if m := s.members[p]; m != nil {
					m.missed(p, max(from, m.since+1), to)
				}
			})
		})
		r.mu.Unlock()
	}
}

// missed tells p of a gap that it has passed, if it was still to read any of that.
func (m *member) missed(p *pool.Pool, from, to uint64) {
	if from <= to && !p.Finished(from, to) {
		p.Lost(wire.Gap{From: from, To: to, At: time.Now().UTC(), Generation: m.rec.Generation})
	}
}
