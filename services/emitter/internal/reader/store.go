package reader

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

const (
	// look is how often a store is asked for its first and last sequence.
	look = time.Second
	// stillLooks is how many looks a reader may stand still although there
	// is more to read before it is opened anew. Watches and consumers can
	// stall without a word, so this is the net below them.
	stillLooks = 15
	// groupSpan is how far apart, in sequences, pools may be that share a
	// temporary reader: reading 10,000 events twice costs less than a
	// further consumer does for its life.
	groupSpan = 10_000
	// callTimeout bounds one call of the JetStream API.
	callTimeout = 5 * time.Second
)

// DefaultMaxReaders bounds the readers of one store, the one at the head included.
const DefaultMaxReaders = 16

// Store reads one store for the pools of this instance.
type Store struct {
	name       string
	js         jetstream.JetStream
	log        zerolog.Logger
	maxReaders int
	paused     func(name string, gap wire.Gap) // a pool asked to pause at a gap

	kick chan struct{} // cap 1: pools wait for a reader, or a reader is done

	mu      sync.Mutex
	members map[*pool.Pool]*member
	head    *reader
	temps   map[*reader]struct{}
	info    info

	waiters sync.WaitGroup // goroutines that wait for a full pool to have room
}

// member is what a store knows of one of its pools.
type member struct {
	created time.Time // of the store that the pool's sequences belong to; zero if unknown
	gen     uint64    // generation of its record
	reader  *reader   // nil: waits for one
	full    bool      // waits for room first
	jump    *jump     // it left its reader here, to be judged
	halted  bool      // paused at a gap, or cannot be indexed
	ahead   bool      // its position was beyond the store's end at the last look
	since   uint64    // its position when it was put under its reader
}

type info struct {
	first, last uint64
	created     time.Time
}

func newStore(name string, js jetstream.JetStream, maxReaders int, paused func(string, wire.Gap), log zerolog.Logger) *Store {
	return &Store{
		name: name, js: js, maxReaders: maxReaders, paused: paused,
		log:     log.With().Str("store", name).Logger(),
		kick:    make(chan struct{}, 1),
		members: map[*pool.Pool]*member{},
		temps:   map[*reader]struct{}{},
	}
}

func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// attach makes p a member; it gets a reader soon.
func (s *Store) attach(p *pool.Pool, created time.Time, generation uint64) {
	s.mu.Lock()
	s.members[p] = &member{created: created, gen: generation}
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
	delete(s.members, p)
	if m.reader != nil {
		m.reader.remove(p)
	}
	s.wake()
}

// left is called by a reader that a pool has left. A pool without room comes
// back when it has some.
func (s *Store) left(r *reader, l leaver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[l.pool]
	if m == nil || m.reader != r {
		return
	}
	m.reader = nil
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
		return
	}
	s.head.mu.Lock()
	defer s.head.mu.Unlock()
	if s.head.position.Load() > r.position.Load() {
		return
	}
	for _, p := range r.stop() {
		if m := s.members[p]; m != nil {
			at := p.Position()
			ok, err := s.head.addLocked(p, at)
			s.placed(p, m, s.head, at, ok, err)
		}
	}
	s.wake() // the loop closes the reader
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
	}
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

// run serves the store until ctx ends.
func (s *Store) run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	defer s.shutdown()
	for {
		s.tend(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.lookAfter(ctx)
		case <-s.kick:
		}
	}
}

func (s *Store) shutdown() {
	s.closeAll()
	s.waiters.Wait()
}

// closeAll closes all readers; their pools wait for new ones.
func (s *Store) closeAll() {
	s.mu.Lock()
	rs := s.readers()
	s.head = nil
	clear(s.temps)
	for _, m := range s.members {
		m.reader = nil
	}
	s.mu.Unlock()
	for _, r := range rs {
		r.stop()
		r.close()
	}
}

// tend brings readers and pools in line with what is.
func (s *Store) tend(ctx context.Context) {
	s.mu.Lock()
	idle := len(s.members) == 0
	s.mu.Unlock()
	if idle {
		s.closeAll()
		return
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now, err := inspect(call, s.js, s.name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		s.lost("the store does not exist")
		return
	case err != nil:
		if ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("store cannot be looked at")
		}
		return
	}
	s.renew(now)
	s.reap()
	if err := s.ensureHead(ctx, now); err != nil {
		s.log.Warn().Err(err).Msg("store cannot be read")
		return
	}
	s.place(ctx, now)
}

func inspect(ctx context.Context, js jetstream.JetStream, name string) (info, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return info{}, err
	}
	c := stream.CachedInfo()
	return info{first: max(c.State.FirstSeq, 1), last: c.State.LastSeq, created: c.Created}, nil
}

// renew notes what the store holds and judges the jumps that readers met.
func (s *Store) renew(now info) {
	s.mu.Lock()
	another := !s.info.created.IsZero() && !s.info.created.Equal(now.created) || now.last < s.info.last
	s.info = now
	readers := s.readers()
	s.mu.Unlock()
	if another {
		s.lost("the store was deleted and created anew, or lost its end")
		return
	}
	for _, r := range readers {
		s.judge(r, now)
	}
}

func (s *Store) readers() []*reader {
	var rs []*reader
	if s.head != nil {
		rs = append(rs, s.head)
	}
	for r := range s.temps {
		rs = append(rs, r)
	}
	return rs
}

// judge tells the pools of r which of its jumps were gaps: ranges that the
// store has dropped from its front.
func (s *Store) judge(r *reader, now info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.jumps {
		if now.first <= j.from {
			continue
		}
		gap := jump{j.from, min(j.to, now.first-1)}
		r.index.Keys(func(p *pool.Pool) {
			m := s.members[p]
			if from := max(gap.from, m.since+1); m != nil && from <= gap.to && !p.Finished(from, gap.to) {
				p.Lost(wire.Gap{From: from, To: gap.to, At: time.Now().UTC(), Generation: m.gen})
			}
		})
	}
	r.jumps = r.jumps[:0]
}

