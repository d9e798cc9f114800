package reader

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// callTimeout bounds one call of the JetStream API. One that falls into an
// election is never answered, so a longer one would only delay the next.
const callTimeout = 1500 * time.Millisecond

// tuning is what tests make smaller.
type tuning struct {
	// look is how often a store is looked after that something happens in, and
	// asked for its first and last sequence where that is needed.
	look time.Duration
	// rest is how long a store is left alone at least that nothing happens in,
	// and share how long for each store that there is, if that is longer.
	rest, share time.Duration
	// pause is the least time between two rounds over a store, so that thousands
	// of pools that come or go one after the other share them.
	pause time.Duration
	// stillLooks is how many looks a reader may stand still although there
	// is more to read before it is opened anew; each time that it does not help
	// it may be twice as many, up to eight times. Consumers can stall without a
	// word, so this is the net below them.
	stillLooks int
	// grace is how long a store may not be readable before its pools say so:
	// most interruptions are over sooner.
	grace time.Duration
	// patience is how long a reader with a single pool waits for room before
	// it gives up its consumer.
	patience time.Duration
	// span is how far apart, in sequences, pools may be that always share a
	// temporary reader: reading 10,000 events twice costs less than a
	// further consumer does for its life.
	span uint64
	// many is how much a reader has to have before it whose filters are held
	// against what they bring.
	many uint64
	// trace is how often the streams that a store takes events from are looked
	// at, beyond each change of the store itself.
	trace time.Duration
	// parting is how long the end of a set waits for its consumers to end.
	parting time.Duration
}

func defaultTuning() tuning {
	return tuning{
		look: time.Second, rest: 10 * time.Second, share: 40 * time.Millisecond, pause: 20 * time.Millisecond,
		stillLooks: 2, grace: 3 * time.Second, patience: 2 * time.Second, span: 10_000, many: 1000,
		trace: 30 * time.Second, parting: 3 * callTimeout,
	}
}

// DefaultMaxReaders bounds the readers of one store, the one at the head included.
const DefaultMaxReaders = 16

// Store reads one store for the pools of this instance.
type Store struct {
	name       string
	js         jetstream.JetStream
	owner      feed.Owner
	log        zerolog.Logger
	maxReaders int
	tune       tuning
	paused     func(rec *wire.Record, gap wire.Gap) // a pool waits at a gap for a pause

	turn    *turn           // of the round over it that comes next
	waiters *sync.WaitGroup // goroutines that wait for a full pool to have room, or for a consumer to end

	mu      sync.Mutex
	members map[*pool.Pool]*member
	crowds  crowds // of the members
	head    *reader
	temps   map[*reader]struct{}
	yielded bool // there is only one place for a consumer: the reader at the head waits until the others have read
	info    info
	front   front
	watched uint64 // the end of the store when the head was last held against it

	sight fare // whether the store can be looked at
	looks looks
	round round
}

// looks are what is known of the looks at a store.
type looks struct {
	asked   atomic.Bool   // somebody has asked for one
	begun   atomic.Uint64 // how many have begun
	end     atomic.Uint64 // the store's end at the last one
	before  atomic.Uint64 // and at the one before
	stirred atomic.Bool   // another round has been asked for since the last one began
}

// round is what only the rounds over a store use.
type round struct {
	captors  captors
	ticked   time.Time // when the readers were last looked after
	looked   time.Time // and the store looked at
	followed bool      // the reader at the head was moved to the end of the store, in this round
}

// member is what a store knows of one of its pools.
type member struct {
	rec    *wire.Record
	begin  uint64  // the first sequence to read where somebody named one; else 0
	reader *reader // nil: waits for one
	full   bool    // waits for room first
	jump   *jump   // it left its reader here, to be judged
	passed jumps   // those of readers that it has left since, not yet judged
	lost   bool    // waits for a store that is no more
	halted bool    // waits at a gap for a pause, has lost what it has read, cannot be indexed, or retires
	ahead  bool    // what it has read went beyond the store's end at the last look
	since  uint64  // its position when it was put under its reader

	told chan struct{} // it retires, and this is closed once passed has been judged
}

type info struct {
	first, last uint64
	created     time.Time
	look        uint64 // which look at the store this is of
	deleted     int    // how many sequences it lacks between first and last
	holes       ranges // those, where holesKnown
	holesKnown  bool
	intake      intake
}

func newStore(name string, cfg Config, rs *rounds, waiters *sync.WaitGroup) *Store {
	s := &Store{
		name: name, js: cfg.JetStream, owner: cfg.Owner, maxReaders: cfg.MaxReaders, tune: cfg.tune, paused: cfg.Paused,
		log:     cfg.Log.With().Str("store", name).Logger(),
		waiters: waiters,
		members: map[*pool.Pool]*member{},
		temps:   map[*reader]struct{}{},
	}
	s.turn = rs.add(s)
	return s
}

