package reader

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/services/internal/pool"
)

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
