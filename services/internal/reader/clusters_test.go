package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/match"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// What readers ask for, and whom they serve.

// quiet makes a subscriber one that no event matches although it asks for all.
func quiet(cfg *pool.Config) { cfg.Record.Spec.Selector.ByEventType = wire.StringList{"none"} }

// idle returns a pool that no event matches, with nobody behind it.
func (e *env) idle(t tester, name string, floor uint64) (*pool.Pool, *wire.Record) {
	t.Helper()
	return e.idleThat(t, name, floor, "")
}

// idleThat is idle with something to do at gaps.
func (e *env) idleThat(t tester, name string, floor uint64, onGap string) (*pool.Pool, *wire.Record) {
	t.Helper()
	spec := wire.Spec{Store: testStore, Selector: wire.Selector{ByEventType: wire.StringList{"none"}}, OnGap: onGap}
	rec := &wire.Record{Name: name, UID: "u", Generation: 1, Spec: spec}
	p, err := pool.New(pool.Config{
		Config: core.Config{Record: rec, Entry: wire.Pool{Epoch: 1, Checkpoint: wire.Checkpoint{Floor: floor}}, Budget: e.budget},
		Timers: e.timers,
		Notify: func(core.Notice) {},
		Moved:  func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, rec
}

func TestTenThousandPoolsThatAreBehindAreServedAtOnce(t *testing.T) {
	t.Parallel()
	const last, pools = 20_000, 10_000
	e := newEnvOf(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, DefaultMaxReaders)
	e.publish(last)
	tune := defaultTuning()
	tune.span = 10 // so that nearly each would be worth a reader
	set := NewSet(Config{JetStream: e.js, Log: zerolog.Nop(), Paused: func(*wire.Record, wire.Gap) {}, tune: tune})
	var all []*pool.Pool
	for i := range pools {
		p, rec := e.idle(t, fmt.Sprintf("s%d", i), uint64(i*7919%last))
		set.Attach(p, rec, 0)
		all = append(all, p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = set.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	natstest.Await(t, "all are live", func() error {
		var behind, waiting int
		for _, p := range all {
			switch p.Status().State {
			case wire.PoolLive:
			case wire.PoolNoReader:
				waiting++
			default:
				behind++
			}
		}
		if waiting > 0 {
			t.Errorf("%d pools wait for a reader", waiting)
		}
		if behind > 0 {
			return fmt.Errorf("%d are behind", behind)
		}
		return nil
	})
	if n := len(e.consumers(t)); n > DefaultMaxReaders {
		t.Errorf("%d consumers", n)
	}
}

// consumers returns the filters of each consumer that the store has.
func (e *env) consumers(t *testing.T) [][]string {
	t.Helper()
	stream, err := e.js.Stream(t.Context(), testStore)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for ci := range stream.ListConsumers(t.Context()).Info() {
		filters := ci.Config.FilterSubjects
		if f := ci.Config.FilterSubject; f != "" {
			filters = []string{f}
		}
		all = append(all, slices.Sorted(slices.Values(filters)))
	}
	return all
}

func TestReadersAskForWhatTheirPoolsWantTogether(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(100)
	asks := func(want ...string) func() error {
		return func() error {
			if all := e.consumers(t); len(all) != 1 || !slices.Equal(all[0], want) {
				return fmt.Errorf("consumers ask for %v, want %v", all, want)
			}
			return nil
		}
	}
	one := e.subscribe("one", "e.1.made", 0, false, nil)
	one.attach()
	natstest.Await(t, "one filter", asks("e.1.made"))
	natstest.Await(t, "its position gets to the end, where nothing is for it", func() error {
		if at := one.pool.Position(); at != 100 {
			return fmt.Errorf("it is at %d", at)
		}
		return one.in(wire.PoolLive, "")
	})
	two := e.subscribe("two", "e.2.made", 0, false, nil)
	two.attach()
	natstest.Await(t, "two subjects", asks("e.1.made", "e.2.made"))
	e.publish(100)
	wide := e.subscribe("wide", "e.3.*", 100, false, nil)
	wide.attach()
	natstest.Await(t, "one filter for all of them", asks("e.*.*"))
	all := e.subscribe("all", ">", 0, false, nil)
	all.attach()
	natstest.Await(t, "everything", asks())
	natstest.Await(t, "all that they asked for", func() error {
		return errors.Join(one.got(0, 200), two.got(0, 200), wide.got(100, 200), all.got(0, 200))
	})
}

// While events come a temporary reader with filters never stands where the head
// does, since it does not see most of them.
func TestAPoolWithAFilterArrivesAlthoughTheStoreGrows(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(1000)
	head := e.subscribe("head", ">", 0, false, quiet)
	head.attach()
	natstest.Await(t, "the head is there", func() error { return head.in(wire.PoolLive, "") })
	s := e.subscribe("s", "e.3.made", 0, false, nil)
	s.attach()
	natstest.Await(t, "it arrives", func() error {
		for range 50 {
			if _, err := e.js.PublishMsg(t.Context(), &nats.Msg{Subject: "e.0.made"}); err != nil {
				return err
			}
		}
		return s.in(wire.PoolLive, "")
	})
}

// bare is a store without JetStream, whose readers are handed their events.
func bare(e *env) *Store {
	return newStore(testStore, e.set.cfg, &sync.WaitGroup{})
}

// join puts a pool under a reader, as the store does for its members.
func join(r *reader, p *pool.Pool, base uint64) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(p, base)
}

func at(seq uint64) *event.Event {
	return event.New(testStore, selector.Message{Sequence: seq, Time: time.Now(), Subject: "e.0.made"})
}

func TestNobodyJoinsInTheMiddleOfAnEvent(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	full := e.subscribe("full", ">", 0, true, func(cfg *pool.Config) { cfg.Budget = core.NewBudget(1) })
	late := e.subscribe("late", ">", 1, false, nil)
	r := newReader(bare(e), 0, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if ok, err := join(r, full.pool, 0); !ok || err != nil {
		t.Fatal(ok, err)
	}
	r.take(ctx, at(1))
	done := make(chan struct{})
	go func() { defer close(done); r.take(ctx, at(2)) }() // waits for room
	natstest.Await(t, "the reader offers the second event", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.begun != 2 {
			return errors.New("not yet")
		}
		return nil
	})
	if ok, _ := join(r, late.pool, 1); ok {
		t.Error("a pool joined that would not be offered the event under way")
	}
	cancel()
	<-done
	if r.position.Load() != 2 || r.index.Len() > 0 {
		t.Errorf("it is at %d with %d pools; the event under way is to be offered to the end, and the pool to leave", r.position.Load(), r.index.Len())
	}
}

func TestAReaderWaitsForRoomOnlyWhereThatKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	for _, tt := range []struct {
		name     string
		atHead   bool
		others   int
		patience time.Duration // an hour, where it must not wait
	}{
		{"alone", false, 0, 50 * time.Millisecond},
		{"beside another one", false, 1, time.Hour},
		{"at the head", true, 0, time.Hour},
	} {
		s := bare(e)
		s.cfg.tune.patience = tt.patience
		r := newReader(s, 0, nil)
		r.atHead.Store(tt.atHead)
		full := e.subscribe("full "+tt.name, ">", 0, true, func(cfg *pool.Config) { cfg.Budget = core.NewBudget(1) })
		subs := []*subscriber{full}
		for range tt.others {
			subs = append(subs, e.subscribe("other "+tt.name, ">", 0, false, nil))
		}
		for _, sub := range subs {
			if ok, err := join(r, sub.pool, 0); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		begun := time.Now()
		if !r.take(t.Context(), at(1)) || !r.take(t.Context(), at(5)) { // the second finds it full, behind a hole
			t.Errorf("%s: an event was not taken", tt.name)
		}
		if took := time.Since(begun); tt.others == 0 && !tt.atHead && took < tt.patience {
			t.Errorf("%s: it waited for %v, want %v", tt.name, took, tt.patience)
		}
		if r.index.Has(full.pool) || r.index.Len() != tt.others || r.position.Load() != 5 || len(r.holes) != 1 {
			t.Errorf("%s: at %d with %d pools, %d holes", tt.name, r.position.Load(), r.index.Len(), len(r.holes))
		}
	}
}

func TestAReaderThatIsToAskForMoreTakesNothingUntilItDoes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	r := newReader(bare(e), 0, match.Filters{})
	session, end := context.WithCancel(t.Context())
	r.cancel = end
	for i, filter := range []string{"e.0.made", "e.0.made", "e.1.made"} {
		s := e.subscribe(fmt.Sprint(i), filter, 0, false, nil)
		if i == 0 {
			r.filters = with(r.filters, s.pool) // it was opened so
		}
		if ok, err := join(r, s.pool, 0); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if r.stale != (filter == "e.1.made") {
			t.Errorf("with %v it is to be opened anew: %v", r.filters, r.stale)
		}
	}
	if r.take(session, at(2)) || r.position.Load() != 0 {
		t.Error("it passed over what it did not ask for")
	}
}

// interrupted is JetStream where something happens before the first request.
type interrupted struct {
	jetstream.JetStream
	once   sync.Once
	happen func()
}

func (i *interrupted) Conn() *nats.Conn {
	i.once.Do(i.happen)
	return i.JetStream.Conn()
}

// While a reader asks whether anything is for it, it may come to ask for more,
// or take what was on its way.
func TestAReaderSkipsOnlyWhatItHasAskedFor(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(10)
	want := e.subscribe("want", "e.0.made", 0, false, nil)
	for _, tt := range []struct {
		name   string
		happen func(r *reader)
		skips  bool
	}{
		{"nothing happens", func(*reader) {}, true},
		{"a pool that wants more", func(r *reader) { _, _ = join(r, want.pool, 0) }, false},
		{"an event that was deleted then", func(r *reader) { r.take(t.Context(), at(3)) }, false},
	} {
		s := bare(e)
		r := newReader(s, 0, match.Filters{"e.x.made"})
		r.cancel = func() {}
		s.cfg.JetStream = &interrupted{JetStream: e.js, happen: func() { tt.happen(r) }}
		if skips := s.advanceIfIdle(t.Context(), r, 10); skips != tt.skips || skips != (r.position.Load() == 10) {
			t.Errorf("%s: skips %v, and is at %d", tt.name, skips, r.position.Load())
		}
		r.stop()
	}
}

func TestAPoolThatIsAheadOfItsReaderStaysWhereEventsAreMissing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	s := e.subscribe("s", ">", 10, false, pauses)
	r := newReader(bare(e), 0, nil)
	if ok, err := join(r, s.pool, 10); !ok || err != nil {
		t.Fatal(ok, err)
	}
	r.take(t.Context(), at(9))
	if !r.index.Has(s.pool) {
		t.Error("it left for events that it has read")
	}
	r.take(t.Context(), at(15))
	if r.index.Has(s.pool) {
		t.Error("it stayed although events are missing that it has not read")
	}
}

func TestAPoolThatPausesAtGapsSeesEverything(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	s := e.subscribe("s", "e.1.made", 0, false, pauses)
	if f := with(match.Filters{}, s.pool); f != nil {
		t.Errorf("it asks for %v", f)
	}
}

func TestAReaderNearTheFrontOfAStoreThatDropsEventsSeesEverything(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	s := bare(e)
	tick := func(first uint64) { s.info.first = first; s.info.look++; s.watchFront() }
	head := newReader(s, 1500, match.Filters{})
	head.atHead.Store(true)
	s.head.Store(head)
	s.temps = map[*reader]struct{}{newReader(s, 0, match.Filters{}): {}}
	tick(1)
	for _, r := range s.readers() {
		if r.filters == nil {
			t.Errorf("the front stands still, and the reader at %d sees everything", r.position.Load())
		}
	}
	tick(101) // and beyond 1101 in ten looks
	for _, r := range s.readers() {
		if seesAll := r.filters == nil; seesAll == r.atHead.Load() || seesAll != (r.position.Load() < 1100) {
			t.Errorf("the reader at %d sees everything: %v", r.position.Load(), seesAll)
		}
	}
	if s.filtersAfter(1099) != nil || s.filtersAfter(1100) == nil {
		t.Error("a new reader does not keep its distance")
	}
}

// stubborn is JetStream where the first consumer that reads from the first event
// on is of no use: it delivers to nobody, and does not end before it is let go.
type stubborn struct {
	jetstream.JetStream
	letGo chan struct{}

	mu   sync.Mutex
	name string // of that consumer
}

func (s *stubborn) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	s.mu.Lock()
	if cfg.OptStartSeq == 1 && s.name == "" {
		s.name = cfg.Name
		deafen(&cfg)
	}
	s.mu.Unlock()
	return s.JetStream.CreateConsumer(ctx, stream, cfg)
}

func (s *stubborn) DeleteConsumer(ctx context.Context, stream, name string) error {
	s.mu.Lock()
	wait := name == s.name
	s.mu.Unlock()
	if wait {
		<-s.letGo
	}
	return s.JetStream.DeleteConsumer(ctx, stream, name)
}

func TestAConsumerThatDoesNotEndKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(100)
	js := &stubborn{JetStream: e.js, letGo: make(chan struct{})}
	tune := defaultTuning()
	tune.look, tune.stillLooks, tune.closeTimeout = 10*time.Millisecond, 3, 10*time.Millisecond
	set := NewSet(Config{JetStream: js, Log: zerolog.Nop(), Paused: func(*wire.Record, wire.Gap) {}, tune: tune})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = set.Run(ctx) }()
	t.Cleanup(func() { cancel(); close(js.letGo); <-done; set.waiters.Wait() })

	s := e.subscribe("s", ">", 0, false, nil)
	set.Attach(s.pool, s.rec, 0)
	natstest.Await(t, "the pool has another reader, and arrives", func() error {
		return errors.Join(s.got(0, 100), s.in(wire.PoolLive, ""))
	})
	cancel()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("the set does not end")
	}
}
