package reader

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/services/emitter/internal/event"
	"github.com/sluicehq/sluice/services/emitter/internal/match"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// Prefetch of a reader: what lies in the client at most, beyond what pools hold.
const (
	prefetchMessages = 4096
	prefetchBytes    = 8 << 20  // or one message, where the server takes larger ones
	beside           = 64 << 10 // of a message: its subjects, and what the server adds
)

// prefetch is how many bytes a consumer may ask for at once. One that asks for
// less than a message has never gets it, nor anything behind it.
func prefetch(nc *nats.Conn) int { return max(prefetchBytes, int(nc.MaxPayload())+beside) }

// reader reads a store from one position on, for the pools in its index.
type reader struct {
	store  *Store
	log    zerolog.Logger
	atHead bool // of the stream: the pools of this reader are live

	consume jetstream.ConsumeContext // owned by the store's loop
	discard func()                   // lets the server forget the consumer; so is this

	busy sync.Mutex // held while a message is handled, or skipped

	position atomic.Uint64 // everything at or below has been offered; written under mu
	taken    atomic.Uint64 // events held against the pools; written under mu

	mu      sync.Mutex
	ctx     context.Context // ends when the reader is closed, or is to be opened anew; nil before
	cancel  context.CancelFunc
	stopped bool
	filters match.Filters // what it asks for, which is all that its pools want
	drained bool          // that may have come to its end, short of the head
	begun   uint64        // the event that is being offered, or was last
	index   *match.Index[*pool.Pool]
	pausing map[*pool.Pool]struct{} // of those, the ones that are to pause at a gap
	jumps   jumps                   // not yet judged

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
	r := &reader{store: s, log: s.log, filters: filters, index: match.NewIndex[*pool.Pool](), pausing: map[*pool.Pool]struct{}{}}
	r.position.Store(after)
	r.lastPosition = after
	return r
}

// open starts to read after the reader's position. The store's loop calls it.
func (r *reader) open(life context.Context) error {
	r.mu.Lock()
	ctx, cancel := context.WithCancel(life)
	r.ctx, r.cancel = ctx, cancel
	after, filters := r.position.Load(), r.filters
	r.mu.Unlock()
	cons, err := r.store.js.OrderedConsumer(ctx, r.store.name, jetstream.OrderedConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		FilterSubjects:    filters,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("read %q after sequence %d: %w", r.store.name, after, err)
	}
	r.discard = func() { r.store.discard(life, cons) }
	r.consume, err = cons.Consume(
		func(msg jetstream.Msg) { r.handle(ctx, msg) },
		jetstream.PullMaxMessagesWithBytesLimit(prefetchMessages, prefetch(r.store.js.Conn())),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			r.log.Debug().Err(err).Uint64("position", r.position.Load()).Msg("reader interrupted")
		}),
	)
	if err != nil {
		return fmt.Errorf("consume %q: %w", r.store.name, err)
	}
	return nil
}

// close stops reading and waits until the handler has returned; what still comes
// is not taken. The consumer ends in its own time: while it is being made anew,
// which can take as long as JetStream does, it cannot be stopped.
func (r *reader) close() {
	if r.cancel != nil {
		r.cancel()
	}
	if r.consume == nil {
		return
	}
	consume, discard := r.consume, r.discard
	r.store.waiters.Go(func() {
		consume.Stop()
		<-consume.Closed()
		discard()
	})
	r.busy.Lock()
	defer r.busy.Unlock()
	r.consume = nil
}

// handle takes one message of the consumer. Calls come one after the other.
func (r *reader) handle(session context.Context, msg jetstream.Msg) {
	r.busy.Lock()
	defer r.busy.Unlock()
	meta, err := msg.Metadata()
	if err != nil {
		r.log.Error().Err(err).Msg("message without metadata")
		return
	}
	e := event.New(r.store.name, meta.Sequence.Stream, meta.Timestamp, msg)
	if !r.take(session, e) {
		return
	}
	for _, p := range r.touched {
		p.Flush()
	}
	for _, l := range r.left {
		r.store.left(r, l)
	}
	if !r.atHead && (meta.NumPending == 0 || e.Sequence >= r.store.headPosition()) {
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
	matched := r.index.Match(&e.Event)
	if len(matched) > 0 {
		e.Matched()
	}
	for _, p := range matched {
		switch {
		case p.Offer(e) || r.insist(session, p, e):
			r.touched = append(r.touched, p)
		case r.index.Has(p):
			r.leave(p, position, nil)
		}
	}
	r.taken.Add(1) // now, so that a pool that left before e does not count it
	r.position.Store(e.Sequence)
	return true
}

// insist waits a while for a pool that has no room, where nobody else is kept
// waiting by that.
func (r *reader) insist(session context.Context, p *pool.Pool, e *event.Event) bool {
	deadline := time.NewTimer(r.store.tune.patience)
	defer deadline.Stop()
	for !r.atHead && r.index.Len() == 1 {
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
		if p.Offer(e) {
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
	j := r.store.jump(from, to)
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
	r.widen(with(r.filters, p, r.store.tune.filters))
	p.Attach(&r.position, &r.taken, base, r.atHead)
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

// moved reports whether the reader has moved since the last look, and counts
// the looks for which it has not although there is more up to last.
func (r *reader) moved(last uint64) bool {
	position := r.position.Load()
	moved := position != r.lastPosition
	r.lastPosition = position
	if moved || position >= last {
		r.still = 0
	} else {
		r.still++
	}
	return moved
}
