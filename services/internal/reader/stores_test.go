package reader

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// What stores cost that have many pools, or none any more.

func (e *env) stores() int {
	e.set.mu.Lock()
	defer e.set.mu.Unlock()
	return len(e.set.stores)
}

func TestAStoreIsForgottenWhenItsLastPoolLeaves(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(10)
	for i := range uint64(3) { // each time it is made anew
		a, b := e.subscribe(fmt.Sprint("a", i), ">", 0, false, nil), e.subscribe(fmt.Sprint("b", i), ">", 5, false, nil)
		a.attach()
		b.attach()
		natstest.Await(t, "both are live", func() error {
			return errors.Join(a.got(0, 10), b.got(5, 10), a.in(wire.PoolLive, ""), b.in(wire.PoolLive, ""))
		})
		e.set.Detach(testStore, a.pool)
		if n := e.stores(); n != 1 {
			t.Errorf("%d stores while one pool is left, want 1", n)
		}
		<-e.set.Retire(testStore, b.pool)
		natstest.Await(t, "nothing is left", func() error {
			if n, all := e.stores(), e.consumers(t); n > 0 || len(all) > 0 {
				return fmt.Errorf("%d stores, %d consumers", n, len(all))
			}
			return nil
		})
	}
}

// A round over a store costs what has changed.
func TestARoundCostsNoWalkOverAllPools(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	created := time.Now()
	took := func(pools int) time.Duration { // the least of some, so that others do not count
		s := bare(e)
		r := newReader(s, 100, nil)
		r.atHead.Store(true)
		s.head.Store(r)
		round := func(look uint64) {
			now := info{first: 1, last: 100, created: created, look: look, missingKnown: true}
			_ = s.needsMissing(now)
			s.noteInfo(now)
			s.holdCaptured(t.Context(), now.sourcing)
			s.place(t.Context(), now)
			s.reportTrouble()
		}
		for i := range pools {
			p, rec := e.idle(t, fmt.Sprint("p", pools, "-", i), 100)
			s.attach(p, rec, 0)
		}
		round(1)
		if st := s.anyOf(t).Status().State; st != wire.PoolLive {
			t.Fatalf("a pool is %s", st)
		}
		least := time.Hour
		for look := range uint64(20) {
			began := time.Now()
			round(look + 2)
			least = min(least, time.Since(began))
		}
		return least
	}
	if many, few := took(20_000), took(20); many > 30*few {
		t.Errorf("a round over 20,000 pools took %v, over 20 %v", many, few)
	}
}

func (s *Store) anyOf(t *testing.T) *pool.Pool {
	t.Helper()
	s.lock()
	defer s.mu.Unlock()
	for p := range s.roster.all {
		return p
	}
	t.Fatal("no pools")
	return nil
}

// Whoever is told only of changes has to be told of all of them.
func TestPoolsAreToldWhatKeepsTheirReaderFromReading(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	s := bare(e)
	s.cfg.tune.grace = 0
	first, _ := e.idle(t, "first", 0)
	second, _ := e.idle(t, "second", 0)
	r := newReader(s, 0, nil)
	s.head.Store(r)
	attach := func(p *pool.Pool) {
		m := &member{pool: p, rec: &wire.Record{}}
		s.roster.add(m)
		if !s.put(m, r) {
			t.Fatal("not under the reader")
		}
	}
	want := func(when string, reason string, ps ...*pool.Pool) {
		t.Helper()
		s.reportTrouble()
		for _, p := range ps {
			if got := p.Status().Unreadable; got != reason {
				t.Errorf("%s: %s is told %q, want %q", when, p.Name(), got, reason)
			}
		}
	}
	attach(first)
	want("all is well", "", first)
	r.health.note(feed.State{Err: errors.New("shut")})
	want("it cannot read", "shut", first)
	attach(second)
	want("another one has come", "shut", first, second)
	s.lookHealth.note(feed.State{Err: errors.New("blind")})
	s.releaseAll()
	want("the reader is gone, and the store is out of sight", "blind", first, second)
	s.lookHealth.note(feed.State{})
	want("it can be seen again", "", first, second)
}
