package reader

import (
	"sync"
	"time"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// health is whether something can read, and since when it cannot.
type health struct {
	mu    sync.Mutex
	state feed.State
	since time.Time // of the failures in a row, the first

	reported core.Trouble // what the pools were told; of the rounds only
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

// refresh renews what the pools are to be told, and reports whether that has changed.
// A failure is told of once it is older than grace.
func (h *health) refresh(grace time.Duration) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := core.Trouble{Reopened: h.state.Reopened}
	if h.state.Err != nil && time.Since(h.since) >= grace {
		now.Unreadable = h.state.Err.Error()
	}
	changed = now != h.reported
	h.reported = now
	return changed
}

// reportTrouble tells pools how often their readers were opened anew, and why the
// store cannot be read where it cannot. It tells those for whom that has changed,
// and those that have another reader.
func (s *Store) reportTrouble() {
	s.lock()
	defer s.mu.Unlock()
	unreported := &s.roster.unreported
	if s.lookHealth.refresh(s.cfg.tune.grace) {
		for _, m := range s.roster.all {
			unreported.put(m, true)
		}
	}
	for _, r := range s.readers() {
		if r.health.refresh(s.cfg.tune.grace) {
			r.mu.Lock()
			s.eachUnder(r, func(m *member) { unreported.put(m, true) })
			r.mu.Unlock()
		}
	}
	for m := range unreported.in {
		from := &s.lookHealth
		if m.reader != nil {
			from = m.reader.health
		}
		m.pool.Trouble(from.reported)
	}
	unreported.in = nil
}

// interrupted reports whether a reader cannot read at the moment, for another
// reason than that there is no place for its consumer.
func (r *reader) interrupted() bool {
	st := r.health.get()
	return st.Err != nil && !starved(st)
}
