package reader

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
	"github.com/sluicehq/sluice/services/emitter/internal/match"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// reader reads a store from one position on, for the pools in its index.
type reader struct {
	store  *Store
	atHead atomic.Bool // of the stream: the pools of this reader are live, unless it lags
	feed   *feed.Feed  // what it reads through, and how that fares: the store's loop's
	fare   *fare

	busy sync.Mutex // held while a message is handled, or skipped

	position atomic.Uint64 // everything at or below has been offered; written under mu
	taken    atomic.Uint64 // events held against the pools; written under mu
	pending  atomic.Uint64 // how much more there was for it when the last event was sent

	mu      sync.Mutex
	ctx     context.Context // ends when the reader is closed, or is to be opened anew; nil before
	cancel  context.CancelFunc
	stopped bool
	filters match.Filters // what it asks for: all that its pools want, and perhaps more
	drained bool          // that may have come to its end, short of the head
	begun   uint64        // the event that is being offered, or was last
	index   *match.Index[*pool.Pool]
	pausing map[*pool.Pool]struct{} // of those, the ones that are to pause at a gap
	jumps   jumps                   // not yet judged
	lag     lag                     // at the head

	left    []leaver // scratch of who holds busy
	touched []*pool.Pool

	// Seen by the store's loop only, to notice a reader that stands still.
	lastPosition uint64
	still        int
}

// leaver is a pool that left its reader: it has no room, or it met a jump.
type leaver struct {
	pool   *pool.Pool
	jump   *jump
	passed jumps // those of the reader; the pool may have passed them with it
}

func newReader(s *Store, after uint64, filters match.Filters) *reader {
	r := &reader{store: s, fare: &fare{}, filters: filters, index: match.NewIndex[*pool.Pool](), pausing: map[*pool.Pool]struct{}{}}
	r.position.Store(after)
	r.lastPosition = after
	return r
}

// open starts to read after the reader's position, and goes on trying while that
// is not possible. The store's loop calls it.
func (r *reader) open(life context.Context) {
	s := r.store
	r.mu.Lock()
	ctx, cancel := context.WithCancel(life)
	r.ctx, r.cancel = ctx, cancel
	cfg := feed.Config{
		Stream: s.name, After: r.position.Load(), Filters: r.filters,
		Owner: s.owner, Purpose: "reads events for its subscriptions", Log: s.log,
	}
	r.mu.Unlock()
	how := &fare{told: r.fare.told}
	cfg.OnState = func(st feed.State) {
		how.note(st)
		s.heard(st)
	}
	reads := feed.New(s.js, cfg)
	r.mu.Lock()
	r.feed, r.fare = reads, how // also read by Store.atEnd, with mu
	r.mu.Unlock()
	s.waiters.Go(func() {
		_ = reads.Run(ctx, func(m feed.Msg) { r.handle(ctx, m) }) // no error without a look
	})
}

// close stops reading and waits until the handler has returned; what still comes
// is not taken. The consumer ends in its own time: to delete it can take as long
// as JetStream does.
func (r *reader) close() {
	if r.cancel != nil {
		r.cancel()
	}
	r.busy.Lock()
	defer r.busy.Unlock()
	r.feed = nil
}

// message makes what a feed hands over an event.Message.
type message struct{ m *feed.Msg }

func (m message) Subject() string      { return m.m.Subject }
func (m message) Headers() nats.Header { return m.m.Header }
func (m message) Data() []byte         { return m.m.Data }

// handle takes one message of the stream. Calls come one after the other.
func (r *reader) handle(session context.Context, m feed.Msg) {
	r.busy.Lock()
	defer r.busy.Unlock()
	e := event.New(r.store.name, m.Sequence, m.Time, message{&m})
	if !r.take(session, e) {
		return
	}
	r.pends(m.Pending)
	for _, p := range r.touched {
		p.Flush()
	}
	for _, l := range r.left {
		r.store.left(r, l)
	}
	if !r.atHead.Load() && (m.Pending == 0 || e.Sequence >= r.store.headPosition()) {
		r.store.merge(r)
	}
}

// reached is the last event that the reader has offered, or is offering.
func (r *reader) reached() uint64 { return max(r.position.Load(), r.begun) }

