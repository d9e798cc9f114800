package healthmon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// childURL makes the test binary a monitor on the server it names, for a test
// that kills one.
const childURL = "SLUICE_TEST_HEALTHMON_URL"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		os.Exit(child(url))
	}
	goleak.VerifyTestMain(m, natstest.ServersLeaks()...)
}

// child runs a monitor until it is killed.
func child(url string) int {
	common, err := service.ParseCommon(service.Env{"NATS_URL": url, "SLUICE_SESSION_TTL": ttl.String()})
	if err != nil {
		return 1
	}
	s, err := New(quick(), service.Discard(common))
	if err != nil {
		return 1
	}
	fmt.Println(s.Instance())
	_ = s.Run(context.Background())
	return 1
}

const (
	ns = wire.DefaultNamespace
	// ttl is long enough for a leader to keep its lease on a busy machine.
	ttl = 3 * time.Second
)

// env is a server with Sluice's buckets, and everybody but the monitor made up.
type env struct {
	t       *testing.T
	srv     *natstest.Server
	nc      *nats.Conn
	js      jetstream.JetStream
	b       *bus.Buckets
	records *subscription.Store
	pools   *subscription.Pools
	skew    time.Duration // by which the clocks of emitters are ahead
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{t: t, srv: natstest.Start(t)}
	e.nc, e.js = e.srv.Conn(), e.srv.JetStream()
	b, err := bus.Ensure(t.Context(), e.js, bus.Layout{Namespace: ns, SessionTTL: ttl}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	e.b, e.records, e.pools = b, subscription.NewStore(b.Subscriptions, ns), subscription.NewPools(b.Pools)
	return e
}

// quick is a configuration for impatient tests.
func quick() Config {
	var c Config
	_ = service.Parse(service.Env{}, &c) // the defaults
	c.Interval, c.StallAfter, c.CleanupRetryDelay = 200*time.Millisecond, time.Second, 300*time.Millisecond
	return c
}

// slow is one whose sweeps are asked for, or caused by something.
func slow() Config {
	c := quick()
	c.Interval = time.Hour
	return c
}

// running is an instance of the monitor.
type running struct {
	*Service
	stop func()
}

// start runs a monitor until stop is called or the test ends.
func (e *env) start(cfg Config) *running {
	e.t.Helper()
	return e.startOff(cfg, 0)
}

// startOff runs one on a machine whose clock is ahead by off.
func (e *env) startOff(cfg Config, off time.Duration) *running {
	e.t.Helper()
	common, err := service.ParseCommon(service.Env{"NATS_URL": e.srv.URL(), "SLUICE_SESSION_TTL": ttl.String()})
	if err != nil {
		e.t.Fatal(err)
	}
	d := service.Discard(common)
	s, err := New(cfg, d)
	if err != nil {
		e.t.Fatal(err)
	}
	s.clock = func() time.Time { return time.Now().Add(off) }
	r := &running{Service: s, stop: natstest.Run(e.t, s.Run)}
	natstest.Await(e.t, "the monitor to be ready", func() error {
		if ok, why := d.Health.Ready(); !ok {
			return errors.New(why)
		}
		return nil
	})
	return r
}

// leader waits until one of the given instances leads, and returns it.
func (e *env) leader(among ...*running) *running {
	e.t.Helper()
	var out *running
	natstest.Await(e.t, "a leader", func() error {
		entry, err := e.b.Sessions.Get(e.t.Context(), wire.LeaderKey(Role))
		if err != nil {
			return err
		}
		var l wire.Lease
		if err := json.Unmarshal(entry.Value(), &l); err != nil {
			return err
		}
		for _, r := range among {
			if r.Instance() == l.Instance {
				out = r
				return nil
			}
		}
		return fmt.Errorf("%s leads", l.Instance)
	})
	natstest.Await(e.t, "the leader to take requests", func() error {
		_, err := e.tryCheck()
		return err
	})
	return out
}

// storeNamed makes a store, or finds it, with n events more.
func (e *env) storeNamed(name string, n int) jetstream.Stream {
	e.t.Helper()
	s, err := e.js.CreateOrUpdateStream(e.t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}})
	if err != nil {
		e.t.Fatal(err)
	}
	for range n {
		if _, err := e.js.Publish(e.t.Context(), name+".x", []byte(`{}`)); err != nil {
			e.t.Fatal(err)
		}
	}
	return s
}

