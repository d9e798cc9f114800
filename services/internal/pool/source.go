package pool

import "sync/atomic"

// source is what a pool shares with the reader that serves it.
type source struct {
	at          *atomic.Uint64 // the reader's position; nil while no reader serves the pool
	taken       *atomic.Uint64 // how many events the reader has taken; nil likewise
	takenBefore uint64         // how many of these it took before it served the pool
	evaluated   uint64         // events that the pool was held against, with earlier readers
}

// position is the reader's, 0 without one. The pool's lock must be held: the
// reader moves it only after it has offered the event there, so what it covers
// has been offered or did not match.
func (s *source) position() uint64 {
	if s.at == nil {
		return 0
	}
	return s.at.Load()
}

// count is how many events the pool has been held against: its readers count
// them, once for all of their pools.
func (s *source) count() uint64 {
	if s.taken == nil {
		return s.evaluated
	}
	return s.evaluated + s.taken.Load() - s.takenBefore
}

func (s *source) attach(position, taken *atomic.Uint64) {
	*s = source{at: position, taken: taken, takenBefore: taken.Load(), evaluated: s.count()}
}

func (s *source) detach() { *s = source{evaluated: s.count()} }
