package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// rounding makes rounds over stores that need nothing else.
type rounding struct {
	*Set
	wg sync.WaitGroup
}

// newRounding has rounds made until ctx ends.
func newRounding(ctx context.Context) *rounding {
	r := &rounding{Set: NewSet(Config{})}
	r.wg.Go(func() {
		defer close(r.due)
		_ = r.clock.Run(ctx)
	})
	r.wg.Go(func() {
		for t := range r.due {
			r.wg.Go(func() { t.serve(ctx, r.free) })
		}
	})
	return r
}

// add adds a store.
func (r *rounding) add(round func() outcome) *turn {
	return newTurn(r.clock, r.due, func(context.Context) outcome { return round() })
}

func TestRounds_AreBoundedAndFailingStoresKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRounding(ctx)
		var failing, others, most atomic.Int64
		end := make(chan struct{})
		for range 3 * maxRounds {
			first := true
			r.add(func() outcome {
				if first {
					n := others.Add(1)
					defer others.Add(-1)
					most.Store(max(most.Load(), n))
					<-time.After(time.Second)
				} else {
					failing.Add(1)
					<-end // while it is open none of them ends
				}
				first = false
				return outcome{next: 10 * time.Second, failing: true}
			}).ask(0, 0)
		}
		<-time.After(time.Minute)
		if failing.Load() != maxFailing || most.Load() != maxRounds {
			t.Errorf("%d rounds over failing stores at once, want %d; %d over all before they failed, want %d", failing.Load(), maxFailing, most.Load(), maxRounds)
		}
		for range 3 * maxRounds {
			r.add(func() outcome {
				others.Add(1)
				<-end
				return outcome{next: time.Hour}
			}).ask(0, 0)
		}
		synctest.Wait()
		if n := others.Load(); n != maxRounds {
			t.Errorf("%d rounds over others beside them, want %d", n, maxRounds)
		}
		end <- struct{}{}
		synctest.Wait()
		if n := others.Load() + failing.Load(); n != maxRounds+maxFailing+1 {
			t.Errorf("%d have begun when one has ended, want one more than before", n)
		}
		cancel()
		close(end)
		r.wg.Wait()
	})
}

func TestRounds_ComeWhenTheyAreAskedForAndNotTooOften(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		ask  func(t *turn)
		// The first round takes 10 ms, and ends so.
		under func(t *turn)
		first outcome
		want  []time.Duration // when rounds begin; the second one is the last
	}{
		{"nobody asks", func(*turn) {}, func(*turn) {}, outcome{}, nil},
		{"the earlier of two", func(t *turn) { t.ask(300*ms, 0); t.ask(100*ms, 0); t.ask(200*ms, 0) }, func(*turn) {}, outcome{next: time.Hour}, []time.Duration{100 * ms}},
		{"as the round says", func(t *turn) { t.ask(0, 0) }, func(*turn) {}, outcome{next: 50 * ms}, []time.Duration{0, 60 * ms}},
		{"at once, and not again before its time", func(t *turn) { t.ask(0, 0) }, func(t *turn) { t.ask(0, 20*ms) }, outcome{next: time.Hour}, []time.Duration{0, 20 * ms}},
		{"while a round is under way", func(t *turn) { t.ask(0, 0) }, func(t *turn) { t.ask(50*ms, 0); t.ask(0, 20*ms) }, outcome{next: time.Hour}, []time.Duration{0, 20 * ms}},
		{"it is gone", func(t *turn) { t.ask(0, 0) }, func(t *turn) { t.ask(0, 0) }, outcome{gone: true}, []time.Duration{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				r := newRounding(ctx)
				begun := time.Now()
				var got []time.Duration
				var turn *turn
				turn = r.add(func() outcome {
					got = append(got, time.Since(begun))
					if len(got) > 1 {
						return outcome{next: time.Hour}
					}
					tt.under(turn)
					<-time.After(10 * ms)
					return tt.first
				})
				tt.ask(turn)
				r.wg.Wait()
				if !slices.Equal(got, tt.want) {
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
			set := NewSet(Config{})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			for i := range tt.stores {
				st := newStore(fmt.Sprint(i), set.cfg, &set.waiters)
				st.info.created = time.Now()
				st.withHead(0)
				set.stores[st.name] = st
			}
			r := newRounding(ctx)
			var n atomic.Int64
			for _, st := range set.stores {
				var last time.Time
				r.add(func() outcome {
					if d := time.Since(last); !last.IsZero() && (d < tt.least || d > tt.most) {
						t.Errorf("with %d stores one is looked at after %v", tt.stores, d)
					}
					last = time.Now()
					n.Add(1)
					return st.outlook(set.rest())
				}).ask(0, 0)
			}
			r.wg.Wait()
			if persec := float64(n.Load()) / (10 * 60); persec > 27 || n.Load() < int64(tt.stores) {
				t.Errorf("%d stores: %.1f looks a second", tt.stores, persec)
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
	begun := func() time.Time {
		st.turn.mu.Lock()
		defer st.turn.mu.Unlock()
		return st.turn.begun
	}
	before := begun()
	st.wake()
	natstest.Await(t, "a round", func() error {
		if !begun().After(before) || !e.set.free.healthy.TryAcquire(maxRounds) {
			return errors.New("it is not over")
		}
		e.set.free.healthy.Release(maxRounds)
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
