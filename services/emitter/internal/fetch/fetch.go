// Package fetch gets events from their stores again, by sequence, for pools
// that have let them go.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/services/emitter/internal/event"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

const (
	queueSize   = 1024 // events waiting to be fetched; the others wait in their pools
	workers     = 8
	callTimeout = 2 * time.Second
)

// Source gets messages of streams; nats.JetStreamContext is one. It must ask
// the stream's leader: a replica that lags behind would not find an event, and
// the pool would give it up.
type Source interface {
	GetMsg(stream string, seq uint64, opts ...nats.JSOpt) (*nats.RawStreamMsg, error)
	StreamInfo(stream string, opts ...nats.JSOpt) (*nats.StreamInfo, error)
}

// Fetcher gets events for the pools of an instance, a few at a time.
type Fetcher struct {
	js    Source
	log   zerolog.Logger
	queue chan pool.Wanted
}

// New returns a fetcher that gets nothing before Run.
func New(js Source, log zerolog.Logger) *Fetcher {
	return &Fetcher{js: js, log: log, queue: make(chan pool.Wanted, queueSize)}
}

// Fetch takes an order on, unless 1,024 wait already. It is not answered if Run
// ends, or the pool is closed, first.
func (f *Fetcher) Fetch(w pool.Wanted) bool {
	select {
	case f.queue <- w:
		return true
	default:
		return false
	}
}

// Run gets events until ctx ends.
func (f *Fetcher) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case w := <-f.queue:
					if w.Open() {
						w.Got(f.get(ctx, w))
					}
				}
			}
		})
	}
	return g.Wait()
}

// get tries once: the pool asks again after a while, so that a store that does
// not answer holds no worker for long.
func (f *Fetcher) get(ctx context.Context, w pool.Wanted) (*event.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := f.js.GetMsg(w.Store, w.Sequence, nats.Context(ctx))
	switch {
	case errors.Is(err, nats.ErrMsgNotFound):
		return nil, f.gone(ctx, w)
	case err != nil:
		f.log.Warn().Err(err).Str("store", w.Store).Uint64("sequence", w.Sequence).Msg("event not fetched yet")
		return nil, fmt.Errorf("get message %d of %q: %w", w.Sequence, w.Store, err)
	}
	e := event.New(w.Store, w.Sequence, msg.Time, message{msg})
	e.Matched()
	return e, nil
}

// gone finds out why there is no such event. A store that ends before it has not
// deleted the event but lost its end, or is another one: its pool stops, and
// gives nothing up.
func (f *Fetcher) gone(ctx context.Context, w pool.Wanted) error {
	info, err := f.js.StreamInfo(w.Store, nats.Context(ctx))
	switch {
	case err != nil:
		return fmt.Errorf("look at %q, which has no message %d: %w", w.Store, w.Sequence, err)
	case info.State.LastSeq < w.Sequence:
		return fmt.Errorf("%q ends at %d, before message %d", w.Store, info.State.LastSeq, w.Sequence)
	}
	return pool.ErrGone
}

// message makes what the server returned an event.Message.
type message struct{ raw *nats.RawStreamMsg }

func (m message) Subject() string      { return m.raw.Subject }
func (m message) Headers() nats.Header { return m.raw.Header }
func (m message) Data() []byte         { return m.raw.Data }
