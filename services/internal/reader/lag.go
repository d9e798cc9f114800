package reader

import "github.com/sluicehq/sluice/services/internal/pool"

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
