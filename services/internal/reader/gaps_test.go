package reader

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// Gaps that appear at awkward moments.

// meddler is JetStream where something happens right after the store was looked
// at, or right before a consumer is made; each of them once.
type meddler struct {
	jetstream.JetStream
	mu     sync.Mutex
	looked func()
	opens  func(after uint64) bool // whether that was it
}

func (m *meddler) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := m.JetStream.Stream(ctx, name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.looked != nil {
		m.looked()
		m.looked = nil
	}
	return s, err
}

func (m *meddler) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	m.mu.Lock()
	if m.opens != nil && m.opens(cfg.OptStartSeq-1) {
		m.opens = nil
	}
	m.mu.Unlock()
	return m.JetStream.CreateConsumer(ctx, stream, cfg)
}

// holdNextLook holds the answer of the next look at the store back, once the
// store has given it, until release is called.
func (m *meddler) holdNextLook(t *testing.T) (held <-chan struct{}, release func()) {
	at, on := make(chan struct{}), make(chan struct{})
	release = sync.OnceFunc(func() { close(on) })
	t.Cleanup(release)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked = func() { close(at); <-on }
	return at, release
}

// newMeddledEnv is newEnv with a meddler. What opens a reader after the given
// sequence is preceded by happen.
func newMeddledEnv(t *testing.T, cfg jetstream.StreamConfig, after uint64, happen func(*env)) (*env, *meddler) {
	t.Helper()
	js := natstest.Start(t).JetStream()
	cfg.Name, cfg.Subjects = testStore, []string{"e.>"}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	m := &meddler{JetStream: js}
	e := newEnvOn(t, js, Config{JetStream: m, MaxReaders: 4})
	m.opens = func(at uint64) bool {
		if at != after {
			return false
		}
		happen(e)
		return true
	}
	return e, m
}

// purge has the store drop what is below seq.
func (e *env) purge(seq uint64) {
	e.t.Helper()
	stream, err := e.js.Stream(context.Background(), testStore)
	if err == nil {
		err = stream.Purge(context.Background(), jetstream.WithPurgeSequence(seq))
	}
	if err != nil {
		e.t.Error(err)
	}
}

// missed fails unless the last gap that a subscriber was told of is from..to.
func (s *subscriber) missed(from, to uint64) error {
	if g := s.pool.Gap(); g == nil || g.From != from || g.To != to {
		return fmt.Errorf("%s has the gap %+v, want %d to %d", s.pool.Name(), g, from, to)
	}
	return nil
}

// waitsAt fails unless somebody is told soon of a pool that waits at a gap.
func (e *env) waitsAt(t *testing.T, from, to uint64) {
	t.Helper()
	select {
	case g := <-e.paused:
		if g.From != from || g.To != to {
			t.Errorf("gap = %+v, want %d to %d", g, from, to)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not paused in 10 s")
	}
}

func TestAGapMetRightBeforeTheHeadIsNamed(t *testing.T) {
	t.Parallel()
	e, _ := newMeddledEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgs: 50}, 60,
		func(e *env) { e.publish(100) })
	e.publish(100)
	s := e.subscribe("s", ">", 60, false, nil)
	s.attach()
	natstest.Await(t, "what is left", func() error { return errors.Join(s.got(150, 200), s.in(wire.PoolLive, "")) })
	natstest.Await(t, "the gap is named", func() error { return s.missed(61, 150) })
}

func TestAGapIsNamedHoweverThePoolLeavesItsReader(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	merge := func(s *Store, r *reader) { r.arrived.Store(true); s.mergeArrived() }
	for i, tt := range []struct {
		name     string
		floor    uint64
		room     int64
		leave    func(s *Store, r *reader)
		from, to uint64 // of the gap; 0 if there is none
	}{
		{"to the head", 50, 1 << 20, merge, 51, 60},
		{"with all readers", 50, 1 << 20, func(s *Store, _ *reader) { s.closeAll() }, 51, 60},
		{"full", 50, 1, func(s *Store, r *reader) {
			r.take(t.Context(), at(62))
			s.lock() // takes in that it left
			s.mu.Unlock()
		}, 51, 60},
		{"having read a part before it joined", 55, 1 << 20, merge, 56, 60},
		{"having joined behind it", 60, 1 << 20, merge, 0, 0},
	} {
		sub := e.subscribe(fmt.Sprint(i), ">", tt.floor, true, func(cfg *pool.Config) { cfg.Budget = core.NewBudget(tt.room) })
		s := bare(e)
		s.cfg.tune.patience = 0
		r := newReader(s, 50, nil)
		m := &member{pool: sub.pool, rec: sub.rec}
		s.roster.add(m)
		s.temps[r] = struct{}{}
		s.head.Store(newReader(s, 61, nil))
		if !s.put(m, r) {
			t.Fatal("not under the reader")
		}
		r.take(t.Context(), at(61))
		tt.leave(s, r)
		if m.reader == r {
			t.Fatalf("%s: still under the reader", tt.name)
		}
		s.noteInfo(info{first: 61, last: 62, look: 1})
		switch g := sub.pool.Gap(); {
		case tt.from == 0 && g == nil:
		case g == nil || g.From != tt.from || g.To != tt.to:
			t.Errorf("%s: the gap is %+v, want %d to %d", tt.name, g, tt.from, tt.to)
		}
	}
}

