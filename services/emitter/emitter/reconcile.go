package emitter

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

const (
	// retryAfter is how long a pool waits whose action failed.
	retryAfter = 250 * time.Millisecond
	// compareEvery is how often every pool is looked at, whatever was heard, or
	// more seldom where it would take more than one in compareShare of the time.
	compareEvery = 10 * time.Second
	compareShare = 100
	maxCompare   = time.Minute
	// maxActions bounds the actions under way at once, but for those that
	// drain: waiting costs nothing, and there are no more of them than pools.
	maxActions = 32
	// maxBatch bounds the pools that are taken from the queue in a row: after
	// those the session, the time, and who lives are looked at again.
	maxBatch = 1000
)

// reconciler looks at pools that may have changed, and has done what claim.Decide
// says.
type reconciler struct {
	queue  *workQueue
	view   *viewer
	claims *claimer
	ttl    time.Duration       // of sessions
	slots  *semaphore.Weighted // of actions; those that drain have none
	log    zerolog.Logger      // for what many pools may share
}

// Run looks at pools and acts until ctx ends; it returns once no action is under
// way any more.
func (r *reconciler) Run(ctx context.Context) error {
	compare := time.NewTicker(compareEvery)
	defer compare.Stop()
	again := time.NewTicker(retryAfter)
	defer again.Stop()
	idle := time.NewTicker(r.ttl / 2)
	defer idle.Stop()
	var actions sync.WaitGroup
	defer actions.Wait()
	var due time.Time // of the next comparison
	for {
		var passOver bool
		select {
		case <-ctx.Done():
			return nil
		case <-r.queue.wake:
		case now := <-compare.C:
			if !now.Before(due) {
				r.queue.addAll()
			}
		case <-again.C:
			r.queue.addFailed()
		case now := <-idle.C:
			r.claims.left.expire(now, 10*r.ttl)
			passOver = true
		}
		if !r.claims.session.Valid() || !r.view.synced() {
			continue // what is to be done stays in the queue
		}
		if passOver {
			r.queue.add(r.view.passOver(time.Now())...)
		}
		if r.queue.takeAll() {
			begun := time.Now()
			r.queue.add(r.view.unsettled(r.view.candidates())...)
			due = begun.Add(comparedAgain(time.Since(begun)))
		}
		r.work(ctx, &actions)
	}
}

// comparedAgain is how long after a comparison that took so long the next one is due.
// It is bounded, since the time may have passed while the machine stood still.
func comparedAgain(took time.Duration) time.Duration {
	return min(max(compareEvery, compareShare*took), maxCompare)
}

// work begins an action for each pool that is in the queue now and is not settled,
// and leaves what is beyond maxBatch to the next time.
func (r *reconciler) work(ctx context.Context, actions *sync.WaitGroup) {
	live := r.view.candidates()
	for range maxBatch {
		name, ok := r.queue.get()
		if !ok {
			return
		}
		if r.view.settled(name, live) {
			r.queue.done(name)
			continue
		}
		if err := r.slots.Acquire(ctx, 1); err != nil { // ctx has ended
			r.queue.done(name)
			return
		}
		actions.Go(func() {
			defer r.slots.Release(1)
			r.look(ctx, name)
		})
	}
}

// look decides about one pool and acts. It has a slot.
func (r *reconciler) look(ctx context.Context, name string) {
	defer r.queue.done(name)
	v := r.view.of(name)
	action := claim.Decide(v)
	if action == claim.None || ctx.Err() != nil {
		if v.Contested {
			r.queue.retry(name)
		}
		return
	}
	ctx = context.WithoutCancel(ctx)
	r.drain(ctx, name, action)
	if err := r.claims.act(ctx, name, action, v); err != nil {
		r.queue.retry(name)
		r.log.Warn().Err(err).Str("subscription", name).Stringer("action", action).Msg("pool not reconciled yet")
	}
}

// drain drains a pool where the action asks for it, and gives the slot of the
// action to others meanwhile.
func (r *reconciler) drain(ctx context.Context, name string, action claim.Action) {
	var atMost time.Duration
	switch action {
	case claim.Restart:
		atMost = restartDrain
	case claim.Release:
		atMost = r.claims.drainTimeout
	default:
		return
	}
	h := r.claims.holdings.of(name)
	if h == nil {
		return
	}
	r.slots.Release(1)
	r.claims.runner.drain(ctx, h, atMost)
	_ = r.slots.Acquire(ctx, 1) // cannot fail: ctx has no end, and every action gives its slot back
}
