package reader

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subjects"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, natstest.ServersLeaks()...) }

const testStore = "EVENTS"

// tester is a test, or one run of a property.
type tester interface {
	rapid.TB
	Cleanup(func())
}

// env is a store, and readers for it.
type env struct {
	t      tester
	js     jetstream.JetStream
	set    *Set
	budget *core.Budget
	timers *timers.Timers
	paused chan wire.Gap
}

func newEnv(t *testing.T, cfg jetstream.StreamConfig) *env {
	t.Helper()
	return newEnvOf(t, cfg, 4)
}

func newEnvOf(t *testing.T, cfg jetstream.StreamConfig, readers int) *env {
	t.Helper()
	js := natstest.Start(t).JetStream()
	cfg.Name, cfg.Subjects = testStore, []string{"e.>"}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return newEnvOn(t, js, Config{JetStream: js, MaxReaders: readers})
}

// newEnvOn runs readers for a store that is there.
func newEnvOn(t tester, js jetstream.JetStream, cfg Config) *env {
	e := &env{t: t, js: js, budget: core.NewBudget(1 << 30), timers: timers.New(), paused: make(chan wire.Gap, 64)}
	cfg.Log, cfg.Paused = zerolog.Nop(), func(_ *wire.Record, g wire.Gap) { e.paused <- g }
	e.set = NewSet(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.set.Run(ctx) })
	wg.Go(func() { _ = e.timers.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return e
}

// publish stores n more events, spread over ten subjects.
func (e *env) publish(n int) {
	e.t.Helper()
	for i := range n {
		if _, err := e.js.PublishMsgAsync(&nats.Msg{Subject: fmt.Sprintf("e.%d.made", i%10), Data: []byte("{}")}, jetstream.WithStallWait(20*time.Second)); err != nil {
			e.t.Fatal(err)
		}
	}
	select {
	case <-e.js.PublishAsyncComplete():
	case <-time.After(20 * time.Second):
		e.t.Fatal("events not stored in 20 s")
	}
}

// subscriber is a pool and whoever listens to it: it answers deliveries in the
// order of their coming while its gate is open.
type subscriber struct {
	env    *env
	filter string // the first of those it asks for
	rec    *wire.Record
	begin  uint64
	pool   *pool.Pool
	queue  chan delivery
	stop   chan struct{}
	wg     sync.WaitGroup

	mu   sync.Mutex
	gate chan struct{} // closed: open
	seqs []uint64
}

func (e *env) subscribe(name, filter string, floor uint64, slow bool, edit func(*pool.Config)) *subscriber {
	e.t.Helper()
	s := &subscriber{env: e, filter: filter, queue: make(chan delivery, 1<<16), gate: make(chan struct{}), stop: make(chan struct{})}
	if !slow {
		s.release()
	}
	spec := subscription.Default()
	spec.Store = testStore
	spec.Selector.ByStream = wire.StringList{filter}
	spec.Deliver = wire.Deliver{Subject: "to." + name, Mode: wire.ModeAck}
	spec.OrderBy = wire.OrderBy{Kind: wire.OrderNone}
	spec.PoolSize = wire.PoolSize{Min: 1, Max: 1} // one at a time, so everything in order; holds 1,024 events
	spec.AckWait = wire.Duration(time.Hour)       // a subscriber that is slow, or kept waiting, gets nothing again
	cfg := pool.Config{
		Config: core.Config{
			Record: &wire.Record{Name: name, UID: name, Generation: 1, Spec: spec},
			Entry:  wire.Pool{Epoch: 1, Checkpoint: wire.Checkpoint{Floor: floor}}, Budget: e.budget,
		},
		AnswerPrefix: "answers.", Publish: s.PublishMsg, Park: func(pool.Parked) bool { return false },
		Carriers: &pool.Carriers{}, Timers: e.timers,
		Notify: func(core.Notice) {}, Moved: func() {},
	}
	if edit != nil {
		edit(&cfg)
	}
	s.rec = cfg.Record
	var err error
	s.pool, err = pool.New(cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	s.wg.Go(s.answer)
	e.t.Cleanup(s.end)
	return s
}

// delivery is what a subscriber keeps of a message, which is the pool's.
type delivery struct{ seq, reply string }

// PublishMsg takes a delivery.
func (s *subscriber) PublishMsg(m *nats.Msg) error {
	s.queue <- delivery{m.Header.Get(wire.HeaderSequence), m.Reply}
	return nil
}

func (s *subscriber) answer() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.passage():
		}
		select {
		case <-s.stop:
			return
		case d := <-s.queue:
			seq, err := strconv.ParseUint(d.seq, 10, 64)
			if err != nil {
				s.env.t.Error(err)
			}
			s.mu.Lock()
			s.seqs = append(s.seqs, seq)
			s.mu.Unlock()
			s.pool.Answer(strings.TrimPrefix(d.reply, "answers."), nil, nil)
		}
	}
}

