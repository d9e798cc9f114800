package reader

import (
	"slices"
	"sync"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// memberState says what a member waits for, or that it reads.
type memberState int

const (
	fresh        memberState = iota // the store has not been looked at since it came
	waiting                         // for a reader
	aheadOfStore                    // it has read more than the store held at the last look
	notBegun                        // the store has not reached the first event that it is to read
	storeLost                       // for a store that is no more
	atHole                          // for a look at the store: it left its reader at a hole
	reading                         // under its reader
	noRoom                          // until its pool has room: it left its reader for want of it
	halted                          // until it is attached anew, whatever becomes of the store
	retiring                        // until the holes that it has passed are judged
)

// wantsReader reports whether a member gets a reader as soon as it may.
func (s memberState) wantsReader() bool {
	switch s {
	case waiting, aheadOfStore, notBegun, storeLost, atHole:
		return true
	default:
		return false
	}
}

// member is what a store knows of one of its pools.
type member struct {
	pool   *pool.Pool
	rec    *wire.Record
	begin  uint64 // the first sequence to read where somebody named one; else 0
	state  memberState
	reader *reader       // while it is reading; else nil
	hole   *hole         // where it left its last reader, until that is judged; nil: nowhere
	since  uint64        // its position when it came under its last reader
	passed holes         // those of readers that it has left, not yet judged
	judged chan struct{} // closed at the end of retiring
}

// keep takes over the holes of a reader that the member has left at the given
// position, as far as it passed them there. The reader may be gone when they are
// judged.
func (m *member) keep(passed holes, at uint64) {
	for _, h := range passed {
		if h.from, h.to = max(h.from, m.since+1), min(h.to, at); h.from <= h.to {
			m.passed = m.passed.with(h)
		}
	}
}

// memberSet is some of a store's members. One that was large costs nothing once it
// is empty, which a map would: to go through it takes as long as it ever was.
type memberSet struct{ in map[*member]struct{} }

func (s *memberSet) put(m *member, in bool) {
	switch {
	case in && s.in == nil:
		s.in = map[*member]struct{}{m: {}}
	case in:
		s.in[m] = struct{}{}
	default:
		if delete(s.in, m); len(s.in) == 0 {
			s.in = nil
		}
	}
}

// roster is the members of a store. Those that something is to be done for are also
// in sets. So a round costs what has changed, however many members there are.
type roster struct {
	all        map[*pool.Pool]*member
	open       memberSet // are fresh, want a reader, or have passed holes that are not yet judged
	unreported memberSet // of what keeps the reader that they have now from reading
}

// add makes a pool a member.
func (r *roster) add(m *member) {
	r.all[m.pool] = m
	r.unreported.put(m, true)
	r.file(m)
}

// remove makes a pool no member any more.
func (r *roster) remove(m *member) {
	delete(r.all, m.pool)
	r.open.put(m, false)
	r.unreported.put(m, false)
}

// become changes the state of a member that is not to read, or does not any more.
func (r *roster) become(m *member, state memberState) {
	if m.reader != nil {
		m.reader = nil
		r.unreported.put(m, true)
	}
	m.state = state
	r.file(m)
}

// read notes that a member reads under a reader from a position on.
func (r *roster) read(m *member, under *reader, since uint64) {
	m.state, m.hole, m.reader, m.since = reading, nil, under, since
	r.unreported.put(m, true)
	r.file(m)
}

// file puts a member among the open ones after a change of it, or takes it out.
func (r *roster) file(m *member) {
	r.open.put(m, r.all[m.pool] == m && (m.state == fresh || m.state.wantsReader() || len(m.passed) > 0))
}

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
