package emitter

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/services/internal/heap"
)

const (
	// checkpointAfter is how long what moved waits for more to come. With the
	// write itself it keeps the promise of 250 ms.
	checkpointAfter = 100 * time.Millisecond
	// checkpointAgain is how long one waits that could not be written.
	checkpointAgain = time.Second
	// idleEvery is how often the place of pools is written that have merely
	// read past events that do not match. With thousands of them it is less
	// often, since at most idleRate are written in a second.
	idleEvery = 30 * time.Second
	idleRate  = 100
	// maxWrites bounds the checkpoints being written at once.
	maxWrites = 32
	// rangesPerToken is how many finished ranges, of some 20 bytes each, make a
	// checkpoint count for one more against the rate: what it costs JetStream,
	// and every emitter that gets to see it, grows with its size.
	rangesPerToken = 200
)

// checkpointer writes where pools stand.
type checkpointer struct {
	rate   int // of checkpoints in a second, at most
	dues   *dues
	claims *claimer
	log    zerolog.Logger // for what many pools may share
}

// Run writes checkpoints until ctx ends, and returns once none is being written.
func (c *checkpointer) Run(ctx context.Context) error {
	var idle sync.WaitGroup
	defer idle.Wait()
	idle.Go(func() { c.touchIdle(ctx) })
	c.writeDue(ctx)
	return nil
}

// writeDue writes what moved until ctx ends, first what has waited longest, and
// at most c.rate a second, where large ones count for several. While that is not
// enough for what moves, checkpoints come later than promised, and each says more.
// What a pool says first after its claim waits for no rate: there is one for each
// claim, and like the claims they go as fast as the server answers those before.
func (c *checkpointer) writeDue(ctx context.Context) {
	pace := rate.NewLimiter(rate.Limit(c.rate), maxWrites)
	slots := semaphore.NewWeighted(maxWrites)
	defer func() { _ = slots.Acquire(context.WithoutCancel(ctx), maxWrites) }() // waits for the writes
	write := func(h *holding) {
		defer slots.Release(1)
		ranges := c.write(ctx, h)
		pace.ReserveN(time.Now(), min(ranges/rangesPerToken, maxWrites)) // those to come wait for it
	}
	serve := func(q *dueQueue, wait func(context.Context) error) {
		for h := q.next(ctx); h != nil && wait(ctx) == nil && slots.Acquire(ctx, 1) == nil; h = q.next(ctx) {
			go write(h) // owned by slots, all of which writeDue takes before it returns
		}
	}
	var first sync.WaitGroup
	defer first.Wait()
	first.Go(func() { serve(c.dues.first, func(context.Context) error { return nil }) })
	serve(c.dues.later, pace.Wait)
}

// touchIdle makes the place of every pool due now and then, that of pools too
// that have merely read past events that do not match.
func (c *checkpointer) touchIdle(ctx context.Context) {
	tick := time.NewTicker(idleEvery)
	defer tick.Stop()
	pace := rate.NewLimiter(idleRate, 1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, h := range c.claims.holdings.all() {
			if pace.Wait(ctx) != nil {
				return
			}
			c.dues.moved(h)
		}
	}
}

// write stores where the pool of h stands, and returns how many
// finished ranges it wrote. A pool that turns out to have another owner stops at
// once.
func (c *checkpointer) write(ctx context.Context, h *holding) (ranges int) {
	h.turn.Lock()
	defer h.turn.Unlock()
	h.moved.Store(false) // before the snapshot, so that nothing is missed
	if h.over || h.pool == nil {
		return 0
	}
	next := h.snapshot()
	if !differs(&h.entry, &next) {
		return 0
	}
	h.fresh.Store(false) // also where it fails: what is tried again takes its turn
	err := c.claims.write(ctx, h, next)
	switch {
	case errors.Is(err, errLost):
		c.claims.forget(h, "its checkpoint was refused: "+err.Error())
	case err != nil:
		c.log.Warn().Err(err).Str("subscription", h.name).Msg("checkpoint not written yet")
		c.dues.add(h, checkpointAgain)
	}
	return len(next.Checkpoint.Ranges)
}

// dues are the holdings whose place is to be written: those of which nothing was
// written since their claim, and the others. Each is in them once at most.
type dues struct{ first, later *dueQueue }

func newDues() *dues { return &dues{first: newDueQueue(), later: newDueQueue()} }

// moved is called by a pool whose checkpoint or state moved.
func (d *dues) moved(h *holding) { d.add(h, checkpointAfter) }

// add has the place of a pool written after a while, unless it is to be anyway.
func (d *dues) add(h *holding, wait time.Duration) {
	if !h.moved.CompareAndSwap(false, true) {
		return
	}
	q := d.later
	if h.fresh.Load() {
		q = d.first
	}
	q.add(h, time.Now().Add(wait))
}

// dueQueue has holdings in the order in which they are due.
type dueQueue struct {
	wake chan struct{} // cap 1: another one is first

	mu   sync.Mutex
	list heap.Of[*holding]
}

func newDueQueue() *dueQueue { return &dueQueue{wake: make(chan struct{}, 1)} }

func (q *dueQueue) add(h *holding, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list.Set(h, at)
	if q.list[0] != h {
		return // next waits for another one, which is due earlier
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits until one is due and takes it; nil once ctx has ended.
func (q *dueQueue) next(ctx context.Context) *holding {
	for {
		h, wait := q.take()
		if h != nil {
			return h
		}
		var ripe <-chan time.Time
		if wait > 0 {
			ripe = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ripe:
		case <-q.wake:
		}
	}
}

// take takes the first if it is due; else it says when it will be, 0 if there is none.
func (q *dueQueue) take() (h *holding, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return nil, 0
	}
	h = q.list[0]
	if wait = time.Until(h.At); wait > 0 {
		return nil, wait
	}
	q.list.Remove(h)
	return h, 0
}
