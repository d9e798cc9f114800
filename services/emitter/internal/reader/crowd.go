package reader

import "github.com/sluicehq/sluice/services/emitter/internal/pool"

// crowd is some of a store's pools. One that was large costs nothing once it is
// empty, which a map would: to go through it takes as long as it ever was.
type crowd struct{ in map[*pool.Pool]*member }

func (c *crowd) put(p *pool.Pool, m *member, in bool) {
	switch {
	case in && c.in == nil:
		c.in = map[*pool.Pool]*member{p: m}
	case in:
		c.in[p] = m
	default:
		if delete(c.in, p); len(c.in) == 0 {
			c.in = nil
		}
	}
}

// crowds are the pools of a store that something is to be done for, so that a
// round over the store costs what has changed, however many pools it has.
type crowds struct {
	waiting crowd // for a reader, which they could have at once
	judging crowd // have passed jumps under readers that they have left
	fresh   crowd // have not been held against the store since they came
	untold  crowd // of what keeps the reader that they have now from reading
}

// file puts a pool into the crowds that it belongs to after a change of it. The
// store's mu is held.
func (s *Store) file(p *pool.Pool, m *member) {
	if s.members[p] != m {
		return // it has left meanwhile
	}
	s.crowds.waiting.put(p, m, m.reader == nil && !m.full && !m.halted)
	s.crowds.judging.put(p, m, len(m.passed) > 0)
}

// expel makes a pool no member any more. The store's mu is held.
func (s *Store) expel(p *pool.Pool) {
	delete(s.members, p)
	for _, c := range []*crowd{&s.crowds.waiting, &s.crowds.judging, &s.crowds.fresh, &s.crowds.untold} {
		c.put(p, nil, false)
	}
}
