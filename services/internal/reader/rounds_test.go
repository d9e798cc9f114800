package reader

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// When stores are looked at, and how many at once.

// due takes the turns that are due now.
func (r *rounds) due() (ts []*turn) {
	for t, _ := r.take(); t != nil; t, _ = r.take() {
		ts = append(ts, t)
	}
	return ts
}

func manyTurns(r *rounds, n int) (ts []*turn) {
	for range n {
		t := r.add(nil)
		t.ask(0, 0)
		ts = append(ts, t)
	}
	return ts
}

func TestRounds_AreBoundedAndFailingStoresKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		r := newRounds(defaultTuning())
		all := manyTurns(r, 3*maxRounds)
		for range 3 {
			for _, t := range r.due() {
				r.done(t, time.Second, true)
			}
		}
		<-time.After(time.Second)
		failing := r.due() // none of them ends
		if len(failing) != maxFailing {
			t.Errorf("%d rounds over failing stores at once, want %d", len(failing), maxFailing)
		}
		manyTurns(r, 3*maxRounds)
		if n := len(r.due()); n != maxRounds {
			t.Errorf("%d rounds over others beside them, want %d", n, maxRounds)
		}
		r.done(failing[0], time.Second, false)
		if n := len(r.due()); n != 1 {
			t.Errorf("%d begin when one has ended, want 1", n)
		}
		if len(all) != 3*maxRounds || r.stores != 6*maxRounds {
			t.Errorf("%d stores", r.stores)
		}
	})
}

