package reader

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// tend brings readers and pools in line with what is.
func (s *Store) tend(ctx context.Context, rest time.Duration) {
	looked := s.mustLook(rest)
	var now info
	if looked {
		if now, looked = s.look(ctx); !looked {
			return
		}
	}
	s.reap()
	s.yield()
	if looked {
		s.ensureHead(ctx, now)
		s.finish(ctx, now)
		s.sift(now)
		s.place(ctx, now)
	}
	s.reopen(ctx)
}

// renew notes what the store holds and judges the jumps that were met before.
func (s *Store) renew(now info) {
	s.mu.Lock()
	another := !s.info.created.IsZero() && !s.info.created.Equal(now.created) || now.last < s.info.last
	s.info = now
	s.mu.Unlock()
	s.looks.before.Store(s.looks.end.Swap(now.last))
	if another {
		s.lost("the store was deleted and created anew, or lost its end")
		s.wake()
		return
	}
	s.begin(now)
	s.judge(now)
}

func (s *Store) readers() []*reader {
	var rs []*reader
	if s.head != nil {
		rs = append(rs, s.head)
	}
	for r := range s.temps {
		rs = append(rs, r)
	}
	return rs
}

// lost takes all pools off their readers: the sequences mean nothing any more.
func (s *Store) lost(why string) {
	s.closeAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info{}
	for p := range s.members {
		p.Hold(wire.PoolStoreLost, why)
	}
}

// reap closes temporary readers that have no pools left.
func (s *Store) reap() {
	s.mu.Lock()
	var done []*reader
	for r := range s.temps {
		r.mu.Lock()
		if r.stopped || r.index.Len() == 0 {
			r.stopped = true
			done = append(done, r)
			delete(s.temps, r)
		}
		r.mu.Unlock()
	}
	s.mu.Unlock()
	for _, r := range done {
		r.close()
	}
}

// ensureHead opens the reader at the head of the store.
func (s *Store) ensureHead(ctx context.Context, now info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head != nil || s.yielded {
		return
	}
	r := newReader(s, now.last, s.filtersAfter(now.last))
	r.atHead.Store(true)
	for p := range s.members { // they will come here sooner or later
		r.filters = with(r.filters, p)
	}
	s.head = r
	r.open(ctx)
}

// place gives each pool that waits a reader, while there are any.
func (s *Store) place(ctx context.Context, now info) {
	s.mu.Lock()
	most := s.maxReaders
	if s.yielded {
		most = 1
	} else {
		most-- // one is at the head
	}
	groups, left := cluster(s.behind(now), s.running(), limits{s.tune.span, most - len(s.temps)})
	for _, g := range groups {
		if g.reader != nil {
			s.join(g)
		}
	}
	s.mu.Unlock()
	for _, g := range groups {
		if g.reader == nil {
			s.catchUp(ctx, g.pools)
		}
	}
	for _, w := range left {
		w.pool.Hold(wire.PoolNoReader, fmt.Sprintf("all %d readers of the store are in use, and beyond its position", s.maxReaders))
	}
	s.resume()
}

// behind puts pools that wait for a reader under the one at the head, and
// returns those that are behind that, in the order of their positions.
func (s *Store) behind(now info) []waiter {
	var ws []waiter
	for p, m := range s.crowds.waiting.in {
		_, fresh := s.crowds.fresh.in[p] // it came after the look: there is another one soon
		if fresh || !s.fit(p, m, now) || s.put(p, m, s.head) || m.halted {
			continue
		}
		ws = append(ws, waiter{p, p.Position()})
	}
	slices.SortFunc(ws, func(a, b waiter) int { return cmp.Compare(a.at, b.at) })
	return ws
}

// running returns the temporary readers in the order of their positions.
func (s *Store) running() []running {
	var rs []running
	for r := range s.temps {
		r.mu.Lock()
		if !r.stopped {
			rs = append(rs, running{r, r.reached()})
		}
		r.mu.Unlock()
	}
	slices.SortFunc(rs, func(a, b running) int { return cmp.Compare(a.at, b.at) })
	return rs
}