// take offers e to the pools that it matches and moves the position past it.
func (r *reader) take(session context.Context, e *event.Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	position := r.position.Load()
	if r.stopped || session.Err() != nil || e.Sequence <= position {
		return false
	}
	r.begun = e.Sequence
	r.left, r.touched = r.left[:0], r.touched[:0]
	if e.Sequence > position+1 {
		r.jumped(position+1, e.Sequence-1)
	}
	matched, costly := r.index.Match(&e.Event)
	if len(matched)+len(costly) > 0 {
		e.Matched()
	}
	for _, p := range matched {
		r.offer(session, p, position, func() bool { return p.Offer(e) })
	}
	for _, p := range costly {
		r.offer(session, p, position, func() bool { return p.OfferToPark(e, wire.ParkedTooCostly) })
	}
	r.taken.Add(1) // now, so that a pool that left before e does not count it
	r.position.Store(e.Sequence)
	return true
}

// offer offers an event that is the next after position to a pool, which leaves
// the reader if it has no room.
func (r *reader) offer(session context.Context, p *pool.Pool, position uint64, offer func() bool) {
	switch {
	case offer() || r.insist(session, p, offer):
		r.touched = append(r.touched, p)
	case r.index.Has(p):
		r.leave(p, position, nil)
	}
}

// insist waits a while for a pool that has no room, where nobody else is kept
// waiting by that.
func (r *reader) insist(session context.Context, p *pool.Pool, offer func() bool) bool {
	deadline := time.NewTimer(r.store.tune.patience)
	defer deadline.Stop()
	for !r.atHead.Load() && r.index.Len() == 1 {
		room := p.Room()
		r.mu.Unlock()
		p.Flush()
		ok := false
		select {
		case <-room:
			ok = true
		case <-deadline.C:
		case <-session.Done():
		}
		r.mu.Lock()
		if !ok || !r.index.Has(p) {
			return false
		}
		if offer() {
			return true
		}
	}
	return false
}

// leave takes a pool off the reader, which has offered it everything up to position.
func (r *reader) leave(p *pool.Pool, position uint64, j *jump) {
	r.drop(p, position)
	r.left = append(r.left, leaver{p, j, slices.Clone(r.jumps)})
}

// jumped notes that the stream left out a range. Pools that are to pause at a
// gap leave before they get what follows, so that the store can tell first
// whether it is one; one that joined ahead of the reader may have read that.
func (r *reader) jumped(from, to uint64) {
	j := r.store.jumpOf(r, from, to)
	for p := range r.pausing {
		if p.Position() < to {
			r.leave(p, from-1, &j)
		}
	}
	r.jumps = r.jumps.with(j)
}

// add puts a pool that has read everything up to base under this reader, if
// the reader is not beyond that.
func (r *reader) add(p *pool.Pool, base uint64) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addLocked(p, base)
}

func (r *reader) addLocked(p *pool.Pool, base uint64) (bool, error) {
	if r.stopped || r.reached() > base {
		return false, nil
	}
	if err := r.index.Add(p, p.Matcher()); err != nil {
		return false, err
	}
	if p.PausesAtGap() {
		r.pausing[p] = struct{}{}
	}
	r.widen(with(r.filters, p))
	p.Attach(&r.position, &r.taken, base, r.atHead.Load() && !r.lag.fallen)
	return true, nil
}

// remove takes a pool off the reader, if it is there, and leaves it at the
// position that it has reached. It returns the jumps that it may have passed.
func (r *reader) remove(p *pool.Pool) jumps {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(p, p.Position())
	return slices.Clone(r.jumps)
}

// drop takes a pool off the reader, if it is there, and leaves it at a position.
func (r *reader) drop(p *pool.Pool, position uint64) {
	r.index.Remove(p)
	delete(r.pausing, p)
	p.Detach(position)
}

// stop makes the reader take nothing more, and returns the pools it had and the
// jumps that they may have passed with it.
func (r *reader) stop() (ps []*pool.Pool, passed jumps) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.index.Keys(func(p *pool.Pool) { ps = append(ps, p) })
	for _, p := range ps {
		r.drop(p, p.Position())
	}
	return ps, r.jumps
}

// moved reports whether the reader has moved since the last look, or is offering
// an event, and counts the looks for which it stood still although there is more
// up to last.
func (r *reader) moved(last uint64) bool {
	r.mu.Lock()
	position := r.position.Load()
	offering := r.begun > position
	r.mu.Unlock()
	moved := offering || position != r.lastPosition
	r.lastPosition = position
	if moved || position >= last {
		r.still = 0
	} else {
		r.still++
	}
	return moved
}
