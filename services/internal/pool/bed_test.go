package pool_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// sent is a delivery as the subscriber sees it.
type sent struct {
	seq     uint64
	attempt int
	token   string
	msg     nats.Msg
	at      time.Time
}

// publisher plays the connection.
type publisher struct {
	before func() // called before each message is sent

	mu   sync.Mutex
	fail func(seq uint64) error // nil: nothing fails
	saw  func(sent)
	sent []sent
}

const prefix = "_SLUICE.ack.p1."

func (p *publisher) PublishMsg(m *nats.Msg) error {
	if p.before != nil {
		p.before()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := sent{at: time.Now(), msg: *m, token: strings.TrimPrefix(m.Reply, prefix)}
	d.msg.Header = maps.Clone(m.Header)
	d.seq, _ = strconv.ParseUint(m.Header.Get(wire.HeaderSequence), 10, 64)
	d.attempt, _ = strconv.Atoi(m.Header.Get(wire.HeaderAttempt))
	if p.fail != nil {
		if err := p.fail(d.seq); err != nil {
			return err
		}
	}
	p.sent = append(p.sent, d)
	if p.saw != nil {
		p.saw(d)
	}
	return nil
}

func (p *publisher) failWith(f func(seq uint64) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = f
}

// parker plays the parked stream.
type parker struct {
	mu     sync.Mutex
	refuse bool
	got    []pool.Parked
	open   []pool.Parked // of these, those that have not been answered
}

func (p *parker) Park(e pool.Parked) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse {
		return false
	}
	p.got = append(p.got, e)
	p.open = append(p.open, e)
	return true
}

func (p *parker) refuses(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = yes
}

// handed is how often an event has been handed over.
func (p *parker) handed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got)
}

// store stores what has been handed over.
func (p *parker) store() { p.answer(nil) }

// answer tells what became of what has been handed over.
func (p *parker) answer(err error) {
	p.mu.Lock()
	open := p.open
	p.open = nil
	p.mu.Unlock()
	for _, e := range open {
		e.Done(err)
	}
}

// fetcher plays the store that events are fetched from again.
type fetcher struct {
	mu     sync.Mutex
	stored map[uint64]*event.Event
	refuse bool
	fail   error // of every fetch
	hold   bool  // answer only when told
	asks   func(pool.Wanted)
	got    []pool.Wanted
	n      int // asked for
}

func (f *fetcher) Fetch(w pool.Wanted) bool {
	f.mu.Lock()
	if f.refuse {
		f.mu.Unlock()
		return false
	}
	f.n++
	f.got = append(f.got, w)
	hold, asks := f.hold, f.asks
	f.mu.Unlock()
	if asks != nil {
		asks(w)
	}
	if !hold {
		f.answer()
	}
	return true
}

// answer gives what has been asked for.
func (f *fetcher) answer() {
	f.mu.Lock()
	got := f.got
	f.got = nil
	f.mu.Unlock()
	for _, w := range got {
		f.mu.Lock()
		e, err := f.stored[w.Sequence], f.fail
		if e == nil && err == nil {
			err = core.ErrGone
		}
		f.mu.Unlock()
		w.Got(e, err)
	}
}

