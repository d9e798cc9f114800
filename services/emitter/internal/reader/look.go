package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/jsapi"
)

// makeRound does what is to be done for the store. The next one is due in a while;
// 0 is when the store has rested, for which it may also go without a look. Ill is
// a store that could not be looked at.
func (s *Store) makeRound(ctx context.Context, rest time.Duration) (next time.Duration, ill bool) {
	s.looks.stirred.Store(false) // first: what happens from now on is for the next round
	s.round.followed = false
	s.mergeArrived()
	if now := time.Now(); now.Sub(s.round.ticked) >= s.cfg.tune.look {
		s.round.ticked = now
		if s.sight.get().Err == nil {
			s.watchFront()
			s.watchEnd()
			s.restartStalled(ctx)
		}
	}
	s.reconcile(ctx, rest)
	s.tell()
	ill = s.sight.get().Err != nil
	switch again := time.Until(s.round.captors.again); {
	case ill || s.restless() || s.behindLast():
		return s.cfg.tune.look, ill
	case !s.round.captors.again.IsZero() && again < rest:
		return max(again, s.cfg.tune.look), ill
	default:
		return 0, ill
	}
}

// wake has a round made at once. Many that ask for one share it.
func (s *Store) wake() { s.turn.ask(0, s.cfg.tune.pause) }

// soon has a round made within a second. Readers ask for it with each hole.
func (s *Store) soon() {
	if !s.looks.stirred.Load() && !s.looks.stirred.Swap(true) {
		s.turn.ask(s.cfg.tune.look, s.cfg.tune.pause)
	}
}

// ask has the store looked at, at once, and not again within the given time.
func (s *Store) ask(since time.Duration) {
	s.looks.asked.Store(true)
	s.turn.ask(0, since)
}

// heard is told how a reader fares. One that has just been interrupted may be the
// first to know that the store is gone.
func (s *Store) heard(st feed.State) {
	switch {
	case starved(st):
		s.wake()
	case st.Err != nil && st.Reopened == 1:
		s.ask(s.cfg.tune.pause)
	default:
		s.soon()
	}
}

// mustLook reports whether the store is to be asked what it holds.
func (s *Store) mustLook(rest time.Duration) bool {
	asked := s.looks.asked.Swap(false)
	again := s.round.captors.again
	return asked || s.sight.get().Err != nil || time.Since(s.round.looked) >= rest ||
		!again.IsZero() && time.Now().After(again) || s.unknown() || s.restless()
}

// unknown reports whether the store has not been looked at, or does not exist.
func (s *Store) unknown() bool {
	s.lock()
	defer s.mu.Unlock()
	return s.info.created.IsZero()
}

// restless reports whether somebody waits for a look at the store, or one may
// well bring news.
func (s *Store) restless() bool {
	s.lock()
	defer s.mu.Unlock()
	switch {
	case s.info.created.IsZero():
		return false // to be known is then not enough
	case s.head.Load() == nil, s.round.followed, len(s.roster.fresh.in) > 0, len(s.roster.judging.in) > 0:
		return true
	}
	for m := range s.roster.wanting.in {
		if m.state != storeLost {
			return true
		}
	}
	return slices.ContainsFunc(s.readers(), func(r *reader) bool { return r.health.get().Err != nil || r.restless(s.front.pace > 0) })
}

// restless reports whether the reader needs a look at the store: it met holes,
// stands still, has history to read, has fallen behind, or asks for a part of a
// store whose front moves.
func (r *reader) restless(frontMoves bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.atHead.Load() || r.pending.Load() >= r.store.cfg.tune.many || r.lag != (lag{}) || len(r.holes) > 0 || r.stall.looks > 0 || r.drained || frontMoves && r.filters != nil
}

// behindLast reports whether the reader at the head has not read yet what the
// store held at the last look.
func (s *Store) behindLast() bool {
	s.lock()
	defer s.mu.Unlock()
	head := s.head.Load()
	return head != nil && head.position.Load() < s.info.last
}

// look looks at the store, and reports whether that was possible.
func (s *Store) look(ctx context.Context) (now info, ok bool) {
	s.round.looked = time.Now()
	now, err := s.inspect(ctx)
	if err == nil {
		err = s.findMissing(ctx, &now)
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		s.sight.note(feed.State{})
		s.loseStore("the store does not exist")
		return now, false
	case ctx.Err() != nil:
		return now, false
	case err != nil:
		s.log.Warn().Err(err).Msg("store cannot be looked at")
		s.sight.note(feed.State{Err: fmt.Errorf("look at the store: %w", err)})
		return now, false
	}
	s.sight.note(feed.State{})
	s.noteInfo(now)
	s.guard(ctx, now.intake)
	return now, true
}

// inspect asks what the store holds.
func (s *Store) inspect(ctx context.Context) (info, error) {
	look := s.looks.begun.Add(1) // first: what is met from now on may be younger than the answer
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := s.cfg.JetStream.Stream(ctx, s.name)
	if err != nil {
		return info{}, jsapi.Denied(s.cfg.JetStream.Conn(), "STREAM.INFO."+s.name, err)
	}
	c := stream.CachedInfo()
	return info{
		first: max(c.State.FirstSeq, 1), last: c.State.LastSeq, created: c.Created, look: look, deleted: c.State.NumDeleted,
		intake: intake{c.Config.Subjects, c.Config.Mirror, c.Config.Sources},
	}, nil
}

// maxMissing bounds the sequences that a store may lack for its list of them to be
// asked for: the server writes each of them out, some 8 bytes.
const maxMissing = 20_000

// findMissing adds to a look at the store which sequences it lacks between its
// first and its last, where somebody needs to know: a pool that begins, or one
// whose reader asks for a part of the events and has passed something.
func (s *Store) findMissing(ctx context.Context, now *info) error {
	if now.deleted == 0 {
		now.missingKnown = true
		return nil
	}
	if now.deleted > maxMissing || !s.needsMissing(*now) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := s.cfg.JetStream.Stream(ctx, s.name)
	if err != nil {
		return fmt.Errorf("look at what store %q lacks: %w", s.name, err)
	}
	i, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return fmt.Errorf("look at what store %q lacks: %w", s.name, err)
	}
	now.missing, now.missingKnown = rangesOf(i.State.Deleted), true
	return nil
}

func (s *Store) needsMissing(now info) bool {
	s.lock()
	defer s.mu.Unlock()
	partial := func(h hole) bool { return h.partial(now) }
	for m := range s.roster.judging.in {
		if slices.ContainsFunc(m.passed, partial) {
			return true
		}
	}
	for m := range s.roster.fresh.in {
		if !m.pool.HasBegun() && m.pool.Position() < now.last {
			return true
		}
	}
	return slices.ContainsFunc(s.readers(), func(r *reader) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.ContainsFunc(r.holes, partial)
	})
}