// lost takes all pools off their readers: the sequences mean nothing any more.
func (s *Store) lost(why string) {
	s.closeAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info{}
	for p := range s.members {
		p.StoreLost(why)
	}
}

// reap closes temporary readers that have no pools left.
func (s *Store) reap() {
	s.mu.Lock()
	var done []*reader
	for r := range s.temps {
		r.mu.Lock()
		if r.stopped || r.index.Len() == 0 {
			r.stopped = true
			done = append(done, r)
			delete(s.temps, r)
		}
		r.mu.Unlock()
	}
	s.mu.Unlock()
	for _, r := range done {
		r.close()
	}
}

// ensureHead opens the reader at the head of the store.
func (s *Store) ensureHead(ctx context.Context, now info) error {
	s.mu.Lock()
	have := s.head != nil
	s.mu.Unlock()
	if have {
		return nil
	}
	r := newReader(s, now.last, true)
	if err := r.open(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.head = r
	s.mu.Unlock()
	return nil
}

// place gives each pool that waits a reader.
func (s *Store) place(ctx context.Context, now info) {
	s.mu.Lock()
	var behind []*pool.Pool
	for p, m := range s.members {
		if m.reader != nil || m.full || m.halted || !s.fit(p, m, now) || s.put(p, m, s.head) {
			continue
		}
		behind = append(behind, p)
	}
	free := s.maxReaders - 1 - len(s.temps)
	s.mu.Unlock()
	slices.SortFunc(behind, func(a, b *pool.Pool) int {
		switch pa, pb := a.Position(), b.Position(); {
		case pa < pb:
			return -1
		case pa > pb:
			return 1
		}
		return 0
	})
	for ; free > 0 && len(behind) > 0; free-- {
		n := 1
		from := behind[0].Position()
		for n < len(behind) && behind[n].Position() <= from+groupSpan {
			n++
		}
		s.catchUp(ctx, behind[:n], from)
		behind = behind[n:]
	}
}

// fit reports whether the store still has what p is to read next, and deals
// with it where it has not.
func (s *Store) fit(p *pool.Pool, m *member, now info) bool {
	if !m.created.IsZero() && !m.created.Equal(now.created) {
		p.StoreLost("the store was deleted and created anew: seek or restart the subscription")
		return false
	}
	at := p.Position()
	if at > now.last && !m.ahead {
		m.ahead = true // it may have been read since the store was looked at
		s.wake()
		return false
	}
	if at > now.last {
		p.StoreLost("the store ends before the checkpoint: it lost events; seek or restart the subscription")
		return false
	}
	m.ahead = false
	p.StoreLost("")
	if now.first > at+1 && !p.Finished(at+1, now.first-1) {
		gap := wire.Gap{From: at + 1, To: now.first - 1, At: time.Now().UTC(), Generation: m.gen}
		before := p.Gap()
		if p.Spec().OnGap == wire.GapPause && (before == nil || before.From != gap.From || before.Generation >= m.gen) {
			m.halted = true
			p.Lost(gap)
			s.paused(p.Name(), gap)
			return false
		}
		p.Lost(gap)
	}
	if m.jump != nil && m.jump.from == at+1 {
		p.SkipTo(m.jump.to) // deleted one by one: nothing was there
	}
	m.jump = nil
	p.SkipTo(max(p.Position(), now.first-1))
	return true
}

// catchUp opens a temporary reader for pools that are behind the head.
func (s *Store) catchUp(ctx context.Context, ps []*pool.Pool, from uint64) {
	r := newReader(s, from, false)
	s.mu.Lock()
	for _, p := range ps {
		m := s.members[p]
		if m == nil || m.reader != nil {
			continue
		}
		s.put(p, m, r)
	}
	s.temps[r] = struct{}{}
	s.mu.Unlock()
	if err := r.open(ctx); err != nil {
		s.log.Warn().Err(err).Msg("store cannot be read")
		s.abandon(r)
	}
}

// abandon takes all pools off a reader, so that they wait for another one.
func (s *Store) abandon(r *reader) {
	s.mu.Lock()
	for _, p := range r.stop() {
		if m := s.members[p]; m != nil {
			m.reader = nil
		}
	}
	delete(s.temps, r)
	if s.head == r {
		s.head = nil
	}
	s.mu.Unlock()
	r.close()
}

// lookAfter looks after readers that do not move: a temporary one that has
// nothing left to read has arrived; one that has more to read has stalled.
func (s *Store) lookAfter(ctx context.Context) {
	s.mu.Lock()
	rs, last := s.readers(), s.info.last
	s.mu.Unlock()
	for _, r := range rs {
		switch {
		case r.moved(last):
		case !r.atHead && s.arrived(ctx, r):
			s.merge(r)
		case r.still >= stillLooks:
			s.log.Warn().Uint64("position", r.position.Load()).Uint64("last", last).Msg("reader stalled, opening it anew")
			s.abandon(r)
			s.wake()
		}
	}
}

// arrived finds out whether a temporary reader has nothing left to read up to
// where the head is: the last events may have been deleted, so that no message
// says so. It moves the reader's position there if so.
func (s *Store) arrived(ctx context.Context, r *reader) bool {
	head := s.headPosition()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ci, err := r.cons.Info(call)
	if err != nil || ci.NumPending > 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || ci.Delivered.Stream > r.position.Load() {
		return false // still on its way to us
	}
	r.position.Store(max(r.position.Load(), head))
	return true
}