func (s *subscriber) passage() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gate
}

// release opens the gate, and holdUp shuts it.
func (s *subscriber) release() { s.setGate(true) }
func (s *subscriber) holdUp()  { s.setGate(false) }

func (s *subscriber) setGate(open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	isOpen := false
	select {
	case <-s.gate:
		isOpen = true
	default:
	}
	switch {
	case open && !isOpen:
		close(s.gate)
	case !open && isOpen:
		s.gate = make(chan struct{})
	}
}

func (s *subscriber) end() {
	s.env.set.Detach(s.rec.Spec.Store, s.pool)
	s.pool.Close()
	close(s.stop)
	s.wg.Wait()
}

func (s *subscriber) attach() { s.env.set.Attach(s.pool, s.rec, s.begin) }

// pauses is an edit of a subscriber: it is to pause at a gap.
func pauses(cfg *pool.Config) { cfg.Record.Spec.OnGap = wire.GapPause }

// in returns whether a subscriber's pool is in a state, and for what reason.
func (s *subscriber) in(want wire.PoolState, reason string) error {
	if st := s.pool.Status(); st.State != want || !strings.Contains(st.Reason, reason) {
		return fmt.Errorf("%s is %s (%s), want %s (%s)", s.pool.Name(), st.State, st.Reason, want, reason)
	}
	return nil
}

// got fails unless exactly the events that match, after floor and up to last,
// came, in order.
func (s *subscriber) got(floor, last uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var want []uint64
	for seq := floor + 1; seq <= last; seq++ {
		if subjects.Covers(s.filter, fmt.Sprintf("e.%d.made", (seq-1)%10)) {
			want = append(want, seq)
		}
	}
	for i, seq := range s.seqs {
		if i >= len(want) || seq != want[i] {
			return fmt.Errorf("%s: delivery %d is sequence %d, which is a repeat, a gap or not asked for", s.pool.Name(), i, seq)
		}
	}
	if len(s.seqs) < len(want) {
		return fmt.Errorf("%s: %d of %d events came", s.pool.Name(), len(s.seqs), len(want))
	}
	return nil
}

// Publishing in multiples of ten keeps sequence and subject in step, which the
// expectations rest on.
func TestPoolsMoveBetweenReadersWithoutGapOrRepeat(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 0))
			e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
			e.publish(3000)
			type started struct {
				*subscriber
				floor uint64
			}
			var all []started
			last := uint64(3000)
			filters := []string{">", "e.*.made", "e.3.>", "e.7.made", "e.0.made"}
			for i := range 12 {
				floor := rnd.Uint64N(last + 1)
				s := e.subscribe(fmt.Sprintf("s%d", i), filters[rnd.IntN(len(filters))], floor, rnd.IntN(3) == 0, nil)
				s.attach()
				all = append(all, started{s, floor})
				n := 10 * (1 + rnd.IntN(200))
				e.publish(n)
				last += uint64(n)
				if rnd.IntN(3) == 0 {
					all[rnd.IntN(len(all))].release()
				}
			}
			for _, s := range all {
				s.release()
			}
			for _, s := range all {
				natstest.Await(t, "all events of "+s.pool.Name(), func() error { return s.got(s.floor, last) })
				natstest.Await(t, s.pool.Name()+" is live", func() error {
					if st := s.pool.Status().State; st != wire.PoolLive {
						return fmt.Errorf("%s is %s at %d of %d", s.pool.Name(), st, s.pool.Position(), last)
					}
					return nil
				})
			}
			e.publish(100) // now all read at the head
			for _, s := range all {
				natstest.Await(t, "the last events of "+s.pool.Name(), func() error { return s.got(s.floor, last+100) })
				if cp := s.pool.Entry(wire.Pool{}).Checkpoint; cp.Floor > last+100 || len(cp.Ranges) > 0 && cp.Floor == last+100 {
					t.Errorf("%s: checkpoint %v beyond the store's end %d", s.pool.Name(), cp, last+100)
				}
			}
		})
	}
}

func TestASlowPoolLeavesTheHeadAndHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	fast := e.subscribe("fast", ">", 0, false, nil)
	slow := e.subscribe("slow", ">", 0, true, nil)
	fast.attach()
	slow.attach()
	e.publish(4_000)
	natstest.Await(t, "the fast one has everything", func() error { return fast.got(0, 4_000) })
	if n := slow.pool.Status().Pending; n == 0 || n > 1024 {
		t.Errorf("the slow pool holds %d events, want some, and far fewer than 4,000", n)
	}
	slow.release()
	natstest.Await(t, "the slow one catches up", func() error { return slow.got(0, 4_000) })
	for _, s := range []*subscriber{fast, slow} { // more, where two readers had to read an event for it
		if st := s.pool.Status(); st.Evaluated < 4_000 || st.Matched != 4_000 {
			t.Errorf("%s: evaluated %d, matched %d, want 4,000", s.pool.Name(), st.Evaluated, st.Matched)
		}
	}
}

func TestAPoolCountsTheEventsThatItWasHeldAgainst(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	all := e.subscribe("all", ">", 0, false, nil)
	some := e.subscribe("some", "e.3.>", 0, false, nil)
	for _, s := range []*subscriber{all, some} {
		s.attach()
		natstest.Await(t, "live", func() error { return s.in(wire.PoolLive, "") })
	}
	e.publish(100)
	natstest.Await(t, "everything", func() error { return errors.Join(all.got(0, 100), some.got(0, 100)) })
	for s, matched := range map[*subscriber]uint64{all: 100, some: 10} {
		natstest.Await(t, "the counts", func() error {
			if st := s.pool.Status(); st.Evaluated != 100 || st.Matched != matched {
				return fmt.Errorf("%s: evaluated %d, matched %d", s.pool.Name(), st.Evaluated, st.Matched)
			}
			return nil
		})
	}
}

func TestEventsAsLargeAsTheServerTakesAreRead(t *testing.T) {
	t.Parallel()
	const largest = 8 << 20
	js := natstest.Start(t, func(o *server.Options) { o.MaxPayload = largest }).JetStream()
	cfg := jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}, Storage: jetstream.MemoryStorage}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	e := newEnvOn(t, js, Config{JetStream: js})
	s := e.subscribe("s", ">", 0, false, nil)
	s.attach()
	last := uint64(0)
	for _, size := range []int{largest, largest - 4096, largest} {
		e.publish(10)
		if _, err := js.Publish(t.Context(), "e.0.made", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		last += 11
		natstest.Await(t, fmt.Sprintf("an event of %d bytes", size), func() error { return s.got(0, last) })
	}
}

func TestAPoolArrivesAtTheHeadAlthoughTheLastEventsWereDeleted(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(100)
	stream, err := e.js.Stream(t.Context(), testStore)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(91); seq <= 100; seq++ {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	s := e.subscribe("s", ">", 0, false, nil)
	s.attach()
	natstest.Await(t, "live", func() error {
		if st := s.pool.Status().State; st != wire.PoolLive {
			return fmt.Errorf("%s at %d", st, s.pool.Position())
		}
		return s.got(0, 90)
	})
	if s.pool.Gap() != nil {
		t.Errorf("deleted events were taken for a gap: %+v", s.pool.Gap())
	}
}

// counting counts the looks at stores.
type counting struct {
	jetstream.JetStream
	looks atomic.Int64
}

func (c *counting) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	c.looks.Add(1)
	return c.JetStream.Stream(ctx, name)
}

func TestPoolsThatComeOneAfterTheOtherShareLooks(t *testing.T) {
	t.Parallel()
	js := &counting{JetStream: natstest.Start(t).JetStream()}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStore, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	tune := defaultTuning()
	tune.look, tune.pause = time.Hour, 100*time.Millisecond
	e := newEnvOn(t, js, Config{JetStream: js, tune: tune})
	begun := time.Now()
	for i := range 10 {
		s := e.subscribe(fmt.Sprintf("s%d", i), ">", 0, false, nil)
		s.attach()
		natstest.Await(t, "live", func() error { return s.in(wire.PoolLive, "") })
	}
	if looks, most := js.looks.Load(), int64(time.Since(begun)/tune.pause)+2; looks > most {
		t.Errorf("%d looks at the store, want at most %d", looks, most)
	}
}
