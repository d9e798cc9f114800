package reader

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// What a store that cannot be read, or has few places for consumers, means.

// newCrampedEnv has a store that takes so many consumers at most, and readers
// that look often.
func newCrampedEnv(t *testing.T, consumers int, edit func(jetstream.JetStream) jetstream.JetStream) *env {
	t.Helper()
	js := natstest.Start(t).JetStream()
	cfg := jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}, Storage: jetstream.MemoryStorage, MaxConsumers: consumers}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	tune := defaultTuning()
	tune.look, tune.rest, tune.grace = 20*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	used := js
	if edit != nil {
		used = edit(js)
	}
	e := newEnvOn(t, used, Config{JetStream: used, tune: tune})
	e.js = js
	return e
}

func TestAStoreWithOnePlaceForAConsumerIsReadThroughIt(t *testing.T) {
	t.Parallel()
	e := newCrampedEnv(t, 1, nil)
	e.publish(1000)
	type started struct {
		*subscriber
		floor uint64
	}
	var all []started
	for i, floor := range []uint64{1000, 0, 500, 0, 999} {
		s := e.subscribe(fmt.Sprintf("s%d", i), ">", floor, false, nil)
		s.attach()
		all = append(all, started{s, floor})
		if i%2 == 0 { // some come alone, and find the place taken
			natstest.Await(t, "live", func() error { return s.in(wire.PoolLive, "") })
		}
	}
	narrow := e.subscribe("narrow", "e.3.>", 0, false, nil)
	narrow.attach()
	all = append(all, started{narrow, 0})
	for _, last := range []uint64{1000, 1100} {
		for _, s := range all {
			natstest.Await(t, "everything, and live", func() error {
				return errors.Join(s.got(s.floor, last), s.in(wire.PoolLive, ""))
			})
		}
		e.publish(100)
	}
	if n := len(e.consumers(t)); n != 1 {
		t.Errorf("%d consumers", n)
	}
}

func TestYield_OnlyWhereAllWhoReadHistoryFindNoPlace(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	for _, tt := range []struct {
		name   string
		head   bool   // finds no place
		temps  []bool // find none
		yields bool
	}{
		{"nobody reads history", false, nil, false},
		{"they have places", false, []bool{false, false}, false},
		{"one has a place", false, []bool{true, false}, false},
		{"none has", false, []bool{true, true}, true},
		{"nor has the head", true, []bool{true}, false},
	} {
		s := bare(e)
		note := func(r *reader, starves bool) {
			if starves {
				r.health.note(feed.State{Err: jetstream.ErrMaximumConsumersLimit, Reopened: 3})
			}
		}
		note(s.withHead(100), tt.head)
		for _, starves := range tt.temps {
			r := newReader(s, 0, nil)
			note(r, starves)
			s.temps[r] = struct{}{}
		}
		s.yield()
		if gone := s.head.Load() == nil; s.yielded != tt.yields || gone != tt.yields {
			t.Errorf("%s: it yields %v, and is gone %v; want %v", tt.name, s.yielded, gone, tt.yields)
		}
	}
}

func TestAPoolSaysThatItsStoreHasNoPlaceForAConsumer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		floor uint64
	}{{"at the head", 100}, {"behind", 0}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newCrampedEnv(t, 1, nil)
			e.publish(100)
			if _, err := e.js.CreateConsumer(t.Context(), testStore, jetstream.ConsumerConfig{Durable: "other"}); err != nil {
				t.Fatal(err)
			}
			s := e.subscribe("s", ">", tt.floor, false, nil)
			s.attach()
			natstest.Await(t, "the reason", func() error {
				st := s.pool.Status()
				if st.Unreadable == "" || st.Reopened == 0 {
					return fmt.Errorf("unreadable %q, reopened %d times", st.Unreadable, st.Reopened)
				}
				return s.in(wire.PoolNoReader, "maximum consumers limit")
			})
			if err := e.js.DeleteConsumer(t.Context(), testStore, "other"); err != nil {
				t.Fatal(err)
			}
			e.publish(100)
			natstest.Await(t, "everything, and live", func() error {
				if st := s.pool.Status(); st.Unreadable != "" || st.Reopened != 0 {
					return fmt.Errorf("unreadable %q, reopened %d times", st.Unreadable, st.Reopened)
				}
				return errors.Join(s.got(tt.floor, 200), s.in(wire.PoolLive, ""))
			})
		})
	}
}

