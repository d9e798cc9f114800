package emitter

import (
	"context"
	"sync"
	"time"

	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

// guard stops every pool when the session can no longer be trusted: others may
// have taken them over.
type guard struct {
	session trust
	changes <-chan struct{} // of the session
	ready   *service.Check
	claims  *claimer
	idle    *claim.Idle
}

// Run acts on changes of the session until ctx ends. It waits for nothing else, so
// that no hand-over delays it.
func (g *guard) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.changes:
			g.changed()
		}
	}
}

func (g *guard) changed() {
	if g.session.Valid() {
		g.ready.OK()
		g.claims.queue.addAll()
		return
	}
	g.ready.Fail("the session cannot be renewed, so no pool can be kept")
	g.idle.Blind()
	var wg sync.WaitGroup
	for _, h := range g.claims.holdings.all() { // at once: a write that is under way holds up its own pool only
		wg.Go(func() { g.abandon(h) })
	}
	wg.Wait()
}

// abandon stops a pool whose session has lapsed, and keeps where it stood.
func (g *guard) abandon(h *holding) {
	g.claims.lose(h, "the session could not be renewed in time")
	h.mu.Lock()
	defer h.mu.Unlock()
	g.claims.left.keep(h.entry, time.Now())
}
