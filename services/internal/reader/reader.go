package reader

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/match"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// reader reads a store from one position on, for the pools in its index. The
// rounds over the store open and close it, and put pools under it.
type reader struct {
	store   *Store
	atHead  atomic.Bool // of the stream: the pools of this reader are live, unless it lags
	arrived atomic.Bool // it may have come to where the reader at the head is
	drained atomic.Bool // what it asks for may have come to its end, short of the head

	// Of the rounds.
	feed  *feed.Feed // nil: it is closed
	stall stall

	busy    sync.Mutex   // held while a message is handled, or skipped
	touched []*pool.Pool // took the message that is handled

	progress

	mu      sync.Mutex
	index   *match.Index[*pool.Pool]
	pausing map[*pool.Pool]struct{} // those of its pools that are to pause at a gap
	filters match.Filters           // what it asks for: all that its pools want, and perhaps more
	holes   holes                   // not yet judged
	lag     lag                     // at the head
	health  *health                 // of its feed; changed by the rounds only
	cancel  func()                  // ends its feed; nil before that is opened
	stale   bool                    // it is to be opened anew: it asks for more than it did
	stopped bool                    // it takes nothing more
}

// progress is how far a reader has come. It changes while the reader's mu is held,
// but for pending.
type progress struct {
	position atomic.Uint64 // everything at or below has been offered
	taken    atomic.Uint64 // events held against the pools
	pending  atomic.Uint64 // how much more there was for it when the last event was sent
	begun    uint64        // the event that is being offered, or was last
}

// reached is the last event that the reader has offered, or is offering.
func (p *progress) reached() uint64 { return max(p.position.Load(), p.begun) }

func newReader(s *Store, after uint64, filters match.Filters) *reader {
	r := &reader{
		store: s, stall: stall{reached: after}, health: &health{},
		index: match.NewIndex[*pool.Pool](), pausing: map[*pool.Pool]struct{}{}, filters: filters,
	}
	r.position.Store(after)
	return r
}

// open starts to read after the reader's position, and goes on trying while that
// is not possible.
func (r *reader) open(life context.Context) {
	s := r.store
	session, cancel := context.WithCancel(life)
	how := &health{reported: r.health.reported}
	r.mu.Lock()
	r.health, r.cancel, r.stale = how, cancel, false
	cfg := feed.Config{
		Stream: s.name, After: r.position.Load(), Filters: r.filters,
		Owner: s.cfg.Owner, Purpose: "reads events for its subscriptions", Log: s.log,
		OnState: func(st feed.State) {
			how.note(st)
			s.noteFeed(st)
		},
	}
	r.mu.Unlock()
	reads := feed.New(s.cfg.JetStream, cfg)
	r.feed = reads
	s.waiters.Go(func() {
		_ = reads.Run(session, func(m feed.Msg) { r.handle(session, m) }) // no error without a look
	})
}

// close stops reading and waits until the handler has returned. What still comes is
// not taken. The consumer ends in its own time, which can be as long as JetStream
// takes to delete it.
func (r *reader) close() {
	if r.cancel != nil {
		r.cancel()
	}
	r.busy.Lock()
	defer r.busy.Unlock()
	r.feed = nil
}

// handle takes one message of the stream. Calls come one after the other.
func (r *reader) handle(session context.Context, m feed.Msg) {
	r.busy.Lock()
	defer r.busy.Unlock()
	e := event.New(r.store.name, selector.Message{Sequence: m.Sequence, Time: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data})
	if !r.take(session, e) {
		return
	}
	r.noteBacklog(m.Pending)
	for _, p := range r.touched {
		p.Flush()
	}
	if !r.atHead.Load() && (m.Pending == 0 || e.Sequence >= r.store.headPosition()) && !r.arrived.Swap(true) {
		r.store.wake()
	}
}

