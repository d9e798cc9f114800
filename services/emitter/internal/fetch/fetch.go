// Package fetch gets events from their stores again, by sequence, for pools
// that have let them go.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/services/emitter/internal/event"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

const (
	queueSize   = 1024 // events of a store waiting to be fetched; the others wait in their pools
	workers     = 8    // of a store, while it has any
	callTimeout = 2 * time.Second
)

// Source gets messages of streams; nats.JetStreamContext is one. It must ask
// the stream's leader: a replica that lags behind would not find an event, and
// the pool would give it up.
type Source interface {
	GetMsg(stream string, seq uint64, opts ...nats.JSOpt) (*nats.RawStreamMsg, error)
	StreamInfo(stream string, opts ...nats.JSOpt) (*nats.StreamInfo, error)
}

// Fetcher gets events for the pools of an instance, a few at a time of each
// store: one that does not answer holds up no other.
type Fetcher struct {
	js   Source
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
func New(js Source, log zerolog.Logger) *Fetcher {
	return &Fetcher{js: js, log: log, hire: make(chan struct{}, 1), stores: map[string]*store{}}
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
