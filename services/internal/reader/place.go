package reader

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/pkg/wire"
)

// place gives each member that wants a reader one, while there are any.
func (s *Store) place(ctx context.Context, now info) {
	s.lock()
	most := s.cfg.MaxReaders
	if s.yielded {
		most = 1
	} else {
		most-- // one is at the head
	}
	groups, left := cluster(s.attachToHead(now), s.running(), s.cfg.tune.span, most-len(s.temps))
	var begun []*reader
	for _, g := range groups {
		r := g.reader
		if r == nil {
			r = newReader(s, g.pools[0].at, s.filtersAfter(g.pools[0].at))
			s.temps[r] = struct{}{}
			begun = append(begun, r)
		}
		for _, w := range g.pools {
			if !s.put(w.member, r) {
				s.wake() // the reader has moved beyond it meanwhile
			}
		}
	}
	if s.yielded && len(s.temps) == 0 { // nobody reads history: the head may be opened again
		s.yielded = false
		s.wake()
	}
	s.mu.Unlock()
	for _, r := range begun {
		r.open(ctx)
	}
	for _, w := range left {
		w.member.pool.Hold(wire.PoolNoReader, fmt.Sprintf("all %d readers of the store are in use, and beyond its position", s.cfg.MaxReaders))
	}
}

// attachToHead puts members that want a reader, and may have one, under the one at
// the head. It returns those that are behind that, in the order of their positions.
func (s *Store) attachToHead(now info) []waiter {
	var ws []waiter
	head := s.head.Load()
	for m := range s.roster.open.in {
		if !m.state.wantsReader() || !s.prepare(m, now) || head != nil && s.put(m, head) || m.state == halted {
			continue
		}
		ws = append(ws, waiter{m, m.pool.Position()})
	}
	slices.SortFunc(ws, func(a, b waiter) int { return cmp.Compare(a.at, b.at) })
	return ws
}

// put puts a member under a reader, if that is not beyond its position.
func (s *Store) put(m *member, r *reader) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.putLocked(m, r)
}

// putLocked is put where the reader's mu is held.
func (s *Store) putLocked(m *member, r *reader) bool {
	at := m.pool.Position()
	ok, err := r.add(m.pool, at)
	switch {
	case err != nil:
		s.log.Error().Err(err).Str("subscription", m.pool.Name()).Msg("subscription cannot be indexed")
		s.roster.become(m, halted)
	case ok:
		s.roster.read(m, r, at)
	default:
		s.roster.become(m, waiting)
	}
	return ok
}

// prepare does what is decided about a member that wants a reader, and reports
// whether it may be put under one.
func (s *Store) prepare(m *member, now info) bool {
	is := situation{
		store: now, created: m.rec.StoreCreated, begin: m.begin, state: m.state, hole: m.hole,
		position: m.pool.Position(), reach: m.pool.Reach(), endLost: m.pool.LostFrom() > 0,
	}
	switch is.decide() {
	case proceed:
		return s.passLosses(m, is)
	case waitForStore:
		m.pool.Hold(wire.PoolStoreLost, "the store was deleted and created anew: subscribe again, with restart")
		s.roster.become(m, storeLost)
	case halt:
		s.roster.become(m, halted)
	case waitForBeginning:
		m.pool.Hold(wire.PoolNotBegun, fmt.Sprintf("begins at sequence %d; the store is at %d", m.begin, now.last))
		s.roster.become(m, notBegun)
	case lookAgain:
		s.roster.become(m, aheadOfStore)
		s.wake()
	case loseEnd:
		m.pool.LoseEnd(now.last + 1)
		s.roster.become(m, halted)
	case waitForLook:
	}
	return false
}

// passLosses tells a member of what the store has lost of what comes next, and has
// it go on behind that. It returns false where the member is to pause.
func (s *Store) passLosses(m *member, is situation) bool {
	lost, to := is.passes()
	if gone := lost.front; len(gone) > 0 && !m.pool.Finished(gone[0][0], gone[0][1]) && !s.passGap(m, m.gap(wire.GapFront, gone)) {
		return false
	}
	if missing := m.pool.NotRead(lost.middle); len(missing) > 0 && !s.passGap(m, m.gap(wire.GapMiddle, missing)) {
		return false
	}
	m.pool.SkipTo(to)
	m.hole = nil
	s.roster.become(m, waiting)
	return true
}

// passGap tells a member of a gap, and reports whether it goes on behind that.
func (s *Store) passGap(m *member, gap wire.Gap) bool {
	tell, goOn := judgeGap(gap, m.pool.Gap(), m.pool.PausesAtGap())
	if tell != nil {
		m.pool.Lost(*tell)
	}
	if !goOn {
		s.roster.become(m, halted)
		m.pool.Hold("", "")
		s.cfg.Paused(m.rec, *tell)
	}
	return goOn
}
