package emitter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// restartDrain bounds how long a change of the subscription waits for answers
// to deliveries made by the old one.
const restartDrain = 2 * time.Second

// act takes the action on a pool, in at most actTimeout once it has drained.
// After an error the pool is looked at again.
func (s *Service) act(ctx context.Context, name string, a claim.Action, v claim.View) error {
	h := s.holding(name)
	if h != nil {
		s.drainAside(ctx, h, a)
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	switch {
	case a == claim.Claim:
		return s.claim(ctx, name, v)
	case a == claim.Remove:
		return s.remove(ctx, name, h, v)
	case h == nil: // lost since the decision was made
		return nil
	}
	switch a {
	case claim.Restart:
		return s.restart(ctx, h, v)
	case claim.Release:
		return s.release(ctx, h)
	case claim.Restore:
		return s.restore(ctx, h)
	case claim.Drop:
		s.contests.Lost(name, time.Now())
		s.lose(h, "another claim was made")
	}
	return nil
}

// drainAside drains a pool where the action asks for it, and gives the slot of
// the action to others meanwhile.
func (s *Service) drainAside(ctx context.Context, h *holding, a claim.Action) {
	var atMost time.Duration
	switch a {
	case claim.Restart:
		atMost = restartDrain
	case claim.Release:
		atMost = s.cfg.DrainTimeout
	default:
		return
	}
	s.slots.Release(1)
	s.drain(ctx, h, atMost)
	_ = s.slots.Acquire(ctx, 1) // comes, since every action ends; ctx does not
}

// claim takes a pool over: first the entry, then the events.
func (s *Service) claim(ctx context.Context, name string, v claim.View) error {
	if v.Pool != nil && v.Pool.Owner == s.instance {
		fresh, err := s.reread(ctx, name, v)
		if err != nil || claim.Decide(fresh) != claim.Claim {
			return err
		}
		v = fresh
		v.Pool = s.left.of(v.Pool)
	}
	h := &holding{name: name, me: s.instance, rec: v.Record, recRev: v.RecordRevision, rev: v.PoolRevision}
	if v.Pool != nil {
		h.entry = *v.Pool
	}
	h.turn.Lock()
	defer h.turn.Unlock()
	epoch, err := s.pools.NextEpoch(ctx, h.last(), h.rev)
	if err != nil {
		return fmt.Errorf("claim pool %q: %w", name, err)
	}
	next := s.claimed(h, v.Record, v.RecordRevision, epoch)
	if err := s.write(ctx, h, next); err != nil {
		if errors.Is(err, errLost) {
			return nil // somebody was faster: their entry will wake us
		}
		return fmt.Errorf("claim pool %q: %w", name, err)
	}
	if err := s.start(h); err != nil {
		return err
	}
	s.mu.Lock()
	s.holdings[name] = h
	s.mu.Unlock()
	if !s.session.Valid() {
		s.forget(h, "the session lapsed during the claim")
		return nil
	}
	from := "nobody"
	if v.Pool != nil && v.Pool.Owner != "" {
		from = v.Pool.Owner
	}
	s.tell(wire.AdvPoolClaimed, name, "", map[string]any{
		"epoch": next.Epoch, "floor": next.Checkpoint.Floor, "previous_owner": from,
	})
	s.log.Info().Str("subscription", name).Uint64("epoch", next.Epoch).Uint64("floor", next.Checkpoint.Floor).
		Str("previous_owner", from).Msg("pool claimed")
	return nil
}

// rereadTimeout bounds the read before a claim. One that falls into an election is
// never answered, and would only delay the next.
const rereadTimeout = time.Second

// reread returns v with the entry as it is stored now. Where an entry names us,
// our copy may be older than what we wrote last: a release, or a later place.
func (s *Service) reread(ctx context.Context, name string, v claim.View) (claim.View, error) {
	ctx, cancel := context.WithTimeout(ctx, rereadTimeout)
	defer cancel()
	p, rev, err := s.pools.Get(ctx, name)
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		p = nil
	case err != nil:
		return v, fmt.Errorf("claim our own pool: %w", err)
	}
	v.Pool, v.PoolRevision = p, rev
	v.OwnerAlive = p != nil && p.Owner != "" && s.peers.Alive(p.Owner)
	return v, nil
}

