package emitter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

const (
	// restartDrain bounds how long a change of the subscription waits for answers
	// to deliveries made by the old one.
	restartDrain = 2 * time.Second
	// actTimeout bounds one action beyond its drain.
	actTimeout = 10 * time.Second
	// writeTimeout bounds one write of a pool's entry.
	writeTimeout = 5 * time.Second
	// rereadTimeout bounds the read before a claim. One that falls into an election
	// is never answered, and would only delay the next.
	rereadTimeout = time.Second
)

// trust is what a session says of itself: whether others may already consider this
// instance dead.
type trust interface {
	Valid() bool
	ValidFor() time.Duration
}

// claimer carries out what is decided about pools: it claims and restarts them,
// releases, removes and loses them.
type claimer struct {
	me           string
	pools        *subscription.Pools
	session      trust
	holdings     *holdings
	runner       *runner
	queue        *workQueue
	contests     *claim.Contests
	left         *left
	advisories   *advisories
	alive        func(instance string) bool
	drainTimeout time.Duration
	log          zerolog.Logger
}

// act takes an action on a pool that has drained, in at most actTimeout. After an
// error the pool is to be looked at again.
func (c *claimer) act(ctx context.Context, name string, a claim.Action, v claim.View) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	h := c.holdings.of(name)
	switch {
	case a == claim.Claim:
		return c.claim(ctx, name, v)
	case a == claim.Remove:
		return c.remove(ctx, name, h, v)
	case h == nil: // lost since the decision was made
		return nil
	}
	h.turn.Lock()
	defer h.turn.Unlock()
	switch {
	case h.over: // lost since then, or handed over
	case a == claim.Restart:
		return c.restart(ctx, h, v)
	case a == claim.Release:
		return c.release(ctx, h)
	case a == claim.Restore:
		return c.restore(ctx, h)
	case a == claim.Drop:
		c.contests.Lost(name, time.Now())
		c.forget(h, "another claim was made")
	}
	return nil
}

// claim takes a pool over: first the entry, then the events.
func (c *claimer) claim(ctx context.Context, name string, v claim.View) error {
	if v.Pool != nil && v.Pool.Owner == c.me {
		fresh, err := c.reread(ctx, name, v)
		if err != nil || claim.Decide(fresh) != claim.Claim {
			return err
		}
		v = fresh
		v.Pool = c.left.of(v.Pool)
	}
	h := &holding{name: name, me: c.me, rec: v.Record, recRev: v.RecordRevision, rev: v.PoolRevision}
	if v.Pool != nil {
		h.entry = *v.Pool
	}
	h.turn.Lock()
	defer h.turn.Unlock()
	epoch, err := c.pools.NextEpoch(ctx, h.last(), h.rev)
	if err != nil {
		return fmt.Errorf("claim pool %q: %w", name, err)
	}
	next := c.claimed(h, v.Record, v.RecordRevision, epoch)
	if err := c.write(ctx, h, next); err != nil {
		if errors.Is(err, errLost) {
			return nil // somebody was faster: their entry will wake us
		}
		return fmt.Errorf("claim pool %q: %w", name, err)
	}
	if err := c.runner.start(h); err != nil {
		return err
	}
	c.holdings.add(h)
	if !c.session.Valid() {
		c.forget(h, "the session lapsed during the claim")
		return nil
	}
	from := "nobody"
	if v.Pool != nil && v.Pool.Owner != "" {
		from = v.Pool.Owner
	}
	c.advisories.tell(wire.AdvPoolClaimed, name, "", map[string]any{
		"epoch": next.Epoch, "floor": next.Checkpoint.Floor, "previous_owner": from,
	})
	c.log.Info().Str("subscription", name).Uint64("epoch", next.Epoch).Uint64("floor", next.Checkpoint.Floor).
		Str("previous_owner", from).Msg("pool claimed")
	return nil
}

// reread returns v with the entry as it is stored now. Where an entry names us,
// our copy may be older than what we wrote last: a release, or a later place.
func (c *claimer) reread(ctx context.Context, name string, v claim.View) (claim.View, error) {
	ctx, cancel := context.WithTimeout(ctx, rereadTimeout)
	defer cancel()
	p, rev, err := c.pools.Get(ctx, name)
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		p = nil
	case err != nil:
		return v, fmt.Errorf("claim our own pool: %w", err)
	}
	v.Pool, v.PoolRevision = p, rev
	v.OwnerAlive = p != nil && p.Owner != "" && c.alive(p.Owner)
	return v, nil
}