// attach makes p a member; it gets a reader soon.
func (s *Store) attach(p *pool.Pool, rec *wire.Record, begin uint64) {
	s.mu.Lock()
	m := &member{rec: rec, begin: begin}
	s.members[p] = m
	s.crowds.fresh.put(p, m, true)
	s.crowds.untold.put(p, m, true)
	s.file(p, m)
	s.mu.Unlock()
	s.wake()
}

// detach takes p off its reader; once it returns nothing more is offered.
func (s *Store) detach(p *pool.Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[p]
	if m == nil {
		return
	}
	s.expel(p)
	if m.reader != nil {
		m.reader.remove(p)
	}
	s.wake()
}

// retire takes p off its reader as detach does. It stays a member until it has
// been told of the gaps that it has passed; then told is closed.
func (s *Store) retire(p *pool.Pool) (told <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make(chan struct{})
	m := s.members[p]
	if m != nil && m.reader != nil {
		m.keep(m.reader.remove(p), p.Position())
		m.reader = nil
	}
	if m == nil || len(m.passed) == 0 {
		s.expel(p)
		close(done)
	} else {
		m.told, m.halted = done, true
		s.file(p, m)
	}
	s.wake()
	return done
}

// left is called by a reader that a pool has left. A pool without room comes
// back when it has some.
func (s *Store) left(r *reader, l leaver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[l.pool]
	if m == nil {
		return
	}
	defer func() { s.file(l.pool, m) }()
	m.keep(l.passed, l.pool.Position())
	if m.reader != r {
		return // which was closed meanwhile
	}
	m.reader = nil
	s.crowds.untold.put(l.pool, m, true)
	if m.jump = l.jump; l.jump != nil {
		s.wake()
		return
	}
	m.full = true
	room := l.pool.Room()
	s.waiters.Go(func() { // ends at the latest when the pool is closed
		<-room
		s.mu.Lock()
		m.full = false
		s.file(l.pool, m)
		s.mu.Unlock()
		s.wake()
	})
}

// headPosition is where the reader at the head is; the highest number there is
// while there is none, so that nobody takes it for reached.
func (s *Store) headPosition() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == nil {
		return ^uint64(0)
	}
	return s.head.position.Load()
}

// atEnd reports whether a pool that has read up to a sequence can join the reader
// at the head, and has no more to read than that: so the store was at the last look.
func (s *Store) atEnd(created time.Time, at uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, r := s.info, s.head
	if r == nil || now.created.IsZero() || !created.IsZero() && !created.Equal(now.created) {
		return false
	}
	if s.sight.get().Err != nil || at != now.last {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.stopped && !r.lag.fallen && r.fare.get().Err == nil && r.reached() <= at
}

// last is the store's last sequence when it was last looked at.
func (s *Store) last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info.last
}

// merge moves the pools of a temporary reader to the head, if it has arrived.
// The head stands still meanwhile, so that it cannot slip away.
func (s *Store) merge(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == nil {
		s.promote(r)
		return
	}
	s.head.mu.Lock()
	defer s.head.mu.Unlock()
	if s.head.position.Load() > r.position.Load() {
		s.drain(r)
		return
	}
	ps, passed := r.stop()
	for _, p := range ps {
		if m := s.members[p]; m != nil {
			at := p.Position()
			m.keep(passed, at)
			ok, err := s.head.addLocked(p, at)
			s.placed(p, m, s.head, at, ok, err)
		}
	}
	s.wake() // the loop closes the reader
}

// drain notes that a reader with filters may have nothing left to read.
func (s *Store) drain(r *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.filters != nil {
		r.drained = true
		s.wake()
	}
}

// placed notes whether p is under r now. If it is not, it waits for another
// reader, or for ever where it cannot be indexed.
func (s *Store) placed(p *pool.Pool, m *member, r *reader, at uint64, ok bool, err error) {
	m.reader = nil
	switch {
	case err != nil:
		s.log.Error().Err(err).Str("subscription", p.Name()).Msg("subscription cannot be indexed")
		m.halted = true
	case ok:
		m.reader, m.since = r, at
		s.crowds.untold.put(p, m, true)
	}
	s.file(p, m)
}

// put puts p under r if that is not beyond its position.
func (s *Store) put(p *pool.Pool, m *member, r *reader) bool {
	if r == nil {
		return false
	}
	at := p.Position()
	ok, err := r.add(p, at)
	s.placed(p, m, r, at, ok, err)
	return ok
}

// unused reports whether the store has no pools.
func (s *Store) unused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members) == 0
}

// closeAll closes all readers; their pools wait for new ones.
func (s *Store) closeAll() {
	s.mu.Lock()
	rs := s.readers()
	s.head, s.yielded = nil, false
	clear(s.temps)
	for _, r := range rs {
		s.release(r)
	}
	s.mu.Unlock()
	for _, r := range rs {
		r.close()
	}
}

// release takes all pools off a reader, so that they wait for another one.
func (s *Store) release(r *reader) {
	ps, passed := r.stop()
	for _, p := range ps {
		if m := s.members[p]; m != nil {
			m.keep(passed, p.Position())
			m.reader = nil
			s.crowds.untold.put(p, m, true)
			s.file(p, m)
		}
	}
}
