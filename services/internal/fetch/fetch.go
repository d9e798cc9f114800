// Package fetch gets events from their stores again, by sequence, for pools
// that have let them go.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

const (
	queueSize   = 1024 // events of a store waiting to be fetched; the others wait in their pools
	workers     = 8    // of a store, while it has any
	callTimeout = 2 * time.Second
)

// Source gets messages of streams; Leaders is one. It must ask the stream's
// leader: a replica that lags behind would not find an event, and the pool would
// give it up.
type Source interface {
	// Msg returns the message at seq; the error is jetstream.ErrMsgNotFound
	// where there is none.
	Msg(ctx context.Context, stream string, seq uint64) (*jetstream.RawStreamMsg, error)
	// Last returns the sequence of the last message that was ever stored.
	Last(ctx context.Context, stream string) (uint64, error)
}

// Leaders is the Source that asks JetStream.
type Leaders struct{ JetStream jetstream.JetStream }

// Msg is part of Source.
func (l Leaders) Msg(ctx context.Context, stream string, seq uint64) (*jetstream.RawStreamMsg, error) {
	return jsapi.GetMsg(ctx, l.JetStream, stream, map[string]any{"seq": seq})
}

// Last is part of Source.
func (l Leaders) Last(ctx context.Context, stream string) (uint64, error) {
	s, err := l.JetStream.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.LastSeq, nil
}

// Fetcher gets events for the pools of an instance, a few at a time of each
// store: one that does not answer holds up no other.
type Fetcher struct {
	from Source
	log  zerolog.Logger
	hire chan struct{} // somebody may be needed

	mu     sync.Mutex
	stores map[string]*store // those that something is wanted from
}

type store struct {
	queue   []pool.Wanted
	workers int
}

// New returns a fetcher that gets nothing before Run.
func New(from Source, log zerolog.Logger) *Fetcher {
	return &Fetcher{from: from, log: bus.Rarely(log), hire: make(chan struct{}, 1), stores: map[string]*store{}}
}

// Fetch takes an order on, unless 1,024 of the same store wait already, or half
// as many and it is for later. It is not answered if Run ends, or the pool is
// closed, first.
func (f *Fetcher) Fetch(w pool.Wanted) bool {
	f.mu.Lock()
	s := f.stores[w.Store]
	if s == nil {
		s = &store{}
		f.stores[w.Store] = s
	}
	n := len(s.queue)
	if n >= queueSize || w.Ahead && n >= queueSize/2 {
		f.mu.Unlock()
		return false
	}
	s.queue = append(s.queue, w)
	short := s.workers < workers
	f.mu.Unlock()
	if short {
		select {
		case f.hire <- struct{}{}:
		default: // Run has yet to look
		}
	}
	return true
}

// Run gets events until ctx ends.
func (f *Fetcher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.hire:
		}
		f.mu.Lock()
		for name, s := range f.stores {
			for range min(len(s.queue), workers-s.workers) {
				s.workers++
				wg.Go(func() { f.work(ctx, name, s) })
			}
		}
		f.mu.Unlock()
	}
}

// work gets the events that are wanted from a store until there are none.
func (f *Fetcher) work(ctx context.Context, name string, s *store) {
	for ctx.Err() == nil {
		w, ok := f.next(name, s)
		if !ok {
			return
		}
		if w.Open() {
			w.Got(f.get(ctx, w))
		}
	}
}

// next takes the first order off the queue of a store. Where there is none it
// dismisses the worker that asks, and the store with its last.
func (f *Fetcher) next(name string, s *store) (w pool.Wanted, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(s.queue) == 0 {
		s.workers--
		if s.workers == 0 {
			delete(f.stores, name)
		}
		return w, false
	}
	w, s.queue[0] = s.queue[0], w // not kept by the queue
	s.queue = s.queue[1:]
	return w, true
}

// get tries once: the pool asks again after a while, so that a store that does
// not answer holds no worker for long.
func (f *Fetcher) get(ctx context.Context, w pool.Wanted) (*event.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := f.from.Msg(ctx, w.Store, w.Sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, f.gone(ctx, w)
	case err != nil:
		f.log.Warn().Err(err).Str("store", w.Store).Uint64("sequence", w.Sequence).Msg("event not fetched yet")
		return nil, fmt.Errorf("get message %d of %q: %w", w.Sequence, w.Store, err)
	}
	e := event.New(w.Store, selector.Message{Sequence: w.Sequence, Time: msg.Time, Subject: msg.Subject, Header: msg.Header, Data: msg.Data})
	e.Matched()
	return e, nil
}

// gone finds out why there is no such event. A store that ends before it has not
// deleted the event but lost its end, or is another one: its pool stops, and
// gives nothing up.
func (f *Fetcher) gone(ctx context.Context, w pool.Wanted) error {
	last, err := f.from.Last(ctx, w.Store)
	switch {
	case err != nil:
		return fmt.Errorf("look at %q, which has no message %d: %w", w.Store, w.Sequence, err)
	case last < w.Sequence:
		return fmt.Errorf("%q ends at %d, before message %d", w.Store, last, w.Sequence)
	}
	return core.ErrGone
}
