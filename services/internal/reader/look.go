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

// mustLook reports whether the store is to be asked what it holds.
func (s *Store) mustLook(rest time.Duration) bool {
	again := s.round.origins.again
	return s.looks.requested.Load() || s.lookHealth.get().Err != nil || time.Since(s.round.looked) >= rest ||
		!again.IsZero() && time.Now().After(again) || s.wantsLook(true)
}

// wantsLook reports whether somebody waits for a look at the store, or one may
// well bring news. It is unknown before it has been looked at, and while it does
// not exist: each round looks at it then, but none is made for that.
func (s *Store) wantsLook(unknown bool) bool {
	s.lock()
	defer s.mu.Unlock()
	switch {
	case s.info.created.IsZero():
		return unknown
	case s.head.Load() == nil, s.round.followed:
		return true
	}
	for m := range s.roster.open.in {
		if m.state != storeLost || len(m.passed) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(s.readers(), func(r *reader) bool { return r.wantsLook(s.front.pace > 0) })
}

// wantsLook reports whether a reader needs a look at the store. That may show that
// something was lost, that it has nothing left to read, or that it is late.
func (r *reader) wantsLook(frontMoves bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.health.get().Err != nil, !r.atHead.Load():
		return true
	case len(r.holes) > 0, r.stall.looks > 0:
		return true
	case r.lag != (lag{}), r.pending.Load() >= r.store.cfg.tune.backlog:
		return true
	default:
		return frontMoves && r.filters != nil
	}
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
	s.looks.requested.Store(false)
	s.round.looked = time.Now()
	now, err := s.inspect(ctx)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		s.lookHealth.note(feed.State{})
		s.loseStore("the store does not exist")
		return now, false
	case ctx.Err() != nil:
		return now, false
	case err != nil:
		s.log.Warn().Err(err).Msg("store cannot be looked at")
		s.lookHealth.note(feed.State{Err: fmt.Errorf("look at the store: %w", err)})
		return now, false
	}
	s.lookHealth.note(feed.State{})
	s.noteInfo(now)
	s.holdCaptured(ctx, now.sourcing)
	return now, true
}

// maxMissing bounds the sequences that a store may lack for its list of them to be
// asked for: the server writes each of them out, some 8 bytes.
const maxMissing = 20_000

// inspect asks what the store holds. It asks which sequences the store lacks only
// where somebody needs to know.
func (s *Store) inspect(ctx context.Context) (info, error) {
	look := s.looks.begun.Add(1) // first: what is met from now on may be younger than the answer
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := s.cfg.JetStream.Stream(ctx, s.name)
	if err != nil {
		return info{}, jsapi.Denied(s.cfg.JetStream.Conn(), "STREAM.INFO."+s.name, err)
	}
	c := stream.CachedInfo()
	now := info{
		first: max(c.State.FirstSeq, 1), last: c.State.LastSeq, created: c.Created, look: look, missingKnown: c.State.NumDeleted == 0,
		sourcing: sourcing{c.Config.Subjects, c.Config.Mirror, c.Config.Sources},
	}
	if now.missingKnown || c.State.NumDeleted > maxMissing || !s.needsMissing(now) {
		return now, nil
	}
	if c, err = stream.Info(ctx, jetstream.WithDeletedDetails(true)); err != nil {
		return info{}, fmt.Errorf("look at what store %q lacks: %w", s.name, err)
	}
	now.missing, now.missingKnown = rangesOf(c.State.Deleted), true
	return now, nil
}

// needsMissing reports whether a pool begins, or has passed a hole under a reader
// that asked for a part of the events only.
func (s *Store) needsMissing(now info) bool {
	s.lock()
	defer s.mu.Unlock()
	partial := func(h hole) bool { return h.partial(now) }
	for m := range s.roster.open.in {
		if slices.ContainsFunc(m.passed, partial) || m.state == fresh && !m.pool.HasBegun() && m.pool.Position() < now.last {
			return true
		}
	}
	return slices.ContainsFunc(s.readers(), func(r *reader) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.ContainsFunc(r.holes, partial)
	})
}