// take offers e to the pools that it matches and moves the position past it. It
// waits a while for a pool without room where that keeps nobody else waiting.
func (r *reader) take(session context.Context, e *event.Event) bool {
	taken, full := r.offer(session, e, true)
	if full == nil {
		return taken
	}
	patience := time.NewTimer(r.store.cfg.tune.patience)
	defer patience.Stop()
	for wait := true; full != nil; taken, full = r.offer(session, e, wait) {
		room := full.Room()
		full.Flush()
		select {
		case <-room:
		case <-patience.C:
			wait = false
		case <-session.Done():
			wait = false
		}
	}
	return taken
}

// offer is one try of take. A pool without room leaves the reader, unless it may be
// waited for. Then offer returns it, and the position has not moved.
func (r *reader) offer(session context.Context, e *event.Event, wait bool) (taken bool, full *pool.Pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	position := r.position.Load()
	again := r.begun == e.Sequence // it is offered to the end, even if the session ends
	if r.stopped || e.Sequence <= position || !again && session.Err() != nil {
		return false, nil
	}
	r.begun = e.Sequence
	r.touched = r.touched[:0]
	if !again && e.Sequence > position+1 {
		r.meetHole(position+1, e.Sequence-1)
	}
	matched, costly := r.index.Match(&e.Event)
	if len(matched)+len(costly) > 0 {
		e.Matched()
	}
	wait = wait && !r.atHead.Load() && r.index.Len() == 1
	note := func(p *pool.Pool, hadRoom bool) {
		switch {
		case hadRoom:
			r.touched = append(r.touched, p)
		case wait:
			full = p
		default:
			r.leave(p, position, nil)
		}
	}
	for _, p := range matched {
		note(p, p.Offer(e))
	}
	for _, p := range costly { // nobody knows whether they want it
		note(p, p.OfferToPark(e, wire.ParkedTooCostly))
	}
	if full != nil {
		return false, full
	}
	r.taken.Add(1) // now, so that a pool that left before e does not count it
	r.position.Store(e.Sequence)
	return true, nil
}

// drop takes a pool off the reader, if it is there, and leaves it at a position.
func (r *reader) drop(p *pool.Pool, position uint64) {
	r.index.Remove(p)
	delete(r.pausing, p)
	p.Detach(position)
}

// leave takes a pool off the reader, which has offered it everything up to
// position, and tells the store.
func (r *reader) leave(p *pool.Pool, position uint64, h *hole) {
	r.drop(p, position)
	r.store.left(r, p, h)
}

// meetHole notes that the stream left out a range. Pools that are to pause at a gap
// leave before they get what follows: a look at the store tells whether it is one.
// A pool that joined ahead of the reader may have read the range.
func (r *reader) meetHole(from, to uint64) {
	h := r.store.holeOf(r, from, to)
	for p := range r.pausing {
		if p.Position() < to {
			r.leave(p, from-1, &h)
		}
	}
	r.holes = r.holes.with(h)
}

// skip moves a reader that is still at a position to another one, with nothing
// for it in between. It is not done while a message is handled.
func (r *reader) skip(at, to uint64) bool {
	if !r.busy.TryLock() {
		return false
	}
	defer r.busy.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.stale || r.reached() != at {
		return false
	}
	r.meetHole(at+1, to)
	r.position.Store(to)
	r.pending.Store(0)
	return true
}

// add puts a pool that has read everything up to base under this reader, if
// the reader is not beyond that. Its mu is held.
func (r *reader) add(p *pool.Pool, base uint64) (bool, error) {
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
// position that it has reached. It returns the holes that it may have passed.
func (r *reader) remove(p *pool.Pool) holes {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(p, p.Position())
	return slices.Clone(r.holes)
}

// stop makes the reader take nothing more, and returns the pools it had and the
// holes that they may have passed with it.
func (r *reader) stop() (ps []*pool.Pool, passed holes) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.index.Keys(func(p *pool.Pool) { ps = append(ps, p) })
	for _, p := range ps {
		r.drop(p, p.Position())
	}
	return ps, r.holes
}