// subscribe writes the record of a subscription to store, as the registry does.
func (e *env) subscribe(name, store string, change func(*wire.Record)) *wire.Record {
	e.t.Helper()
	info, err := e.storeNamed(store, 0).Info(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	spec := subscription.Default()
	spec.Store, spec.Deliver.Subject = store, "to."+name
	spec.Selector.ByStream = wire.StringList{wire.AllStreams}
	now := time.Now().UTC()
	rec := subscription.NewRecord(name, "uid-"+name, spec, subscription.Start{Sequence: 1, StoreCreated: info.Created}, now)
	if change != nil {
		change(rec)
	}
	if _, err := e.records.Create(e.t.Context(), rec); err != nil {
		e.t.Fatal(err)
	}
	return rec
}

// old makes a record look as if it had been there for long.
func old(r *wire.Record) {
	r.CreatedAt, r.UpdatedAt = r.CreatedAt.Add(-time.Hour), r.UpdatedAt.Add(-time.Hour)
}

// ephemeral makes it one that expires after d as well.
func ephemeral(d time.Duration) func(*wire.Record) {
	return func(r *wire.Record) { old(r); r.Spec.ExpireAfter = wire.Duration(d) }
}

// pool writes the pool entry of name, as its owner does.
func (e *env) pool(name, uid, owner string, floor uint64) uint64 {
	e.t.Helper()
	now := time.Now().UTC()
	rev, err := e.pools.Write(e.t.Context(), &wire.Pool{
		Schema: 1, Name: name, UID: uid, Owner: owner, Epoch: 1, ObservedGeneration: 1,
		Checkpoint: wire.Checkpoint{Floor: floor}, State: wire.PoolLive, ClaimedAt: now, UpdatedAt: now,
	}, 0)
	if err != nil {
		e.t.Fatal(err)
	}
	return rev
}

// emitter is a session of a made-up emitter, which answers for its pools: those
// whose status has a name.
func (e *env) emitter(instance string, status func(name string) wire.PoolStatus) (kill func()) {
	e.t.Helper()
	nc := e.srv.Conn()
	s, err := lease.NewSession(nc, e.b.Sessions, lease.SessionConfig{
		Namespace: ns, Service: wire.ServiceEmitter, Instance: instance, TTL: ttl,
	}, zerolog.Nop())
	if err != nil {
		e.t.Fatal(err)
	}
	_, err = nc.Subscribe(ns.EmitterPools(instance), func(m *nats.Msg) {
		var req struct {
			Names []string `json:"names"`
		}
		now := time.Now().Add(e.skew)
		answer := wire.PoolsResponse{At: &now}
		_ = json.Unmarshal(m.Data, &req)
		for _, n := range req.Names {
			if st := status(n); st.Name != "" {
				answer.Pools = append(answer.Pools, st)
			}
		}
		b, _ := json.Marshal(answer)
		_ = m.Respond(b)
	})
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	kill = sync.OnceFunc(func() { cancel(); <-done })
	e.t.Cleanup(kill)
	natstest.Await(e.t, "the emitter's session", func() error {
		if !s.Valid() {
			return errors.New("not valid")
		}
		return nil
	})
	return kill
}

// idle is the status of a pool that has finished everything.
func idle(owner string, floor uint64) func(string) wire.PoolStatus {
	return func(name string) wire.PoolStatus {
		return wire.PoolStatus{
			Name: name, UID: "uid-" + name, Owner: owner, Epoch: 1, State: wire.PoolLive, Floor: floor,
			Position: floor, Breaker: "closed", Generation: 1,
		}
	}
}

// listen makes a subscriber on subject that must get nothing.
func (e *env) listen(subject string) *nats.Subscription {
	e.t.Helper()
	s, err := e.nc.Subscribe(subject, func(m *nats.Msg) { e.t.Errorf("delivered on %s", m.Subject) })
	if err != nil {
		e.t.Fatal(err)
	}
	if err := e.nc.Flush(); err != nil {
		e.t.Fatal(err)
	}
	return s
}

// request sends body (JSON, or nothing) to a verb and returns the answer.
func (e *env) request(subject, body string) (*nats.Msg, error) {
	return e.nc.Request(subject, []byte(body), 30*time.Second)
}

// ask is request that decodes the answer.
func ask[T any](e *env, subject, body string) T {
	e.t.Helper()
	var out T
	m, err := e.request(subject, body)
	if err != nil {
		e.t.Fatalf("%s: %v", subject, err)
	}
	if err := json.Unmarshal(m.Data, &out); err != nil {
		e.t.Fatalf("%s answered %q: %v", subject, m.Data, err)
	}
	return out
}

// untilMade asks for a report that was made for the one who asks, however long the
// sweep takes.
const untilMade = `{"within":"25s"}`

func (e *env) tryCheck() (wire.ReportResponse, error) {
	var r wire.ReportResponse
	m, err := e.request(ns.API(wire.VerbHealthCheck), untilMade)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return r, err
	}
	if r.Error != nil {
		return r, r.Error
	}
	return r, nil
}

func (e *env) check() wire.Report {
	e.t.Helper()
	r, err := e.tryCheck()
	if err != nil {
		e.t.Fatalf("check: %v", err)
	}
	return r.Report
}

// await checks until the report is as wanted, and returns it.
func (e *env) await(what string, want func(wire.Report) error) wire.Report {
	e.t.Helper()
	var last wire.Report
	natstest.Await(e.t, what, func() error {
		r, err := e.tryCheck()
		if err != nil {
			return err
		}
		last = r.Report
		return want(r.Report)
	})
	return last
}

// advisories collects the advisories of one kind.
func (e *env) advisories(what string) func() []wire.Advisory {
	e.t.Helper()
	var mu sync.Mutex
	var got []wire.Advisory
	_, err := e.nc.Subscribe(ns.Advisory(what, "*"), func(m *nats.Msg) {
		var a wire.Advisory
		if json.Unmarshal(m.Data, &a) == nil {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, a)
		}
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return func() []wire.Advisory {
		mu.Lock()
		defer mu.Unlock()
		return append([]wire.Advisory(nil), got...)
	}
}

func want(n int, issues []wire.Issue) error {
	if len(issues) != n {
		return fmt.Errorf("issues = %+v, want %d", issues, n)
	}
	return nil
}
