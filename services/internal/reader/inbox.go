package reader

import (
	"slices"
	"sync"

	"github.com/sluicehq/sluice/services/internal/pool"
)

// inbox is what the store was told of its members, in order, and has not taken in
// yet. There is at most one departure of a member in it, and that its pool has
// room again: it must have another reader before it can leave that.
type inbox struct {
	mu      sync.Mutex
	notices []notice
}

// notice is that a pool has left its reader, or has room again.
type notice struct {
	pool   *pool.Pool
	left   *reader // nil: it has room again
	hole   *hole   // where it left; nil: it had no room
	passed holes   // those of the reader; the pool may have passed them with it
}

// empty returns what is in it.
func (b *inbox) empty() []notice {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.notices
	b.notices = nil
	return all
}

func (b *inbox) add(n notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notices = append(b.notices, n)
}

// left is called by a reader that a pool has left, since it has no room or met a
// hole. A pool without room comes back when it has some. The reader's mu is held.
func (s *Store) left(r *reader, p *pool.Pool, h *hole) {
	s.inbox.add(notice{pool: p, left: r, hole: h, passed: slices.Clone(r.holes)})
	if h != nil {
		s.wake()
		return
	}
	room := p.Room()
	s.waiters.Go(func() { // ends at the latest when the pool is closed
		<-room
		s.inbox.add(notice{pool: p})
		s.wake()
	})
}

// takeIn changes what the store knows of a member by what it was told. The
// store's lock is held.
func (s *Store) takeIn(n notice) {
	m := s.roster.all[n.pool]
	switch {
	case m == nil:
	case n.left == nil:
		if m.state == noRoom {
			s.roster.become(m, waiting)
		}
	case m.reader != n.left: // it was taken off meanwhile, with all that it passed
	default:
		m.keep(n.passed, n.pool.Position())
		m.hole = n.hole
		if n.hole == nil {
			s.roster.become(m, noRoom)
		} else {
			s.roster.become(m, atHole)
		}
	}
}
