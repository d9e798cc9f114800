package reader

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// Config is what the readers of an instance need.
type Config struct {
	JetStream jetstream.JetStream
	Owner     feed.Owner // of the consumers
	// MaxReaders bounds the consumers that one store is read through.
	// Defaults to DefaultMaxReaders.
	MaxReaders int
	// Paused is told of a pool that met a gap and waits there for its
	// subscription to be paused. It must not block, nor lose the news.
	Paused func(rec *wire.Record, gap wire.Gap)
	Log    zerolog.Logger

	tune tuning // defaults to defaultTuning
}

// Set holds the stores that an instance reads.
type Set struct {
	cfg Config

	mu     sync.Mutex
	ctx    context.Context // of Run; nil before
	stores map[string]*Store
	wg     sync.WaitGroup
}

// NewSet returns a set that reads nothing before Run.
func NewSet(cfg Config) *Set {
	if cfg.MaxReaders == 0 {
		cfg.MaxReaders = DefaultMaxReaders
	}
	if cfg.tune == (tuning{}) {
		cfg.tune = defaultTuning()
	}
	return &Set{cfg: cfg, stores: map[string]*Store{}}
}

// Run reads until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	for _, st := range s.stores {
		s.serve(ctx, st)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.wg.Wait()
	return nil
}

// serve reads a store until ctx ends or its last pool has left.
func (s *Set) serve(ctx context.Context, st *Store) {
	s.wg.Go(func() { st.run(ctx, func() bool { return s.letGo(st) }) })
}

// letGo forgets a store if it has no pools: the next one that comes has it made
// anew.
func (s *Set) letGo(st *Store) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !st.unused() {
		return false
	}
	delete(s.stores, st.name)
	return true
}

// Attach begins to read the store of rec for p, from its checkpoint on. Begin is
// the first sequence to read where somebody named one, which the store may not
// have reached; else 0.
func (s *Set) Attach(p *pool.Pool, rec *wire.Record, begin uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	store := rec.Spec.Store
	st := s.stores[store]
	if st == nil {
		st = newStore(store, s.cfg)
		s.stores[store] = st
		if s.ctx != nil && s.ctx.Err() == nil {
			s.serve(s.ctx, st)
		}
	}
	st.attach(p, rec, begin)
}

// Detach ends reading for p: nothing more is offered once it returns.
func (s *Set) Detach(store string, p *pool.Pool) {
	s.mu.Lock()
	st := s.stores[store]
	s.mu.Unlock()
	if st != nil {
		st.detach(p)
	}
}

// Retire ends reading for p as Detach does, but p is still told of the gaps that
// it passed since its store was last looked at: told is closed when it has been.
// That can take for ever, while JetStream is away; Detach gives it up.
func (s *Set) Retire(store string, p *pool.Pool) (told <-chan struct{}) {
	s.mu.Lock()
	st := s.stores[store]
	s.mu.Unlock()
	if st == nil {
		done := make(chan struct{})
		close(done)
		return done
	}
	return st.retire(p)
}

// Last is the last sequence of a store when it was last looked at.
func (s *Set) Last(store string) uint64 {
	s.mu.Lock()
	st := s.stores[store]
	s.mu.Unlock()
	if st == nil {
		return 0
	}
	return st.last()
}

// AtEnd reports whether a pool that has read everything of a store up to a
// sequence would be live right away, as far as is known. Created is the store that
// it began in; zero for any.
func (s *Set) AtEnd(store string, created time.Time, at uint64) bool {
	s.mu.Lock()
	st := s.stores[store]
	s.mu.Unlock()
	return st != nil && st.atEnd(created, at)
}
