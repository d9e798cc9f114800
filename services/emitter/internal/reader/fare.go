package reader

import (
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// fare is how something that reads fares, and since when it cannot.
type fare struct {
	mu    sync.Mutex
	state feed.State
	since time.Time

	told pool.Trouble // the pools, by the store's loop; only that sees it
}

func (f *fare) note(st feed.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if st.Err != nil && f.state.Err == nil {
		f.since = time.Now()
	}
	f.state = st
}

func (f *fare) get() feed.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// trouble is why it cannot read, if that has been so for longer than grace.
func (f *fare) trouble(grace time.Duration) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.Err == nil || time.Since(f.since) < grace {
		return ""
	}
	return f.state.Err.Error()
}

// news reports whether what the pools are to be told has changed.
func (f *fare) news(grace time.Duration) bool {
	now := pool.Trouble{Unreadable: f.trouble(grace), Reopened: f.get().Reopened}
	changed := now != f.told
	f.told = now
	return changed
}

// tell tells the pools how often their readers were opened anew, and why the
// store cannot be read where it cannot: those for whom that has changed, and
// those that have another reader.
func (s *Store) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	untold := &s.crowds.untold
	if s.sight.news(s.tune.grace) {
		for p, m := range s.members {
			untold.put(p, m, true)
		}
	}
	for _, r := range s.readers() {
		if r.fare.news(s.tune.grace) {
			r.mu.Lock()
			r.index.Keys(func(p *pool.Pool) {
				if m := s.members[p]; m != nil {
					untold.put(p, m, true)
				}
			})
			r.mu.Unlock()
		}
	}
	for p, m := range untold.in {
		from := &s.sight
		if m.reader != nil {
			from = m.reader.fare
		}
		p.Trouble(from.told)
	}
	untold.in = nil
}

// stalled reports whether a reader that could read has stood still for too many
// looks.
func (r *reader) stalled(looks int) bool {
	st := r.fare.get()
	return st.Err == nil && r.still >= looks<<min(st.Reopened, 3)
}

// interrupted reports whether a reader cannot read at the moment, for another
// reason than that there is no place for its consumer.
func (r *reader) interrupted() bool {
	st := r.fare.get()
	return st.Err != nil && !starved(st)
}

// starved reports whether a consumer could not be made since the store has as
// many as it may, and not only for the moment in which another one ends.
func starved(st feed.State) bool {
	return errors.Is(st.Err, jetstream.ErrMaximumConsumersLimit) && st.Reopened >= 3
}

// yield closes the reader at the head, if it has the only place for a consumer
// that the store leaves us, and others wait for one to read history. They share
// one reader then, and the one that arrives takes the place at the head.
func (s *Store) yield() {
	s.mu.Lock()
	yields := s.head != nil && !starved(s.head.fare.get()) && len(s.temps) > 0
	for r := range s.temps {
		yields = yields && starved(r.fare.get())
	}
	s.mu.Unlock()
	if !yields {
		return
	}
	s.log.Info().Msg("the store has no place for a second consumer: history is read first")
	s.closeAll()
	s.mu.Lock()
	s.yielded = true
	s.mu.Unlock()
}

// resume lets the reader at the head be opened again, where it yielded and
// nobody reads history.
func (s *Store) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.yielded && len(s.temps) == 0 {
		s.yielded = false
		s.wake()
	}
}

// promote makes a temporary reader that has arrived the one at the head, where
// that yielded its place.
func (s *Store) promote(r *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.yielded || r.stopped {
		return
	}
	s.head, s.yielded = r, false
	delete(s.temps, r)
	r.atHead.Store(true)
	r.index.Keys(func(p *pool.Pool) { p.Attach(&r.position, &r.taken, p.Position(), true) })
	s.wake()
}