func TestRounds_ComeWhenTheyAreAskedForAndNotTooOften(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		do   func(r *rounds, t *turn)
		want []time.Duration // when rounds begin, of which each takes 1 ms and rests then
	}{
		{"nobody asks", func(*rounds, *turn) {}, nil},
		{"the earlier of two", func(_ *rounds, t *turn) { t.ask(300*ms, 0); t.ask(100*ms, 0); t.ask(200*ms, 0) }, []time.Duration{100 * ms}},
		{"at once, and not again before its time", func(r *rounds, t *turn) {
			t.ask(0, 0)
			r.done(r.due()[0], time.Hour, false)
			t.ask(0, 20*ms)
		}, []time.Duration{20 * ms}},
		{"while a round is under way", func(r *rounds, t *turn) {
			t.ask(0, 0)
			under := r.due()
			t.ask(50*ms, 0)
			t.ask(0, 20*ms)
			r.done(under[0], time.Hour, false)
		}, []time.Duration{20 * ms}},
		{"it is gone", func(r *rounds, t *turn) {
			t.ask(0, 0)
			r.drop(r.due()[0])
			t.ask(0, 0)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				r := newRounds(tuning{rest: time.Hour})
				begun := time.Now()
				tt.do(r, r.add(nil))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				var got []time.Duration
				for turn := r.next(ctx); turn != nil; turn = r.next(ctx) {
					got = append(got, time.Since(begun))
					r.done(turn, 0, false)
				}
				if len(got) != len(tt.want) || len(got) > 0 && got[0] != tt.want[0] {
					t.Errorf("rounds after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// However many stores there are, looks at those at rest are so many a second.
func TestRounds_StoresAtRestShareABoundedRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		stores      int
		least, most time.Duration // between two looks at a store
	}{{1, 10 * time.Second, 15 * time.Second}, {1000, 40 * time.Second, 60 * time.Second}} {
		clocktest.Run(t, func(t *testing.T) {
			r := newRounds(defaultTuning())
			manyTurns(r, tt.stores)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			at, n := map[*turn]time.Time{}, 0
			for turn := r.next(ctx); turn != nil; turn = r.next(ctx) {
				if last, ok := at[turn]; ok {
					if d := time.Since(last); d < tt.least || d > tt.most {
						t.Fatalf("with %d stores one is looked at after %v", tt.stores, d)
					}
				}
				at[turn] = time.Now()
				n++
				r.done(turn, 0, false)
			}
			if persec := float64(n) / (10 * 60); persec > 27 || len(at) != tt.stores {
				t.Errorf("%d stores: %.1f looks a second at %d of them", tt.stores, persec, len(at))
			}
		})
	}
}

// restful are readers for a store that looks at it for a reason only.
func restful(t *testing.T) (*env, *counting) {
	t.Helper()
	js := &counting{JetStream: natstest.Start(t).JetStream()}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	tune := defaultTuning()
	tune.look, tune.rest, tune.pause = 10*time.Millisecond, time.Hour, time.Millisecond
	return newEnvOn(t, js, Config{JetStream: js, tune: tune}), js
}

// roundFor has a round made over the store, and waits for it.
func (e *env) roundFor(t *testing.T) {
	t.Helper()
	st := e.set.store(testStore)
	begun := func() (at time.Time, running bool) {
		e.set.rounds.mu.Lock()
		defer e.set.rounds.mu.Unlock()
		return st.turn.begun, st.turn.running
	}
	before, _ := begun()
	st.wake()
	natstest.Await(t, "a round", func() error {
		if at, running := begun(); running || !at.After(before) {
			return errors.New("it is not over")
		}
		return nil
	})
}

func TestAReaderThatReceivesOrIsQuietAsksNothing(t *testing.T) {
	t.Parallel()
	e, js := restful(t)
	s := e.subscribe("s", ">", 0, false, nil)
	s.attach()
	natstest.Await(t, "live", func() error { return s.in(wire.PoolLive, "") })
	e.roundFor(t) // it may have become live in the middle of one
	before := js.looks.Load()
	last := uint64(0)
	for range 20 {
		e.publish(10)
		last += 10
		natstest.Await(t, "the events", func() error { return s.got(0, last) })
		e.roundFor(t)
		e.roundFor(t) // while nothing comes
	}
	if n := js.looks.Load() - before; n > 0 {
		t.Errorf("%d looks in 40 rounds, none of which has a reason for one", n)
	}
	e.set.store(testStore).requestLook(0)
	e.roundFor(t)
	if n := js.looks.Load() - before; n != 1 {
		t.Errorf("%d looks after one was asked for, want 1", n)
	}
}

// Each reason for a look by itself.
func TestStore_MustBeLookedAtForEachReason(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	p, rec := e.idle(t, "p", 100)
	in := func(state memberState) func(*Store, *reader) {
		return func(s *Store, _ *reader) { s.roster.add(&member{pool: p, rec: rec, state: state}) }
	}
	passed := func(s *Store, _ *reader) {
		s.roster.add(&member{pool: p, rec: rec, state: reading, passed: holes{{from: 1, to: 2}}})
	}
	cannot := feed.State{Err: errors.New("cannot")}
	for _, tt := range []struct {
		name   string
		but    func(s *Store, r *reader)
		reason bool
	}{
		{"nothing", func(*Store, *reader) {}, false},
		{"somebody asked", func(s *Store, _ *reader) { s.looks.requested.Store(true) }, true},
		{"it has rested", func(s *Store, _ *reader) { s.round.looked = time.Now().Add(-time.Hour) }, true},
		{"it could not be looked at", func(s *Store, _ *reader) { s.lookHealth.note(cannot) }, true},
		{"it is not known", func(s *Store, _ *reader) { s.info = info{} }, true},
		{"its sources are to be looked at", func(s *Store, _ *reader) { s.round.origins.again = time.Now().Add(-1) }, true},
		{"its sources are known", func(s *Store, _ *reader) { s.round.origins.again = time.Now().Add(time.Hour) }, false},
		{"no reader", func(s *Store, _ *reader) { s.head.Store(nil) }, true},
		{"the head was moved to the end", func(s *Store, _ *reader) { s.round.followed = true }, true},
		{"a pool came", in(fresh), true},
		{"a pool wants a reader", in(waiting), true},
		{"a pool waits for the store to grow", in(notBegun), true},
		{"a pool waits for its store", in(storeLost), false},
		{"a pool waits for room", in(noRoom), false},
		{"a pool waits for a pause", in(halted), false},
		{"a pool has passed a hole", passed, true},
		{"a reader has history to read", func(s *Store, _ *reader) { s.temps[newReader(s, 0, nil)] = struct{}{} }, true},
		{"the reader cannot read", func(_ *Store, r *reader) { r.health.note(cannot) }, true},
		{"the reader met a hole", func(_ *Store, r *reader) { r.holes = holes{{from: 1, to: 2}} }, true},
		{"the reader stands still", func(_ *Store, r *reader) { r.stall.looks = 1 }, true},
		{"the reader has much before it", func(s *Store, r *reader) { r.pending.Store(s.cfg.tune.backlog) }, true},
		{"the reader has some before it", func(s *Store, r *reader) { r.pending.Store(s.cfg.tune.backlog - 1) }, false},
		{"the reader is late", func(_ *Store, r *reader) { r.lag.late = 1 }, true},
		{"the front moves below a reader with filters", func(s *Store, _ *reader) { s.front.pace = 1 }, true},
		{"the front moves below one without", func(s *Store, r *reader) { s.front.pace, r.filters = 1, nil }, false},
	} {
		s := bare(e)
		s.info = info{first: 1, last: 100, created: time.Now()}
		s.round.looked = time.Now()
		tt.but(s, s.withHead(100))
		if got := s.mustLook(time.Minute); got != tt.reason {
			t.Errorf("%s: there is to be a look: %v", tt.name, got)
		}
	}
}

func TestAStoreAtRestIsLookedAtWhenSomethingHappens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		cause func(t *testing.T, e *env)
		then  func(s *subscriber) error
	}{
		{"it is deleted", func(t *testing.T, e *env) {
			if err := e.js.DeleteStream(t.Context(), testStore); err != nil {
				t.Fatal(err)
			}
		}, func(s *subscriber) error { return s.in(wire.PoolStoreLost, "does not exist") }},
		{"its subjects change", func(t *testing.T, e *env) {
			cfg := jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>", "to.>"}, Storage: jetstream.MemoryStorage}
			if _, err := e.js.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}, func(s *subscriber) error { return s.in(wire.PoolBlocked, "captures to.s") }},
		{"it loses events that were to be read", func(t *testing.T, e *env) {
			s, err := e.js.Stream(t.Context(), testStore)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(151)); err != nil { // the store is at 100
				t.Fatal(err)
			}
			e.publish(1)
		}, func(s *subscriber) error { return s.missed(101, 150) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, js := restful(t)
			e.publish(100)
			s := e.subscribe("s", ">", 0, false, nil)
			s.attach()
			natstest.Await(t, "live", func() error { return errors.Join(s.got(0, 100), s.in(wire.PoolLive, "")) })
			at := js.looks.Load()
			natstest.Await(t, "rest", func() error {
				if was := at; was != js.looks.Load() {
					at = js.looks.Load()
					return errors.New("it is looked at")
				}
				return nil
			})
			tt.cause(t, e)
			natstest.Await(t, "it is seen", func() error { return tt.then(s) })
		})
	}
}

// Where advisories are not received, the timer is the net.
func TestAChangeOfAStoreIsSeenWithoutAdvisories(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "all", Password: "p"}, {Username: "reader", Password: "p", Permissions: &server.Permissions{
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}}
	})
	connect := func(user string) jetstream.JetStream {
		quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
		js, err := jetstream.New(srv.Conn(nats.UserInfo(user, "p"), quiet))
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	all, reader := connect("all"), connect("reader")
	cfg := jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}, Storage: jetstream.MemoryStorage}
	if _, err := all.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	tune := defaultTuning()
	tune.look, tune.rest = 20*time.Millisecond, 100*time.Millisecond
	e := newEnvOn(t, reader, Config{JetStream: reader, tune: tune})
	s := e.subscribe("s", ">", 0, false, nil)
	s.attach()
	natstest.Await(t, "live", func() error { return s.in(wire.PoolLive, "") })
	cfg.Subjects = append(cfg.Subjects, "to.>")
	if _, err := all.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the change is seen", func() error { return s.in(wire.PoolBlocked, "captures to.s") })
}