// claimed is the entry that makes the pool ours, run by rec. The place is kept
// unless rec is another subscription than the entry's, which starts over.
func (c *claimer) claimed(h *holding, rec *wire.Record, recRev, epoch uint64) wire.Pool {
	old := h.last()
	now := time.Now().UTC()
	next := wire.Pool{
		Schema: wire.SchemaVersion, Name: h.name, UID: rec.UID, Owner: c.me,
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
	case c.runner.atEnd(rec, &next):
		next.State = wire.PoolLive
	}
	return next
}

// restart runs a pool that has drained by a changed record, under a new epoch.
// h.turn is held.
func (c *claimer) restart(ctx context.Context, h *holding, v claim.View) error {
	c.runner.halt(h)
	next := c.claimed(h, v.Record, v.RecordRevision, subscription.NextEpoch(&h.entry, h.rev))
	if err := c.write(ctx, h, next); err != nil {
		c.forget(h, "its entry could not be written") // the place is in the entry; it is claimed anew
		return fmt.Errorf("restart pool %q: %w", h.name, err)
	}
	h.mu.Lock()
	h.rec, h.recRev = v.Record, v.RecordRevision
	h.mu.Unlock()
	if err := c.runner.start(h); err != nil {
		return err
	}
	c.advisories.tell(wire.AdvPoolRestarted, h.name, "the subscription changed", map[string]any{
		"epoch": next.Epoch, "generation": next.ObservedGeneration, "uid": next.UID,
	})
	return nil
}

// release hands over a pool that has drained: last checkpoint, no owner. h.turn is
// held.
func (c *claimer) release(ctx context.Context, h *holding) error {
	c.runner.halt(h)
	next := h.entry
	next.Owner, next.State, next.Reason = "", wire.PoolReleased, ""
	if h.rec.Paused {
		next.State = wire.PoolPaused
	}
	err := c.write(ctx, h, next)
	if err != nil {
		c.forget(h, "its entry could not be written")
		return fmt.Errorf("release pool %q: %w", h.name, err)
	}
	c.drop(h)
	c.advisories.tell(wire.AdvPoolReleased, h.name, "", map[string]any{"epoch": next.Epoch, "floor": next.Checkpoint.Floor})
	return nil
}

// remove ends the pool of a deleted subscription and deletes its entry.
func (c *claimer) remove(ctx context.Context, name string, h *holding, v claim.View) error {
	rev := v.PoolRevision
	if h != nil {
		h.turn.Lock()
		defer h.turn.Unlock()
		c.runner.halt(h)
		rev = h.rev
		c.drop(h)
	}
	var conflict *subscription.ConflictError
	err := c.pools.Delete(ctx, name, rev)
	if err != nil && !errors.As(err, &conflict) {
		return fmt.Errorf("remove pool %q: %w", name, err)
	}
	c.advisories.tell(wire.AdvPoolReleased, name, "the subscription was deleted", nil)
	return nil
}

// restore writes back the entry of a pool whose bucket has lost it. h.turn is held.
func (c *claimer) restore(ctx context.Context, h *holding) error {
	if err := c.write(ctx, h, h.snapshot()); err != nil {
		if errors.Is(err, errLost) {
			c.forget(h, "its entry was gone, and another claim was made")
			return nil
		}
		return fmt.Errorf("write back the entry of pool %q: %w", h.name, err)
	}
	c.log.Warn().Str("subscription", h.name).Uint64("floor", h.entry.Checkpoint.Floor).Msg("entry of the pool was gone, and is written back")
	return nil
}

// abandon stops a pool whose session has lapsed, and keeps where it stood.
func (c *claimer) abandon(h *holding) {
	h.turn.Lock()
	defer h.turn.Unlock()
	c.forget(h, "the session could not be renewed in time")
	c.left.keep(h.entry, time.Now())
}

// write stores next as the entry of h while the session can be trusted, and no
// longer: a write that hangs must not keep a pool that has to stop. h.turn is held.
func (c *claimer) write(ctx context.Context, h *holding, next wire.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, min(writeTimeout, c.session.ValidFor()))
	defer cancel()
	err := h.write(ctx, c.pools, next)
	if errors.Is(err, errLost) {
		c.contests.Lost(h.name, time.Now())
	}
	return err
}

// forget stops a pool at once, without a write: it is no longer ours. h.turn is held.
func (c *claimer) forget(h *holding, why string) {
	if h.over {
		return
	}
	c.runner.halt(h)
	c.drop(h)
	c.advisories.tell(wire.AdvPoolLost, h.name, why, map[string]any{"epoch": h.entry.Epoch})
	c.log.Warn().Str("subscription", h.name).Uint64("epoch", h.entry.Epoch).Str("why", why).Msg("pool lost")
}

// drop takes a holding off the books. h.turn is held.
func (c *claimer) drop(h *holding) {
	h.over = true
	c.holdings.remove(h)
	c.queue.add(h.name)
}
