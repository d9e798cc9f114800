package reader

import (
	"sync"
	"time"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/services/internal/pool"
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

// stall is for how many looks in a row a reader has stood still although there is
// more to read.
type stall struct {
	reached  uint64 // at the last look: the event that it offered then, or had offered last
	looks    int
	offering bool // it was, and is, offering that event
}

// next is the stall after a look, and whether the reader has moved or is at work on
// an event. Last is the end of the store.
func (s stall) next(reached uint64, offering bool, last uint64) (next stall, moved bool) {
	moved = offering || reached != s.reached
	if reached != s.reached || offering != s.offering || !offering && reached >= last {
		return stall{reached: reached, offering: offering}, moved
	}
	return stall{reached, s.looks + 1, offering}, moved
}

// noteMove notes where the reader is, and reports whether it has moved since the
// look before, or is at work on an event.
func (r *reader) noteMove(last uint64) (moved bool) {
	r.mu.Lock()
	reached := r.reached()
	offering := r.begun > r.position.Load()
	r.mu.Unlock()
	r.stall, moved = r.stall.next(reached, offering, last)
	return moved
}

// stuckLooks is after how many looks at one event that is being offered this is
// said. A pool may keep a reader waiting for two seconds, and matching has a budget.
const stuckLooks = 10

// stuck reports, once for each event, that it is being offered for too long.
func (r *reader) stuck() bool { return r.stall.offering && r.stall.looks == stuckLooks }

// stalled reports whether a reader that could read has stood still for too many
// looks.
func (r *reader) stalled(looks int) bool {
	st := r.health.get()
	return st.Err == nil && r.stall.looks >= looks<<min(st.Reopened, 3)
}

const (
	// nearEnd is how many events the reader at the head may always be behind,
	// and still keep up.
	nearEnd = 1000
	// lateLooks is for how many looks in a row it has to be further behind than
	// that before its pools are no longer live: a burst is over sooner.
	lateLooks = 3
)

// lag is whether the reader at the head has fallen behind: its pools are not
// live then, but catch up.
type lag struct {
	fallen bool
	late   int // looks in a row that found it far behind
}

// next is the lag after a look. Far behind is more than the store grows by in a
// few looks; near to the end again is within one. In between nothing changes,
// so that the pools do not go to and fro.
func (l lag) next(behind, growth uint64) lag {
	far := behind > max(nearEnd, lateLooks*growth)
	switch {
	case l.fallen:
		return lag{fallen: behind > max(nearEnd/4, growth)}
	case far:
		return lag{fallen: l.late+1 >= lateLooks, late: l.late + 1}
	default:
		return lag{}
	}
}

// behind is how far a reader that is at a position is from the end of the store.
// What it does not ask for, or has asked for and got, it is not behind with.
func behind(pending, at, last uint64) uint64 {
	if pending == 0 || at >= last {
		return pending
	}
	return max(pending, last-at)
}

// watchEnd lets the pools at the head say whether that is near to the end of
// the store.
func (s *Store) watchEnd() {
	s.lock()
	defer s.mu.Unlock()
	r, last := s.head.Load(), s.info.last
	if r != nil { // it may know more than the last look
		last = max(last, r.position.Load()+r.pending.Load())
	}
	var growth uint64
	if s.watchedEnd > 0 && last > s.watchedEnd {
		growth = last - s.watchedEnd
	}
	s.watchedEnd = last
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.lag
	r.lag = was.next(behind(r.pending.Load(), r.position.Load(), last), growth)
	if r.lag.fallen == was.fallen {
		return
	}
	s.log.Info().Bool("behind", r.lag.fallen).Uint64("position", r.position.Load()).Uint64("last", last).Msg("reader at the head")
	r.index.Keys(func(p *pool.Pool) { p.Live(!r.lag.fallen) })
}
