package reader

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// readers returns the reader at the head, if there is one, and the temporary
// ones. The store's lock is held.
func (s *Store) readers() []*reader {
	var rs []*reader
	if head := s.head.Load(); head != nil {
		rs = append(rs, head)
	}
	for r := range s.temps {
		rs = append(rs, r)
	}
	return rs
}

// allReaders is readers without the lock.
func (s *Store) allReaders() []*reader {
	s.lock()
	defer s.mu.Unlock()
	return s.readers()
}

// ensureHead opens the reader at the head of the store.
func (s *Store) ensureHead(ctx context.Context, now info) {
	s.lock()
	if s.head.Load() != nil || s.yielded {
		s.mu.Unlock()
		return
	}
	r := newReader(s, now.last, s.filtersAfter(now.last))
	r.atHead.Store(true)
	for p := range s.roster.all { // they will come here sooner or later
		r.filters = with(r.filters, p)
	}
	s.head.Store(r)
	s.mu.Unlock()
	r.open(ctx)
}

// mergeArrived merges the temporary readers that may have come to where the reader
// at the head is.
func (s *Store) mergeArrived() {
	s.lock()
	defer s.mu.Unlock()
	for r := range s.temps {
		if r.arrived.Swap(false) { // if it has not, the next event that it takes says so again
			s.merge(r)
		}
	}
}

// merge moves the members of a temporary reader to the head, if it has arrived.
// The head stands still meanwhile, so that it cannot slip away. The reader is
// closed later. The store's lock is held.
func (s *Store) merge(r *reader) {
	head := s.head.Load()
	if head == nil {
		s.promote(r)
		return
	}
	head.mu.Lock()
	defer head.mu.Unlock()
	if head.position.Load() > r.position.Load() {
		r.mu.Lock()
		r.drained.Store(r.filters != nil)
		r.mu.Unlock()
		return
	}
	for _, m := range s.release(r) {
		s.putLocked(m, head)
	}
}

// restartStalled looks for readers that do not move. One may have nothing left to
// read, and a temporary one has arrived then. One that has more is opened anew.
func (s *Store) restartStalled(ctx context.Context) {
	last := s.last()
	for _, r := range s.allReaders() {
		behind := r.position.Load() < last
		moved := r.noteMove(last)
		if r.stuck() {
			s.log.Error().Uint64("sequence", r.stall.reached).Int("looks", r.stall.looks).Msg("reader is stuck while it offers an event")
		}
		switch {
		case moved, r.interrupted(): // its feed sees to an interruption
		case s.advanceIfIdle(ctx, r, last):
			r.noteMove(last) // or the next round would take it for at work
			s.arrive(r, behind)
		case r.stalled(s.cfg.tune.stillLooks):
			s.log.Warn().Uint64("position", r.position.Load()).Uint64("last", last).Msg("reader stalled, opening it anew")
			r.stall.looks = 0
			r.feed.Reopen()
		}
	}
}

// arrive deals with a reader that is at the end of the store, since nothing up to
// there is for it. Moved is whether it was before it, a moment ago.
func (s *Store) arrive(r *reader, moved bool) {
	s.lock()
	defer s.mu.Unlock()
	switch {
	case !r.atHead.Load():
		s.merge(r)
	case moved:
		s.round.followed = true
	}
}

// closeIdle closes temporary readers that have no pools left.
func (s *Store) closeIdle() {
	s.lock()
	var idle []*reader
	for r := range s.temps {
		r.mu.Lock()
		if r.stopped || r.index.Len() == 0 {
			r.stopped = true
			idle = append(idle, r)
			delete(s.temps, r)
		}
		r.mu.Unlock()
	}
	s.mu.Unlock()
	closeReaders(idle)
}

// closeAll closes all readers. Their members wait for new ones.
func (s *Store) closeAll() {
	s.lock()
	rs := s.releaseAll()
	s.mu.Unlock()
	closeReaders(rs)
}

// closeReaders closes readers that have no pools, and of which the store knows
// nothing any more. No lock is held: to close one waits for the message that it
// handles.
func closeReaders(rs []*reader) {
	for _, r := range rs {
		r.close()
	}
}

// releaseAll takes the members off all readers, which are to be closed then. The
// store's lock is held.
func (s *Store) releaseAll() []*reader {
	rs := s.readers()
	s.yielded = false
	s.head.Store(nil)
	clear(s.temps)
	for _, r := range rs {
		s.release(r)
	}
	return rs
}

// release takes all pools off a reader, so that they wait for another one. It
// returns them. The store's lock is held.
func (s *Store) release(r *reader) (ms []*member) {
	ps, passed := r.stop()
	for _, p := range ps {
		if m := s.roster.all[p]; m != nil {
			m.keep(passed, p.Position())
			s.roster.become(m, waiting)
			ms = append(ms, m)
		}
	}
	return ms
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

// starved reports whether a consumer could not be made, since the store has as many
// as it may. It does not count the moment in which another one ends.
func starved(st feed.State) bool {
	return errors.Is(st.Err, jetstream.ErrMaximumConsumersLimit) && st.Reopened >= 3
}

// yield closes the reader at the head if it has the only place for a consumer that
// the store leaves us, and others wait for one. They read history through one reader
// then. When that arrives, it takes the place at the head.
func (s *Store) yield() {
	s.lock()
	head := s.head.Load()
	yields := head != nil && !starved(head.health.get()) && len(s.temps) > 0
	for r := range s.temps {
		yields = yields && starved(r.health.get())
	}
	var rs []*reader
	if yields {
		s.log.Info().Msg("the store has no place for a second consumer: history is read first")
		rs = s.releaseAll()
		s.yielded = true
	}
	s.mu.Unlock()
	closeReaders(rs)
}

// promote makes a temporary reader that has arrived the one at the head, where
// that yielded its place. The store's lock is held.
func (s *Store) promote(r *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.yielded || r.stopped {
		return
	}
	s.yielded = false
	delete(s.temps, r)
	r.atHead.Store(true)
	s.head.Store(r)
	r.index.Keys(func(p *pool.Pool) { p.Attach(&r.position, &r.taken, p.Position(), true) })
	s.wake()
}