// join puts pools under a reader that runs. It may have moved beyond the first
// of them meanwhile: then there is soon another look.
func (s *Store) join(g group) {
	for _, w := range g.pools {
		if !s.put(w.pool, s.members[w.pool], g.reader) {
			s.wake()
		}
	}
}

// fit reports whether the store still has what p is to read next, and deals
// with it where it has not.
func (s *Store) fit(p *pool.Pool, m *member, now info) bool {
	c := m.rec.StoreCreated
	if m.lost = !c.IsZero() && !c.Equal(now.created); m.lost {
		p.Hold(wire.PoolStoreLost, "the store was deleted and created anew: subscribe again, with restart")
		return false
	}
	if p.LostFrom() > 0 {
		s.halt(p, m)
		return false
	}
	if reach := p.Reach(); reach > now.last {
		s.beyond(p, m, reach, now.last)
		return false
	}
	m.ahead = false
	if m.jump != nil && m.jump.look >= now.look || !s.passGap(p, m, now.first) {
		return false // it left after the look at the store: there is another one soon
	}
	if !s.passHoles(p, m, now) {
		return false
	}
	m.jump = nil
	p.SkipTo(now.first - 1)
	return true
}

// beyond deals with a pool that stands behind the end of the store: it is to
// begin there, or it has read what the store has lost since.
func (s *Store) beyond(p *pool.Pool, m *member, reach, last uint64) {
	switch {
	case reach+1 == m.begin:
		p.Hold(wire.PoolNotBegun, fmt.Sprintf("begins at sequence %d; the store is at %d", m.begin, last))
	case !m.ahead:
		m.ahead = true // it may have been read since the store was looked at
		s.wake()
	default:
		p.LoseEnd(last + 1)
	}
}

// passGap deals with a store that has dropped what p is to read next, and
// reports whether p may go on behind it.
func (s *Store) passGap(p *pool.Pool, m *member, first uint64) bool {
	next := p.Position() + 1
	if first <= next || p.Finished(next, first-1) {
		return true
	}
	return s.pass(p, m, m.gap(wire.GapFront, ranges{{next, first - 1}}))
}

// pass tells p of a gap and reports whether it may go on behind it. A pool that
// is to pause waits until the subscription has been paused for this very gap,
// whatever else changes.
func (s *Store) pass(p *pool.Pool, m *member, gap wire.Gap) bool {
	if before := p.Gap(); before != nil && before.From == gap.From && before.Paused {
		gap.Paused = true
		if before.To == gap.To {
			return true // nothing more was lost since it was told
		}
	}
	p.Lost(gap)
	if !p.PausesAtGap() || gap.Paused {
		return true
	}
	s.halt(p, m)
	p.Hold("", "")
	s.paused(m.rec, gap)
	return false
}

// halt has p wait until it is attached anew, whatever becomes of the store.
func (s *Store) halt(p *pool.Pool, m *member) {
	m.halted = true
	s.file(p, m)
}

// catchUp opens a temporary reader for pools that are behind the head, which
// come in the order of their positions.
func (s *Store) catchUp(ctx context.Context, ws []waiter) {
	s.mu.Lock()
	r := newReader(s, ws[0].at, s.filtersAfter(ws[0].at))
	for _, w := range ws {
		if m := s.members[w.pool]; m != nil && m.reader == nil {
			s.put(w.pool, m, r)
		}
	}
	s.temps[r] = struct{}{}
	s.mu.Unlock()
	r.open(ctx)
}

// lookAfter looks after readers that do not move: one may have nothing left to
// read, and a temporary one has arrived then; one that has more has stalled.
func (s *Store) lookAfter(ctx context.Context) {
	s.mu.Lock()
	rs, last := s.readers(), s.info.last
	s.mu.Unlock()
	for _, r := range rs {
		behind := r.position.Load() < last
		switch {
		case r.moved(last):
		case r.interrupted(): // which its feed sees to
		case s.skim(ctx, r, last):
			r.moved(last) // or the next round would take it for at work
			if !r.atHead.Load() {
				s.merge(r)
			} else if behind {
				s.round.followed = true
			}
		case r.stalled(s.tune.stillLooks):
			s.log.Warn().Uint64("position", r.position.Load()).Uint64("last", last).Msg("reader stalled, opening it anew")
			r.still = 0
			r.feed.Reopen()
		}
	}
}
