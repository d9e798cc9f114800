package emitter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// checkpointAfter is how long what moved waits for more to come. With the
	// write itself it keeps the promise of 250 ms.
	checkpointAfter = 100 * time.Millisecond
	// checkpointAgain is how long one waits that could not be written.
	checkpointAgain = time.Second
	// skimEvery is how often the place of pools is written that have merely
	// read past events that do not match. With thousands of them it is less
	// often, since at most skimRate are written in a second.
	skimEvery = 30 * time.Second
	skimRate  = 100
	// maxWrites bounds the checkpoints being written at once.
	maxWrites = 32
	// rangesPerToken is how many finished ranges, of some 20 bytes each, make a
	// checkpoint count for one more against the rate: what it costs JetStream,
	// and every emitter that gets to see it, grows with its size.
	rangesPerToken = 200
	// writeTimeout bounds one write of a pool's entry.
	writeTimeout = 5 * time.Second
)

// moved is called by a pool whose checkpoint or state moved.
func (s *Service) moved(h *holding) { s.due(h, checkpointAfter) }

// due has the place of a pool written after a while, unless it is to be anyway.
func (s *Service) due(h *holding, wait time.Duration) {
	if h.moved.CompareAndSwap(false, true) {
		s.dues.of(h).add(h, time.Now().Add(wait))
	}
}

// checkpoint writes what moved until ctx ends, first what has waited longest,
// and at most cfg.CheckpointRate a second, where large ones count for several.
// While that is not enough for what moves, checkpoints come later than promised,
// and each says more. What a pool says first after its claim waits for no rate:
// there is one for each claim, and like the claims they go as fast as the server
// answers those before.
func (s *Service) checkpoint(ctx context.Context) error {
	pace := rate.NewLimiter(rate.Limit(s.cfg.CheckpointRate), maxWrites)
	slots := semaphore.NewWeighted(maxWrites)
	defer func() { _ = slots.Acquire(context.WithoutCancel(ctx), maxWrites) }() // waits for the writes
	write := func(h *holding) {
		defer slots.Release(1)
		ranges := s.writeCheckpoint(ctx, h)
		pace.ReserveN(time.Now(), min(ranges/rangesPerToken, maxWrites)) // those to come wait for it
	}
	var first sync.WaitGroup
	defer first.Wait()
	first.Go(func() {
		for h := s.dues.first.next(ctx); h != nil && slots.Acquire(ctx, 1) == nil; h = s.dues.first.next(ctx) {
			go write(h) // owned by slots, all of which checkpoint takes before it returns
		}
	})
	for {
		h := s.dues.later.next(ctx)
		if h == nil || pace.Wait(ctx) != nil || slots.Acquire(ctx, 1) != nil {
			return nil // ctx has ended
		}
		go write(h) // likewise
	}
}

// skim has the place of every pool written now and then, that of pools too
// that have merely read past events that do not match.
func (s *Service) skim(ctx context.Context) error {
	tick := time.NewTicker(skimEvery)
	defer tick.Stop()
	pace := rate.NewLimiter(skimRate, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, h := range s.allHoldings() {
			if pace.Wait(ctx) != nil {
				return nil
			}
			s.moved(h)
		}
	}
}

// dues are the holdings whose place is to be written: those of which nothing was
// written since their claim, and the others. Each is in them once at most: see due.
type dues struct{ first, later *queue }

func newDues() *dues { return &dues{first: newQueue(), later: newQueue()} }

// of is where a holding belongs now.
func (d *dues) of(h *holding) *queue {
	if h.fresh.Load() {
		return d.first
	}
	return d.later
}

// queue has holdings in the order in which they are due.
type queue struct {
	wake chan struct{} // cap 1: there is something new

	mu   sync.Mutex
	list []due
}

type due struct {
	h  *holding
	at time.Time
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) add(h *holding, at time.Time) {
	q.mu.Lock()
	i, _ := slices.BinarySearchFunc(q.list, at, func(d due, at time.Time) int {
		if d.at.After(at) {
			return 1
		}
		return -1 // also where it is the same: behind those that are there
	})
	q.list = slices.Insert(q.list, i, due{h, at})
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits until one is due and takes it; nil once ctx has ended.
func (q *queue) next(ctx context.Context) *holding {
	for {
		var ripe <-chan time.Time
		if first, ok := q.head(); ok {
			wait := time.Until(first.at)
			if wait <= 0 {
				return q.take()
			}
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

func (q *queue) head() (due, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return due{}, false
	}
	return q.list[0], true
}

// take removes the first; only next, which has seen it, may call it.
func (q *queue) take() *holding {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.list[0].h
	q.list[0] = due{}
	q.list = q.list[1:]
	return h
}

// writeCheckpoint stores where the pool of h stands, and returns how many
// finished ranges it wrote. A pool that turns out to have another owner stops at
// once.
func (s *Service) writeCheckpoint(ctx context.Context, h *holding) (ranges int) {
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
	err := s.write(ctx, h, next)
	switch {
	case errors.Is(err, errLost):
		s.forget(h, "its checkpoint was refused: "+err.Error())
	case err != nil:
		s.rarely.Warn().Err(err).Str("subscription", h.name).Msg("checkpoint not written yet")
		s.due(h, checkpointAgain)
	}
	return len(next.Checkpoint.Ranges)
}

// statuses are the live states of the pools with the given names, of all if
// there are none.
func (s *Service) statuses(names []string) []wire.PoolStatus {
	var hs []*holding
	if len(names) == 0 {
		hs = s.allHoldings()
	}
	for _, n := range names {
		if h := s.holding(n); h != nil {
			hs = append(hs, h)
		}
	}
	out := make([]wire.PoolStatus, 0, len(hs))
	for _, h := range hs {
		out = append(out, s.status(h))
	}
	return out
}

func (s *Service) status(h *holding) wire.PoolStatus {
	h.mu.Lock()
	p, entry, store := h.pool, h.entry, h.rec.Spec.Store
	h.mu.Unlock()
	st := wire.PoolStatus{
		Name: h.name, UID: entry.UID, Epoch: entry.Epoch, State: entry.State, Reason: entry.Reason,
		Floor: entry.Checkpoint.Floor, Position: entry.Checkpoint.Floor, Gap: entry.Gap,
		Generation: entry.ObservedGeneration,
	}
	if p != nil {
		st = p.Status()
	}
	st.Owner = s.instance
	st.StoreLast = max(s.readers.Last(store), st.Position)
	return st
}
