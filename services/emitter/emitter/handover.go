package emitter

import (
	"context"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// maxDrains bounds the pools that drain at once: waiting costs nothing, so
// that the slowest subscribers of many decide how long a stop takes.
const maxDrains = 4096

// handover gives all pools up at the end of the process.
type handover struct {
	claims *claimer
	// renew has the session say at once that this instance drains.
	renew   func()
	log     zerolog.Logger
	limited zerolog.Logger // for what many pools may share
}

// Run releases all pools, so that the others take them over at once. It waits for
// the answers that are out, for as long as the claimer's drainTimeout.
func (o *handover) Run(ctx context.Context) {
	o.claims.holdings.draining.Store(true)
	o.renew()
	atMost := o.claims.drainTimeout
	ctx, cancel := context.WithTimeout(ctx, atMost+actTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(maxDrains)
	for _, h := range o.claims.holdings.all() {
		g.Go(func() error {
			o.release(ctx, h, atMost)
			return nil
		})
	}
	_ = g.Wait() // its functions return no errors
	o.log.Info().Msg("pools handed over")
}

func (o *handover) release(ctx context.Context, h *holding, atMost time.Duration) {
	o.claims.runner.drain(ctx, h, atMost)
	if err := o.claims.release(ctx, h); err != nil {
		o.limited.Warn().Err(err).Str("subscription", h.name).Msg("pool not handed over; it will be taken over")
	}
}