// A look says nothing of what was met after it.
func TestAGapThatAppearsRightAfterALookIsFoundByTheNext(t *testing.T) {
	t.Parallel()
	e, m := newMeddledEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, ^uint64(0), nil)
	e.publish(100)
	goesOn := e.subscribe("goes on", ">", 0, false, nil)
	stops := e.subscribe("stops", ">", 0, false, pauses)
	for _, s := range []*subscriber{goesOn, stops} {
		s.attach()
		natstest.Await(t, "live", func() error { return errors.Join(s.got(0, 100), s.in(wire.PoolLive, "")) })
	}
	held, release := m.holdNextLook(t)
	<-held
	e.purge(151) // as if 50 events had been stored and dropped at once
	e.publish(10)
	natstest.Await(t, "the reader has met the gap", func() error {
		if at := goesOn.pool.Position(); at <= 150 {
			return fmt.Errorf("it is at %d", at)
		}
		return nil
	})
	release()
	e.waitsAt(t, 101, 150)
	natstest.Await(t, "the gap is named", func() error { return goesOn.missed(101, 150) })
	if err := stops.got(0, 100); err != nil {
		t.Error(err)
	}
}

func TestAPoolThatPausesAtGapsDoesSoWhereNothingComesBehindOne(t *testing.T) {
	t.Parallel()
	e, _ := newMeddledEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, 50,
		func(e *env) { e.purge(101) })
	e.publish(100)
	s := e.subscribe("s", ">", 50, false, pauses)
	s.attach()
	e.waitsAt(t, 51, 100)
	if at := s.pool.Position(); at != 50 {
		t.Errorf("it went on to %d", at)
	}
}

// Deleted events leave holes; a store may have one before every event.
func TestAHoleCostsNoWalkOverAllPools(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	r := newReader(bare(e), 0, nil)
	for i := range 10_000 {
		p, _ := e.idle(t, fmt.Sprint("p", i), 0)
		if ok, err := join(r, p, 0); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	took := func(step uint64) time.Duration { // the least of some rounds, so that others do not count
		least := time.Hour
		for range 5 {
			began := time.Now()
			for range 100 {
				r.take(t.Context(), at(r.position.Load()+step))
			}
			least = min(least, time.Since(began))
		}
		return least
	}
	if with, without := took(2), took(1); with > 20*without {
		t.Errorf("100 events behind a hole each took %v, without %v", with, without)
	}
}

func TestAPoolThatIsHandedOverIsToldOfItsGapFirst(t *testing.T) {
	t.Parallel()
	e, m := newMeddledEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, ^uint64(0), nil)
	e.publish(100)
	s := e.subscribe("s", ">", 0, false, nil)
	other := e.subscribe("other", ">", 0, false, nil)
	for _, s := range []*subscriber{s, other} {
		s.attach()
		natstest.Await(t, "live", func() error { return errors.Join(s.got(0, 100), s.in(wire.PoolLive, "")) })
	}
	select {
	case <-e.set.Retire(testStore, other.pool):
	default:
		t.Error("there is nothing to be told of, and yet it waits")
	}
	held, release := m.holdNextLook(t)
	<-held
	e.purge(151)
	e.publish(10)
	natstest.Await(t, "the gap is passed", func() error {
		if at := s.pool.Position(); at != 160 {
			return fmt.Errorf("it is at %d", at)
		}
		return nil
	})
	told := e.set.Retire(testStore, s.pool)
	e.publish(10)
	select {
	case <-told:
		t.Error("nothing has looked at the store since the gap was met")
	default:
	}
	release()
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Fatal("it is not told in 10 s")
	}
	if err := s.missed(101, 150); err != nil {
		t.Error(err)
	}
	if at := s.pool.Position(); at != 160 {
		t.Errorf("it went on to %d", at)
	}
}
