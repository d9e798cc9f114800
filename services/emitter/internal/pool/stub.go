package pool

import (
	"errors"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
)

// A stub is an item whose event was let go: it keeps its place in its lane and
// in the checkpoint, and its event is fetched again when its turn comes. So an
// exhausted event that blocks its lane for days, and all that queue up behind
// it, leave the pool's bytes and its window to other lanes; and so do events
// that fail or are slow, and those behind them, where there is no room otherwise.

const (
	// stubSize is about what a stub holds in memory, in bytes.
	stubSize = 256
	// maxStubs bounds them to as much memory again as the bodies of a pool.
	maxStubs = bytesPerPool / stubSize
	// freeStubs is how many of them take nothing from what the pool may hold of
	// the budget, so that some blocked events leave room for others.
	freeStubs = 256
	// fetchAgain is how long a stub waits that could not be fetched.
	fetchAgain = time.Second
	// patience is how often a stub waits for room in the budget.
	patience = 10
	// aheadEvents and aheadBytes bound what is fetched together with the head of
	// a lane that empties.
	aheadEvents = 15
	aheadBytes  = 1 << 20
)

// ErrGone says that the store does not hold an event any more.
var ErrGone = errors.New("the store no longer holds the event")

// Fetcher gets events again from their store. Fetch must not block: it returns
// false where its queue is full, and otherwise calls w.Got once, from any
// goroutine and with no lock of its own held. It may drop what a closed pool
// wants.
type Fetcher interface {
	Fetch(w Wanted) bool
}

// Wanted is an event to be fetched.
type Wanted struct {
	Store    string
	Sequence uint64
	Ahead    bool        // its turn has not come: others go first
	Open     func() bool // whether the pool still is
	// Got takes the event; or ErrGone, but only where the store is known to
	// have lost it; or any other error, after which it is asked for again.
	Got func(*event.Event, error)
}

// shed lets the event of an item go.
func (p *Pool) shed(it *item) {
	if it.stub {
		return
	}
	it.stub, it.ev = true, nil
	it.lane.kept--
	p.stubs++
	p.cfg.Budget.force(stubSize)
	p.giveBack(it.size)
	p.signalRoom()
}

// shedBehind lets go of the events behind the head of a lane.
func (p *Pool) shedBehind(l *lane) {
	headKept := 1
	if l.head.stub {
		headKept = 0
	}
	for it := l.head.next; l.kept > headKept; it = it.next {
		p.shed(it)
	}
}

// fetch sends for the event of the stub that is to go next. Where there is no
// room for it, it waits, and others go on; but it is fetched all the same where
// there are no others to wait for, and where others have had the budget for too
// long: a pool that is never idle might never find room in it.
func (p *Pool) fetch(it *item, now time.Time) {
	if !p.take(it.size, p.bytes) {
		alone := p.flight.n+p.fetching == 0 && p.ready.n == 1
		if !alone && (it.waits < patience || p.bytes+it.size > bytesPerPool) {
			it.waits++
			p.rests(it, fetchAgain, now)
			return
		}
		p.takeAnyway(it.size)
	}
	it.waits = 0
	p.leavePhase(it)
	p.order(it, false)
	p.awaits(it)
	if it.spent == 0 { // so the one before it is settled, and the lane moves
		p.fetchAhead(it)
	}
}

// fetchAhead sends for the events behind the head of a lane too, while there is
// plenty of room: one after the other they would go no faster than the store
// answers, and a lane into which more comes would never be rid of its stubs.
func (p *Pool) fetchAhead(head *item) {
	it, size := head.next, 0
	for n := 0; n < aheadEvents && it != nil; n, it = n+1, it.next {
		if size += it.size; size > aheadBytes || p.tracker.Open()-p.stubs >= p.window/2 {
			return
		}
		if it.stub {
			if p.bytes > bytesPerPool/2 || !p.take(it.size, p.bytes) {
				return
			}
			p.order(it, true)
		}
	}
}

// order sends for the event of a stub, which has its bytes already.
func (p *Pool) order(it *item, ahead bool) {
	p.unstub(it)
	e := p.effects()
	e.wanted = append(e.wanted, want{it, it.mark.Sequence(), ahead})
}

// awaits makes the head of a lane wait for its event, which is on its way.
func (p *Pool) awaits(it *item) {
	it.phase = fetching
	p.fetching++
}

// coming reports whether the event of an item is on its way. Behind the head of
// its lane it stays queued meanwhile.
func (it *item) coming() bool { return it.ev == nil && !it.stub && it.phase != settled }

// unstub ends the accounting of an item as a stub.
func (p *Pool) unstub(it *item) {
	it.stub = false
	it.lane.kept++
	p.stubs--
	p.cfg.Budget.give(stubSize)
}

// want is an item whose event is to be fetched.
type want struct {
	it    *item
	seq   uint64
	ahead bool
}

// send hands what is wanted to the fetcher, with no lock held.
func (p *Pool) send(w want) {
	it := w.it
	if p.cfg.Fetcher.Fetch(Wanted{
		Store: p.spec.Store, Sequence: w.seq, Ahead: w.ahead, Open: p.open,
		Got: func(e *event.Event, err error) { p.fetched(it, e, err) },
	}) {
		return
	}
	p.mu.Lock()
	defer p.unlock()
	if !p.closed && it.coming() {
		p.missed(it, time.Now())
	}
}

// fetched takes the event of an item, or why there is none.
func (p *Pool) fetched(it *item, e *event.Event, err error) {
	p.mu.Lock()
	if p.closed || !it.coming() { // it may have been answered, or let go again, meanwhile
		p.unlock()
		return
	}
	now := time.Now()
	switch {
	case errors.Is(err, ErrGone) && it.phase == fetching && !p.storeLost():
		p.vanished(it, now)
	case err != nil, !e.Time.Equal(it.at): // another time: of another store, under the same name
		p.missed(it, now)
	case it.phase == queued:
		it.ev = e
	default:
		p.leavePhase(it)
		it.ev = e
		p.goesFirst(it)
		if it.parkFor != "" {
			p.pack(it)
		}
	}
	p.flush(now)
}

// missed makes an item that could not be fetched a stub again, for a while if it
// was its turn.
func (p *Pool) missed(it *item, now time.Time) {
	p.shed(it)
	if it.phase == fetching {
		p.rests(it, fetchAgain, now)
	}
}

// vanished settles an event that was deleted from the store before it could be
// delivered: a gap, though one of a single event. It does not take the place of
// a gap that the pool has yet to pass: whoever resumes it passes that one.
func (p *Pool) vanished(it *item, now time.Time) {
	seq := it.mark.Sequence()
	gap := wire.Gap{From: seq, To: seq, At: now.UTC(), Generation: p.cfg.Record.Generation}
	if g := p.gap; g != nil && g.Generation == gap.Generation && g.To+1 == seq {
		gap.From = g.From
	}
	if p.gap == nil || p.gap.From <= p.position() {
		p.gap = &gap
	}
	p.note(wire.AdvEventLost, "was let go while its lane was held up, and "+ErrGone.Error(),
		map[string]any{"sequence": seq, "key": clip(it.lane.key)})
	p.finish(it, now)
}

// goesFirst makes an item ready before all others.
func (p *Pool) goesFirst(it *item) {
	it.phase = ready
	p.ready.addFirst(it)
}