func (f *fetcher) set(change func(f *fetcher)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// asked is how often an event was asked for.
func (f *fetcher) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// asker plays the servers that say who listens.
type asker struct {
	mu     sync.Mutex
	who    core.Who
	refuse bool
	hold   bool // answer only when told
	held   []pool.Question
	n      int // questions
}

func (a *asker) Ask(q pool.Question) bool {
	a.mu.Lock()
	a.n++
	who, refuse, hold := a.who, a.refuse, a.hold
	if hold && !refuse {
		a.held = append(a.held, q)
	}
	a.mu.Unlock()
	switch {
	case refuse:
		return false
	case !hold:
		a.answer(q, who)
	}
	return true
}

func (a *asker) answer(q pool.Question, who core.Who) {
	if who != core.Nobody && q.Send != nil {
		q.Send()
	}
	q.Told(core.Told{Who: who, Why: "as the servers say"})
}

// now makes the servers say so from now on, also of what was asked before.
func (a *asker) now(who core.Who) {
	a.mu.Lock()
	held := a.held
	a.held, a.hold, a.refuse, a.who = nil, false, false, who
	a.mu.Unlock()
	for _, q := range held {
		a.answer(q, who)
	}
}

func (a *asker) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// bed is a pool with all that is around it, under a fake clock.
type bed struct {
	tester
	*pool.Pool
	pub    *publisher
	park   *parker
	fetch  *fetcher
	ask    *asker
	budget *core.Budget
	alone  bool // no other pool uses the budget
	moved  atomic.Int64

	mu       sync.Mutex
	notices  []string
	notify   func(what string, data map[string]any)
	looked   int // deliveries seen by next
	position atomic.Uint64
	taken    atomic.Uint64
}

// spec is the contract's defaults.
func spec() wire.Spec {
	return wire.Spec{
		Store: "S", Selector: wire.Selector{ByStream: wire.StringList{"$all"}},
		Deliver:  wire.Deliver{Subject: "target", Mode: wire.ModeAck},
		PoolSize: wire.PoolSize{Min: 16, Max: 1024}, AckWait: wire.Duration(30 * time.Second),
		Retry:       wire.Retry{MaxAttempts: 5, MinBackoff: wire.Duration(time.Second), MaxBackoff: wire.Duration(time.Minute)},
		OnExhausted: wire.ExhaustedPark,
		Breaker:     wire.Breaker{Failures: 100, OpenFor: wire.Duration(10 * time.Second)},
	}
}

type config struct {
	spec   wire.Spec
	record wire.Record
	cp     wire.Checkpoint
	budget *core.Budget
	ranges int
	until  uint64
	rate   int
	replay pool.Replay
	target pool.Target
}

func newBed(tb tester, tm *timers.Timers, c config) *bed {
	tb.Helper()
	b := &bed{tester: tb, pub: &publisher{}, park: &parker{}, fetch: &fetcher{stored: map[uint64]*event.Event{}}, ask: &asker{}, budget: c.budget}
	if b.alone = b.budget == nil; b.alone {
		b.budget = core.NewBudget(1 << 30)
	}
	rec := c.record
	rec.Name, rec.UID, rec.Generation, rec.Spec = "triage", "u1", 3, c.spec
	p, err := pool.New(pool.Config{
		Config:       core.Config{Record: &rec, Entry: wire.Pool{Epoch: 7, Checkpoint: c.cp}, Budget: b.budget, MaxRanges: c.ranges, Until: c.until, Rate: c.rate},
		AnswerPrefix: prefix, Carriers: &pool.Carriers{}, Timers: tm, Replay: c.replay, Target: c.target,
		Publish: b.pub.PublishMsg, Park: b.park.Park, Fetch: b.fetch.Fetch, Ask: b.ask.Ask,
		Notify: func(n core.Notice) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.notices = append(b.notices, n.What)
			if b.notify != nil {
				b.notify(n.What, n.Data)
			}
		},
		Moved: func() { b.moved.Add(1) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	b.Pool = p
	b.position.Store(c.cp.Floor)
	p.Attach(&b.position, &b.taken, c.cp.Floor, true)
	return b
}

// withPool runs f with a pool; afterwards the pool must have let go of all it held.
func withPool(t *testing.T, c config, f func(t *testing.T, b *bed)) {
	t.Helper()
	clocktest.Run(t, func(t *testing.T) {
		tm := timers.New()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tm.Run(ctx) }()
		defer func() {
			cancel()
			<-done //nolint:errcheck // only that it came matters
		}()
		b := newBed(t, tm, c)
		defer b.Close()
		f(t, b)
		b.Close()
		if c.budget == nil && b.budget.Used() != 0 {
			t.Errorf("%d bytes of the budget are not given back", b.budget.Used())
		}
	})
}

// after waits under the fake clock and until everybody has done what is due.
func after(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

func makeEvent(seq uint64, subject string, header nats.Header, size int) *event.Event {
	e := event.New("S", selector.Message{Sequence: seq, Time: time.Unix(1000, int64(seq)), Subject: subject, Header: header, Data: make([]byte, size)})
	e.Matched()
	return e
}

// Offer offers an event of the store, from which it can be fetched again.
func (b *bed) Offer(e *event.Event) bool {
	b.stores(e)
	return b.Pool.Offer(e)
}

// OfferToPark is Offer of an event that could not be judged.
func (b *bed) OfferToPark(e *event.Event) bool {
	b.stores(e)
	return b.Pool.OfferToPark(e, wire.ParkedTooCostly)
}

func (b *bed) stores(e *event.Event) {
	b.fetch.set(func(f *fetcher) { f.stored[e.Sequence] = e })
}

// offer offers the events first, first+1 … of the given subjects, as a reader would.
func (b *bed) offer(first uint64, subjects ...string) {
	b.Helper()
	for i, s := range subjects {
		if seq := first + uint64(i); !b.Offer(makeEvent(seq, s, nil, 0)) {
			b.Fatalf("no room for event %d", seq)
		} else {
			b.position.Store(seq)
		}
	}
	b.Flush()
}

// next returns the deliveries since the last call as "sequence/attempt".
func (b *bed) next() []sent {
	b.pub.mu.Lock()
	defer b.pub.mu.Unlock()
	ds := b.pub.sent[b.looked:]
	b.looked = len(b.pub.sent)
	return ds
}

// wantSent compares the deliveries since the last call, given as
// "sequence/attempt", and returns them.
func (b *bed) wantSent(want ...string) []sent {
	b.Helper()
	ds := b.next()
	var got []string
	for _, d := range ds {
		got = append(got, fmt.Sprintf("%d/%d", d.seq, d.attempt))
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		b.Fatalf("sent %v, want %v", got, want)
	}
	return ds
}

// one is wantSent for a single delivery.
func (b *bed) one(want string) sent {
	b.Helper()
	return b.wantSent(want)[0]
}

func (b *bed) answer(d sent, text string) bool { return b.Answer(d.token, []byte(text), nil) }

// nobody is the server's answer where no one listens.
func (b *bed) nobody(d sent) {
	b.Answer(d.token, nil, nats.Header{"Status": {"503"}, "Nats-Subject": {"target"}})
}

// ended is a context that has ended.
func (b *bed) ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// entry is what the pool has to say in its entry.
func (b *bed) entry() wire.Pool { return b.Entry(wire.Pool{}) }

func (b *bed) wantState(want wire.PoolState) {
	b.Helper()
	if e := b.entry(); e.State != want {
		b.Fatalf("state = %s (%s), want %s", e.State, e.Reason, want)
	}
}

// wantAllFinished requires that everything read is finished and let go.
func (b *bed) wantAllFinished() {
	b.Helper()
	if cp := b.entry().Checkpoint; cp.Floor != b.Position() || len(cp.Ranges) > 0 {
		b.Fatalf("checkpoint = %+v at position %d: not all is finished", cp, b.Position())
	}
	st := b.Status()
	if st.Pending+st.InFlight+st.Retrying+st.Parking > 0 {
		b.Fatalf("all is finished, but: %+v", st)
	}
	if held := b.budget.Used(); b.alone && held > 0 {
		b.Fatalf("all is finished, but the pool holds %d bytes", held)
	}
}

func (b *bed) count(what string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.notices {
		if s == what {
			n++
		}
	}
	return n
}
