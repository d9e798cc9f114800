package reader

import (
	"sync"
	"time"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// health is whether something can read, and since when it cannot.
type health struct {
	mu    sync.Mutex
	state feed.State
	since time.Time

	told pool.Trouble // the pools, by the store's loop; only that sees it
}

func (h *health) note(st feed.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if st.Err != nil && h.state.Err == nil {
		h.since = time.Now()
	}
	h.state = st
}

func (h *health) get() feed.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// trouble is why it cannot read, if that has been so for longer than grace.
func (h *health) trouble(grace time.Duration) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.Err == nil || time.Since(h.since) < grace {
		return ""
	}
	return h.state.Err.Error()
}

// changed reports whether what the pools are to be told has changed.
func (h *health) changed(grace time.Duration) bool {
	now := pool.Trouble{Unreadable: h.trouble(grace), Reopened: h.get().Reopened}
	changed := now != h.told
	h.told = now
	return changed
}

// tell tells the pools how often their readers were opened anew, and why the
// store cannot be read where it cannot: those for whom that has changed, and
// those that have another reader.
func (s *Store) tell() {
	s.lock()
	defer s.mu.Unlock()
	untold := &s.roster.untold
	if s.sight.changed(s.cfg.tune.grace) {
		for _, m := range s.roster.all {
			untold.put(m, true)
		}
	}
	for _, r := range s.readers() {
		if r.health.changed(s.cfg.tune.grace) {
			r.mu.Lock()
			s.eachUnder(r, func(m *member) { untold.put(m, true) })
			r.mu.Unlock()
		}
	}
	for m := range untold.in {
		from := &s.sight
		if m.reader != nil {
			from = m.reader.health
		}
		m.pool.Trouble(from.told)
	}
	untold.in = nil
}

// interrupted reports whether a reader cannot read at the moment, for another
// reason than that there is no place for its consumer.
func (r *reader) interrupted() bool {
	st := r.health.get()
	return st.Err != nil && !starved(st)
}