// blind is JetStream that does not tell what a stream holds while shut.
type blind struct {
	jetstream.JetStream
	shut atomic.Bool
}

var errBlind = errors.New("nothing to be seen")

func (b *blind) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if b.shut.Load() {
		return nil, errBlind
	}
	return b.JetStream.Stream(ctx, name)
}

func TestAPoolSaysThatItsStoreCannotBeLookedAt(t *testing.T) {
	t.Parallel()
	var js *blind
	e := newCrampedEnv(t, -1, func(inner jetstream.JetStream) jetstream.JetStream {
		js = &blind{JetStream: inner}
		return js
	})
	e.publish(10)
	js.shut.Store(true)
	s := e.subscribe("s", ">", 0, false, nil)
	s.attach()
	natstest.Await(t, "the reason", func() error { return s.in(wire.PoolNoReader, errBlind.Error()) })
	js.shut.Store(false)
	natstest.Await(t, "everything", func() error { return errors.Join(s.got(0, 10), s.in(wire.PoolLive, "")) })
}

// A consumer that stands still although it lives, as one whose server is stuck.
func TestAReaderThatStallsIsOpenedAnewWithinTwoLooks(t *testing.T) {
	t.Parallel()
	var js *unruly
	e := newCrampedEnv(t, -1, func(inner jetstream.JetStream) jetstream.JetStream {
		js = &unruly{JetStream: inner}
		return js
	})
	js.deaf.Store(3)
	s := e.subscribe("s", ">", 0, false, nil)
	s.attach()
	natstest.Await(t, "live", func() error { return s.in(wire.PoolLive, "") })
	e.publish(10)
	natstest.Await(t, "it is said how often", func() error {
		if n := s.pool.Status().Reopened; n == 0 {
			return errors.New("not opened anew")
		}
		return nil
	})
	natstest.Await(t, "everything", func() error { return s.got(0, 10) })
	natstest.Await(t, "all is well", func() error {
		if n := s.pool.Status().Reopened; n != 0 {
			return fmt.Errorf("opened anew %d times", n)
		}
		return nil
	})
}

func TestTheDocumentedPermissionsSufficeToReadAStore(t *testing.T) {
	t.Parallel()
	allowed := []string{
		"$JS.API.STREAM.INFO." + testStore, "$JS.API.STREAM.MSG.GET." + testStore, "$JS.API.CONSUMER.CREATE." + testStore + ".>",
		"$JS.API.CONSUMER.MSG.NEXT." + testStore + ".*", "$JS.API.CONSUMER.DELETE." + testStore + ".*",
	}
	srv := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "all", Password: "p"}, {Username: "reader", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: allowed},
			Subscribe: &server.SubjectPermission{Allow: []string{
				"_INBOX.>", "$JS.EVENT.ADVISORY.STREAM.CREATED.*", "$JS.EVENT.ADVISORY.STREAM.UPDATED.*",
				"$JS.EVENT.ADVISORY.STREAM.DELETED.*", "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*",
			}},
		}}}
	})
	connect := func(user string, opts ...nats.Option) jetstream.JetStream {
		js, err := jetstream.New(srv.Conn(append(opts, nats.UserInfo(user, "p"))...))
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	var faults atomic.Int64
	all := connect("all")
	reader := connect("reader", nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) { faults.Add(1) }))
	if _, err := all.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}}); err != nil {
		t.Fatal(err)
	}
	tune := defaultTuning()
	tune.look = 20 * time.Millisecond
	e := newEnvOn(t, reader, Config{JetStream: reader, tune: tune})
	e.js = all
	e.publish(100)
	wide := e.subscribe("wide", ">", 0, false, nil)
	narrow := e.subscribe("narrow", "e.3.>", 0, false, nil)
	none := e.subscribe("none", "x.>", 0, false, nil)
	for _, s := range []*subscriber{narrow, none, wide} {
		s.attach()
		natstest.Await(t, "everything, and live", func() error { return errors.Join(s.got(0, 100), s.in(wire.PoolLive, "")) })
	}
	if n := faults.Load(); n != 0 {
		t.Errorf("%d faults of the connection, the last is %v", n, reader.Conn().LastError())
	}
}
