// Package pools makes what all pools of an instance have in common: the readers of
// stores, a clock, and who parks events, gets them again and asks who listens.
package pools

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/presence"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/ask"
	"github.com/sluicehq/sluice/services/internal/fetch"
	"github.com/sluicehq/sluice/services/internal/park"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/reader"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// askTimeout bounds how long servers may take to tell who listens.
const askTimeout = 500 * time.Millisecond

// Config is what the pools of an instance need.
type Config struct {
	// Control stores parked events. Its connection is apart from that of
	// Readers.JetStream, over which events come and go, so that no flood of them
	// delays what keeps the claims.
	Control    jetstream.JetStream
	Readers    reader.Config
	Namespace  wire.Namespace
	EventBytes int64 // bounds the events that the pools hold together
	Log        zerolog.Logger
}

// Shared is what the pools of an instance have in common.
type Shared struct {
	Readers *reader.Set
	// Pool is the configuration of each pool, as far as it is the same for all.
	Pool pool.Config

	background []func(context.Context) error
}

// New returns what does nothing before Run.
func New(c Config) *Shared {
	data := c.Readers.JetStream
	nc := data.Conn()
	ours := func(stream string) bool { return subscription.OwnStream(stream, c.Namespace) }
	readers := reader.NewSet(c.Readers)
	asker := ask.New(presence.New(nc, ours, askTimeout), c.Log)
	parker := park.New(c.Control, c.Namespace, nc.MaxPayload, c.Log)
	fetcher := fetch.New(fetch.Leaders{JetStream: data}, c.Log)
	clock := timers.New()
	return &Shared{
		Readers: readers,
		Pool: pool.Config{
			Config:  core.Config{Budget: core.NewBudget(c.EventBytes)},
			Publish: nc.PublishMsg, Park: parker.Add, Fetch: fetcher.Fetch, Ask: asker.Add,
			Carriers: &pool.Carriers{}, Timers: clock,
		},
		background: []func(context.Context) error{clock.Run, readers.Run, parker.Run, fetcher.Run, asker.Run},
	}
}

// Run does what pools need done until ctx ends.
func (s *Shared) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range s.background {
		g.Go(func() error { return run(ctx) })
	}
	return g.Wait()
}
