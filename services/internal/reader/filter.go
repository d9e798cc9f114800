package reader

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/services/internal/match"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// nearFrontLooks is how many looks away, at its pace, the front of the store has
// to be for a reader with filters.
const nearFrontLooks = 10

// everything is what a reader without filters asks for.
var everything = []string{">"}

// with returns filters that are also what p wants. A pool that is to pause at a
// gap has to see every event, or it could not tell a gap in the sequence.
func with(f match.Filters, p *pool.Pool) match.Filters {
	if p.PausesAtGap() {
		return nil
	}
	return f.With(p.Matcher())
}

// maxShare is what part of a store filters may select, at most, to be worth it:
// one in so many.
const maxShare = 10

// selectMuch reports whether filters bring so much of what is to be read that
// the server reads faster without. With a wildcard it visits all subjects of a part
// of the store that match, for each event that it delivers far from the end of that
// part. So what filters cost grows with the square of the share that they select.
// What they save shrinks with it.
func selectMuch(pending, behind, many uint64) bool {
	return pending >= many && pending > behind/maxShare
}

// noteBacklog notes how much more there was for a reader when an event was sent.
func (r *reader) noteBacklog(n uint64) {
	many := r.store.cfg.tune.backlog
	switch {
	case r.pending.Swap(n) >= many || n < many:
	case r.atHead.Load():
		r.store.wakeSoon() // it may only be a burst
	default:
		r.store.wake()
	}
}

// dropCostlyFilters lets readers ask for everything where that is faster.
func (s *Store) dropCostlyFilters(now info) {
	s.lock()
	defer s.mu.Unlock()
	for _, r := range s.readers() {
		r.mu.Lock()
		if at := r.position.Load(); at < now.last && selectMuch(r.pending.Load(), now.last-at, s.cfg.tune.backlog) {
			r.widen(nil)
		}
		r.mu.Unlock()
	}
}

// widen makes the reader ask for f, which has all that it asked for before. It takes
// nothing more of what it asked for, and its position stands still. The next round
// opens it anew from there. Its mu is held.
func (r *reader) widen(f match.Filters) {
	if r.filters == nil || f != nil && slices.Equal(f, r.filters) {
		return
	}
	r.filters = f
	if r.cancel != nil {
		r.stale = true
		r.cancel()
	}
}

// reopenStale opens the readers anew that are to ask for more than they did.
func (s *Store) reopenStale(ctx context.Context) {
	for _, r := range s.allReaders() {
		r.mu.Lock()
		stale := r.stale && !r.stopped
		r.mu.Unlock()
		if stale {
			r.close()
			r.open(ctx)
		}
	}
}

// nearFront reports whether a reader is so near to the front of the store that
// it must see every event. With filters it would take events that it did not ask
// for, and that the store dropped right after, for a gap.
func (s *Store) nearFront(position uint64) bool {
	return position+1 < s.info.first+nearFrontLooks*s.front.pace
}

// filtersAfter is what a reader without pools asks for from a position on: nothing,
// or everything where it may not have filters.
func (s *Store) filtersAfter(position uint64) match.Filters {
	if s.nearFront(position) {
		return nil
	}
	return match.Filters{}
}

// front is how the front of a store moves.
type front struct {
	first uint64
	look  uint64    // which look has shown it there
	at    time.Time // when that was seen
	pace  uint64    // by how much it had moved since the look before, for each tuning.look
}

// seen notes where the front is.
func (f *front) seen(now info, at time.Time, look time.Duration) {
	if now.look == f.look {
		return
	}
	looks := max(at.Sub(f.at), look)
	pace := uint64(0)
	if f.first > 0 && now.first > f.first {
		pace = uint64(math.Ceil(float64(now.first-f.first) * float64(look) / float64(looks)))
	}
	*f = front{now.first, now.look, at, pace}
}

// watchFront notes how fast the front of the store moves, and lets readers that
// are near to it ask for everything.
func (s *Store) watchFront() {
	s.lock()
	defer s.mu.Unlock()
	s.front.seen(s.info, time.Now(), s.cfg.tune.look)
	for _, r := range s.readers() {
		r.mu.Lock()
		if s.nearFront(r.position.Load()) {
			r.widen(nil)
		}
		r.mu.Unlock()
	}
}

// widenDrained lets temporary readers that have come to the end of what they ask
// for, or near to it, ask for everything. No other way is it sure that they meet
// the head, which moves on with events that they do not see.
func (s *Store) widenDrained(ctx context.Context, now info) {
	for _, r := range s.allReaders() {
		if r.drained.Swap(false) && (r.position.Load()+s.cfg.tune.span >= now.last || s.advanceIfIdle(ctx, r, now.last)) {
			r.mu.Lock()
			r.widen(nil)
			r.mu.Unlock()
		}
	}
}

// advanceIfIdle moves a reader to last, the end of the store when it was looked
// at, if nothing up to there is for it: not asked for, or deleted. No message says
// so. It returns whether the reader is there.
//
// The consumer's own word that nothing is pending is not enough: it learns of an
// event after the stream does, and it may be with a replica that lags behind.
func (s *Store) advanceIfIdle(ctx context.Context, r *reader, last uint64) bool {
	r.mu.Lock()
	filters, at := r.filters, r.position.Load()
	r.mu.Unlock()
	if at >= last {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if filters == nil {
		filters = everything
	}
	for _, f := range filters {
		if there, err := s.hasAfter(ctx, at, f); err != nil || there {
			return false
		}
	}
	return r.skip(at, last)
}

// hasAfter asks the leader of the stream whether there is an event after seq
// that a filter matches.
func (s *Store) hasAfter(ctx context.Context, seq uint64, filter string) (bool, error) {
	_, err := jsapi.GetMsg(ctx, s.cfg.JetStream, s.name, map[string]any{"seq": seq + 1, "next_by_subj": filter})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask %q for an event after %d: %w", s.name, seq, err)
	default:
		return true, nil
	}
}
