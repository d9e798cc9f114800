package reader

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/timers"
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
	cfg     Config
	clock   *timers.Timers // of the stores' turns
	due     chan *turn
	free    slots
	waiters sync.WaitGroup // of the stores

	mu     sync.Mutex
	stores map[string]*Store
}

// NewSet returns a set that reads nothing before Run.
func NewSet(cfg Config) *Set {
	if cfg.MaxReaders == 0 {
		cfg.MaxReaders = DefaultMaxReaders
	}
	if cfg.tune == (tuning{}) {
		cfg.tune = defaultTuning()
	}
	return &Set{cfg: cfg, clock: timers.New(), due: make(chan *turn), free: newSlots(), stores: map[string]*Store{}}
}

// Run reads until ctx ends. It may be called once.
func (s *Set) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.listen(ctx) })
	wg.Go(func() {
		defer close(s.due)
		_ = s.clock.Run(ctx) // it has no errors
	})
	for t := range s.due {
		wg.Go(func() { t.serve(ctx, s.free) })
	}
	wg.Wait()
	s.closeStores()
	return nil
}

// slowRound is far longer than the calls in a round may take together.
const slowRound = 30 * time.Second

// round makes a round over a store, unless its last pool has left.
func (s *Set) round(ctx context.Context, st *Store) outcome {
	if s.forget(st) {
		st.closeAll()
		return outcome{gone: true}
	}
	slow := time.AfterFunc(slowRound, func() { st.log.Error().Msg("a round over the store does not come to its end") })
	defer slow.Stop()
	return st.makeRound(ctx, s.rest())
}

// rest is how long a store may be left alone that nothing happens in. With many
// stores it is longer, so that they are looked at so many times a second together.
func (s *Set) rest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.cfg.tune.rest, time.Duration(len(s.stores))*s.cfg.tune.share)
}

// closeStores closes all readers and waits a while for their consumers to end.
func (s *Set) closeStores() {
	for _, st := range s.all() {
		st.closeAll()
	}
	done := make(chan struct{})
	go func() { defer close(done); s.waiters.Wait() }()
	late := time.NewTimer(s.cfg.tune.closeTimeout)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		s.cfg.Log.Warn().Msg("consumers have not ended, and are left to the server to remove")
	}
}

func (s *Set) all() []*Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.stores))
}

// store returns a store, which has no pools if it is not read.
func (s *Set) store(name string) *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stores[name]; st != nil {
		return st
	}
	return newStore(name, s.cfg, &s.waiters)
}

// listen has stores looked at when the server says that something has become of
// them, or is there again. An advisory may be lost, or may not be received.
func (s *Set) listen(ctx context.Context) {
	nc := s.cfg.JetStream.Conn()
	up := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(up)
	said := make(chan *nats.Msg, 1024)
	for _, what := range []string{
		"CREATED", "UPDATED", "DELETED",
		"LEADER_ELECTED", // when the end of a stream can be lost
	} {
		sub, err := nc.ChanSubscribe("$JS.EVENT.ADVISORY.STREAM."+what+".*", said)
		if err != nil {
			s.cfg.Log.Debug().Err(err).Msg("advisories of streams are not received")
			continue
		}
		defer func() { _ = sub.Unsubscribe() }() // an error means that the connection is closed
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-up:
			for _, st := range s.all() {
				st.requestLook(s.cfg.tune.look)
			}
		case m := <-said:
			// Anybody may have sent it, so it is worth no more than one look a second.
			s.store(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]).requestLook(s.cfg.tune.look)
		}
	}
}

// forget forgets a store if it has no pools: the next one that comes has it made
// anew.
func (s *Set) forget(st *Store) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.lock()
	unused := len(st.roster.all) == 0
	st.mu.Unlock()
	if unused {
		delete(s.stores, st.name)
	}
	return unused
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
		st = newStore(store, s.cfg, &s.waiters)
		st.turn = newTurn(s.clock, s.due, func(ctx context.Context) outcome { return s.round(ctx, st) })
		s.stores[store] = st
	}
	st.attach(p, rec, begin)
}

// Detach ends reading for p: nothing more is offered once it returns.
func (s *Set) Detach(store string, p *pool.Pool) { s.store(store).detach(p) }

// Retire ends reading for p as Detach does. But p is still told of the gaps that it
// passed since its store was last looked at. Told is closed when it has been. That
// can take for ever, while JetStream is away. Detach gives it up.
func (s *Set) Retire(store string, p *pool.Pool) (told <-chan struct{}) {
	return s.store(store).retire(p)
}

// Last is the last sequence of a store when it was last looked at.
func (s *Set) Last(store string) uint64 { return s.store(store).last() }

// AtEnd reports whether a pool would be live right away, as far as is known, that has
// read everything of a store up to a sequence. Created is when the store was that
// it began in. Zero is any.
func (s *Set) AtEnd(store string, created time.Time, at uint64) bool {
	return s.store(store).atEnd(created, at)
}