// claimed is the entry that makes the pool ours, run by rec. The place is kept
// unless rec is another subscription than the entry's, which starts over.
func (s *Service) claimed(h *holding, rec *wire.Record, recRev, epoch uint64) wire.Pool {
	old := h.last()
	now := time.Now().UTC()
	next := wire.Pool{
		Schema: wire.SchemaVersion, Name: h.name, UID: rec.UID, Owner: s.instance,
		Epoch:              epoch,
		ObservedGeneration: rec.Generation, ObservedRevision: recRev,
		Checkpoint: wire.Checkpoint{Floor: max(rec.StartSequence, 1) - 1},
		State:      wire.PoolCatchingUp, ClaimedAt: now, UpdatedAt: now,
	}
	if old != nil && old.UID == rec.UID {
		next.Checkpoint, next.Gap = old.Checkpoint, old.Gap
		next.Begin, next.LostFrom, next.Holes = old.Begin, old.LostFrom, old.Holes
	}
	switch {
	case rec.Paused:
		next.State, next.Gap = wire.PoolPaused, acknowledged(next.Gap)
	case s.atEnd(rec, &next):
		next.State = wire.PoolLive
	}
	return next
}

// atEnd reports whether a pool with the entry will be live as soon as it runs, as
// far as can be known before: then the claim says so, and no second write has to.
// Where it turns out otherwise, the pool says what it is as it does of any change.
func (s *Service) atEnd(rec *wire.Record, entry *wire.Pool) bool {
	return entry.LostFrom == 0 && len(entry.Checkpoint.Ranges) == 0 &&
		s.readers.AtEnd(rec.Spec.Store, rec.StoreCreated, entry.Checkpoint.Floor)
}

// start makes the pool of a holding run by its entry. h.turn is held.
func (s *Service) start(h *holding) error {
	if h.rec.Paused {
		return nil
	}
	h.fresh.Store(true)
	id, prefix := s.answers.reserve()
	p, err := pool.New(pool.Config{
		Record: h.rec, Epoch: h.entry.Epoch, State: h.entry.State, Checkpoint: h.entry.Checkpoint, Gap: h.entry.Gap, LostFrom: h.entry.LostFrom, Holes: h.entry.Holes,
		AnswerPrefix: prefix, Publisher: s.data, Carriers: &s.carriers, Parker: s.parker, Timers: s.timers, Budget: s.budget,
		Fetcher: s.fetcher, Asker: s.asker, MaxRanges: pool.RangesWithin(s.ctl.MaxPayload()),
		Notify: func(n pool.Notice) { s.tellOf(h.name, n) },
		Moved:  func() { s.moved(h) },
	})
	if err != nil {
		s.answers.remove(id)
		return fmt.Errorf("start pool %q: %w", h.name, err)
	}
	h.mu.Lock()
	h.pool, h.id = p, id
	h.mu.Unlock()
	s.answers.add(id, p)
	s.readers.Attach(p, h.rec, begin(h))
	return nil
}

// begin is the first sequence to read where the subscription or a seek named
// one, which the store may not have reached yet; 0 where the store gave it.
func begin(h *holding) uint64 {
	if h.entry.Begin == 0 && h.rec.Spec.Start.Kind == wire.PositionSequence {
		return h.rec.StartSequence
	}
	return h.entry.Begin
}

// drain takes the pool of a holding off its reader and waits, for at most the
// given time, for the answers that are out, and until the pool knows whether it
// has just passed a gap. Checkpoints go on meanwhile.
func (s *Service) drain(ctx context.Context, h *holding, atMost time.Duration) {
	h.mu.Lock()
	p, store := h.pool, h.rec.Spec.Store
	h.mu.Unlock()
	if p == nil {
		return
	}
	told := s.readers.Retire(store, p)
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	p.Drain(ctx)
	select {
	case <-told:
	case <-ctx.Done():
	}
}

// halt ends the pool of a holding; the entry is then as the pool stood last. The
// pool is closed first, so that no answer comes in behind the snapshot. h.turn is
// held.
func (s *Service) halt(h *holding) {
	if h.pool == nil {
		return
	}
	s.readers.Detach(h.rec.Spec.Store, h.pool)
	h.pool.Close()
	s.answers.remove(h.id)
	last := h.snapshot()
	h.mu.Lock()
	h.pool, h.entry = nil, last
	h.mu.Unlock()
}

