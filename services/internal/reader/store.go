package reader

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// Store reads one store for the pools of this instance. Who changes what of it is in
// the documentation of the package.
type Store struct {
	name    string
	cfg     Config
	log     zerolog.Logger
	turn    *turn
	waiters *sync.WaitGroup // goroutines that wait for a full pool to have room, or for a consumer to end
	inbox   inbox
	looks   looks

	head atomic.Pointer[reader] // changed with mu held

	mu         sync.Mutex // taken by lock
	roster     roster
	temps      map[*reader]struct{}
	yielded    bool // there is only one place for a consumer: the reader at the head waits until the others have read
	info       info // as the last look has shown it; zero if there is no such store
	front      front
	watchedEnd uint64 // the end of the store when the head was last held against it

	lookHealth health // whether the store can be looked at
	round      round
}

// looks are what is known of the looks at a store.
type looks struct {
	requested atomic.Bool   // somebody has asked for one
	begun     atomic.Uint64 // how many have begun
	end       atomic.Uint64 // the store's end at the last one
	before    atomic.Uint64 // the store's end at the one before
}

// round is what only the rounds over a store use.
type round struct {
	origins  origins
	watched  time.Time // when the readers were last looked after
	looked   time.Time // when the store was last looked at
	followed bool      // the reader at the head was moved to the end of the store, in this round
}

// info is what a look has shown of the store.
type info struct {
	first, last  uint64
	created      time.Time
	look         uint64 // which look it was
	missing      ranges // what it lacks between first and last, where missingKnown
	missingKnown bool
	sourcing     sourcing
}

func newStore(name string, cfg Config, waiters *sync.WaitGroup) *Store {
	return &Store{
		name: name, cfg: cfg, log: cfg.Log.With().Str("store", name).Logger(),
		turn: &turn{}, waiters: waiters,
		roster: roster{all: map[*pool.Pool]*member{}},
		temps:  map[*reader]struct{}{},
	}
}

// lock takes the store's lock, and takes in what it was told.
func (s *Store) lock() {
	s.mu.Lock()
	for _, w := range s.inbox.empty() {
		s.takeIn(w)
	}
}

// attach makes p a member. It gets a reader soon.
func (s *Store) attach(p *pool.Pool, rec *wire.Record, begin uint64) {
	s.lock()
	s.roster.add(&member{pool: p, rec: rec, begin: begin})
	s.mu.Unlock()
	s.wake()
}

// detach is Set.Detach.
func (s *Store) detach(p *pool.Pool) {
	s.lock()
	defer s.mu.Unlock()
	m := s.roster.all[p]
	if m == nil {
		return
	}
	s.roster.remove(m)
	if m.reader != nil {
		m.reader.remove(p)
	}
	s.wake()
}

// retire is Set.Retire. P stays a member until it has been told.
func (s *Store) retire(p *pool.Pool) (told <-chan struct{}) {
	s.lock()
	defer s.mu.Unlock()
	done := make(chan struct{})
	m := s.roster.all[p]
	if m == nil {
		close(done)
		return done
	}
	if m.reader != nil {
		m.keep(m.reader.remove(p), p.Position())
	}
	if len(m.passed) == 0 {
		s.roster.remove(m)
		close(done)
	} else {
		m.judged = done
		s.roster.become(m, retiring)
	}
	s.wake()
	return done
}

// headPosition is where the reader at the head is. While there is none it is the
// highest number there is, so that nobody takes it for reached.
func (s *Store) headPosition() uint64 {
	if r := s.head.Load(); r != nil {
		return r.position.Load()
	}
	return math.MaxUint64
}

// atEnd is Set.AtEnd.
func (s *Store) atEnd(created time.Time, at uint64) bool {
	s.lock()
	defer s.mu.Unlock()
	now, r := s.info, s.head.Load()
	if r == nil || now.created.IsZero() || !created.IsZero() && !created.Equal(now.created) {
		return false
	}
	if s.lookHealth.get().Err != nil || at != now.last {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.stopped && !r.lag.fallen && r.health.get().Err == nil && r.reached() <= at
}

// last is the store's last sequence when it was last looked at.
func (s *Store) last() uint64 {
	s.lock()
	defer s.mu.Unlock()
	return s.info.last
}
