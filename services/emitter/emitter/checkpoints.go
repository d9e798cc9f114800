package emitter

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// checkpointEvery is how often what moved is written. With the write
	// itself it keeps the promise of 250 ms.
	checkpointEvery = 100 * time.Millisecond
	// skimEvery is how often the place of pools is written that have merely
	// read past events that do not match.
	skimEvery = 30 * time.Second
	// maxWrites bounds the checkpoints being written at once.
	maxWrites = 32
	// writeTimeout bounds one of them.
	writeTimeout = 5 * time.Second
)

// moved is called by a pool whose checkpoint or state moved.
func (s *Service) moved(h *holding) {
	if h.moved.CompareAndSwap(false, true) {
		s.mu.Lock()
		s.toWrite = append(s.toWrite, h)
		s.mu.Unlock()
	}
}

// checkpoint writes what moved until ctx ends.
func (s *Service) checkpoint(ctx context.Context) error {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	skim := time.NewTicker(skimEvery)
	defer skim.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-skim.C:
			for _, h := range s.allHoldings() {
				s.moved(h)
			}
		}
		s.mu.Lock()
		hs := s.toWrite
		s.toWrite = nil
		s.mu.Unlock()
		var g errgroup.Group
		g.SetLimit(maxWrites)
		for _, h := range hs {
			g.Go(func() error {
				s.writeCheckpoint(ctx, h)
				return nil
			})
		}
		_ = g.Wait() // its functions return no errors
	}
}

// writeCheckpoint stores where the pool of h stands. A pool that turns out to
// have another owner stops at once.
func (s *Service) writeCheckpoint(ctx context.Context, h *holding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved.Store(false) // before the snapshot, so that nothing is missed
	if h.over || h.pool == nil {
		return
	}
	next := h.snapshot()
	if !differs(&h.entry, &next) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := h.write(ctx, s.pools, next)
	switch {
	case errors.Is(err, errLost):
		s.forget(h, "its checkpoint was refused: "+err.Error())
	case err != nil:
		s.log.Warn().Err(err).Str("subscription", h.name).Msg("checkpoint not written yet")
		s.moved(h)
	}
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