// restart runs a pool that has drained by a changed record, under a new epoch.
func (s *Service) restart(ctx context.Context, h *holding, v claim.View) error {
	h.turn.Lock()
	defer h.turn.Unlock()
	if h.over {
		return nil
	}
	s.halt(h)
	next := s.claimed(h, v.Record, v.RecordRevision, subscription.NextEpoch(&h.entry, h.rev))
	if err := s.write(ctx, h, next); err != nil {
		s.forget(h, "its entry could not be written") // the place is in the entry; it is claimed anew
		return fmt.Errorf("restart pool %q: %w", h.name, err)
	}
	h.mu.Lock()
	h.rec, h.recRev = v.Record, v.RecordRevision
	h.mu.Unlock()
	if err := s.start(h); err != nil {
		return err
	}
	s.tell(wire.AdvPoolRestarted, h.name, "the subscription changed", map[string]any{
		"epoch": next.Epoch, "generation": next.ObservedGeneration, "uid": next.UID,
	})
	return nil
}

// release hands over a pool that has drained: last checkpoint, no owner.
func (s *Service) release(ctx context.Context, h *holding) error {
	h.turn.Lock()
	defer h.turn.Unlock()
	if h.over {
		return nil
	}
	s.halt(h)
	next := h.entry
	next.Owner, next.State, next.Reason = "", wire.PoolReleased, ""
	if h.rec.Paused {
		next.State = wire.PoolPaused
	}
	err := s.write(ctx, h, next)
	if err != nil {
		s.forget(h, "its entry could not be written")
		return fmt.Errorf("release pool %q: %w", h.name, err)
	}
	s.drop(h)
	s.tell(wire.AdvPoolReleased, h.name, "", map[string]any{"epoch": next.Epoch, "floor": next.Checkpoint.Floor})
	return nil
}

// remove ends the pool of a deleted subscription and deletes its entry.
func (s *Service) remove(ctx context.Context, name string, h *holding, v claim.View) error {
	rev := v.PoolRevision
	if h != nil {
		h.turn.Lock()
		defer h.turn.Unlock()
		s.halt(h)
		rev = h.rev
		s.drop(h)
	}
	var conflict *subscription.ConflictError
	err := s.pools.Delete(ctx, name, rev)
	if err != nil && !errors.As(err, &conflict) {
		return fmt.Errorf("remove pool %q: %w", name, err)
	}
	s.tell(wire.AdvPoolReleased, name, "the subscription was deleted", nil)
	return nil
}

// restore writes back the entry of a pool whose bucket has lost it.
func (s *Service) restore(ctx context.Context, h *holding) error {
	h.turn.Lock()
	defer h.turn.Unlock()
	if h.over {
		return nil
	}
	if err := s.write(ctx, h, h.snapshot()); err != nil {
		if errors.Is(err, errLost) {
			s.forget(h, "its entry was gone, and another claim was made")
			return nil
		}
		return fmt.Errorf("write back the entry of pool %q: %w", h.name, err)
	}
	s.log.Warn().Str("subscription", h.name).Uint64("floor", h.entry.Checkpoint.Floor).Msg("entry of the pool was gone, and is written back")
	return nil
}

// lose stops a pool at once, without a write: it is no longer ours.
func (s *Service) lose(h *holding, why string) {
	if h == nil {
		return
	}
	h.turn.Lock()
	defer h.turn.Unlock()
	s.forget(h, why)
}

// write stores next as the entry of h while the session can be trusted, and no
// longer: a write that hangs must not keep a pool that has to stop. h.turn is held.
func (s *Service) write(ctx context.Context, h *holding, next wire.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, min(writeTimeout, s.trust()))
	defer cancel()
	err := h.write(ctx, s.pools, next)
	if errors.Is(err, errLost) {
		s.contests.Lost(h.name, time.Now())
	}
	return err
}

// forget is lose with h.turn held.
func (s *Service) forget(h *holding, why string) {
	if h.over {
		return
	}
	s.halt(h)
	s.drop(h)
	s.tell(wire.AdvPoolLost, h.name, why, map[string]any{"epoch": h.entry.Epoch})
	s.log.Warn().Str("subscription", h.name).Uint64("epoch", h.entry.Epoch).Str("why", why).Msg("pool lost")
}

// drop takes a holding off the books. h.turn is held.
func (s *Service) drop(h *holding) {
	h.over = true
	s.mu.Lock()
	if s.holdings[h.name] == h {
		delete(s.holdings, h.name)
	}
	s.mu.Unlock()
	s.dirty(h.name)
}
