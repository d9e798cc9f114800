package replayer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

const ns = wire.DefaultNamespace

// env is a server with Sluice's buckets, and everybody but the replayer.
type env struct {
	t       *testing.T
	srv     *natstest.Server
	nc      *nats.Conn
	js      jetstream.JetStream
	buckets *bus.Buckets
	records *subscription.Store
	pools   *subscription.Pools
	uids    int
	reports *inbox[wire.ReconcileReport]
	missed  *inbox[wire.Advisory]
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{t: t, srv: natstest.Start(t)}
	e.nc = e.srv.Conn()
	e.js = e.srv.JetStream()
	e.open()
	e.reports = listen[wire.ReconcileReport](e, ns.ReconcileReport())
	e.missed = listen[wire.Advisory](e, ns.Advisory(wire.AdvLifecycleMissed, "*"))
	return e
}

func (e *env) open() {
	e.t.Helper()
	b, err := bus.Ensure(e.t.Context(), e.js, bus.Layout{Namespace: ns, SessionTTL: time.Second}, zerolog.Nop())
	if err != nil {
		e.t.Fatal(err)
	}
	e.buckets = b
	e.records = subscription.NewStore(b.Subscriptions, ns)
	e.pools = subscription.NewPools(b.Pools)
}

// quick is a configuration for tests in which everything is observed.
func quick() Config {
	return Config{
		Settle: 20 * time.Millisecond, Wait: 15 * time.Second, Retry: 100 * time.Millisecond,
		MaxReplays: 8, MaxRunning: 2, ConfirmAbove: 1000,
	}
}

// impatient is one for tests in which something is not.
func impatient() Config {
	cfg := quick()
	cfg.Wait = 700 * time.Millisecond
	return cfg
}

// common is the configuration of a service on this server.
func (e *env) common() service.Common {
	e.t.Helper()
	c, err := service.ParseCommon(service.Env{"NATS_URL": e.srv.URL(), "SLUICE_SESSION_TTL": "1s"})
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

// start runs a replayer until stop is called or the test ends.
func (e *env) start(cfg Config, step func(string) error) (stop func()) {
	e.t.Helper()
	return e.run(cfg, service.Discard(e.common()), step)
}

func (e *env) run(cfg Config, d service.Deps, step func(string) error) (stop func()) {
	e.t.Helper()
	s, err := New(cfg, d)
	if err != nil {
		e.t.Fatal(err)
	}
	s.step = step
	return natstest.Run(e.t, s.Run)
}

// create, update and remove are what the registry does.
func (e *env) create(name string) *wire.Record {
	e.t.Helper()
	e.uids++
	spec := subscription.Default()
	spec.Store, spec.Deliver.Subject = "STORE", "out."+name
	spec.Selector.ByStream = wire.StringList{wire.AllStreams}
	r := subscription.NewRecord(name, fmt.Sprintf("uid-%d", e.uids), spec, subscription.Start{Sequence: 1, StoreCreated: time.Now()}, time.Now())
	if _, err := e.records.Create(e.t.Context(), r); err != nil {
		e.t.Fatal(err)
	}
	return r
}

func (e *env) update(name string) *wire.Record {
	e.t.Helper()
	r, rev, err := e.records.Get(e.t.Context(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	r.Generation++
	if _, err := e.records.Update(e.t.Context(), r, rev); err != nil {
		e.t.Fatal(err)
	}
	return r
}

func (e *env) remove(name string) {
	e.t.Helper()
	_, rev, err := e.records.Get(e.t.Context(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := e.records.Delete(e.t.Context(), name, rev); err != nil {
		e.t.Fatal(err)
	}
}

// observe is what an emitter does with a name: pool follows record.
func (e *env) observe(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, _, err := e.records.Get(ctx, name)
	if err != nil && !errors.Is(err, subscription.ErrNotFound) {
		return err
	}
	p, rev, err := e.pools.Get(ctx, name)
	if err != nil && !errors.Is(err, subscription.ErrNotFound) {
		return err
	}
	switch {
	case r == nil && p == nil:
		return nil
	case r == nil:
		return e.pools.Delete(ctx, name, rev)
	}
	now := time.Now().UTC()
	_, err = e.pools.Write(ctx, &wire.Pool{
		Schema: wire.SchemaVersion, Name: name, UID: r.UID, Owner: "emitter-1", State: wire.PoolLive,
		Epoch: subscription.NextEpoch(p, rev), ObservedGeneration: r.Generation, ClaimedAt: now, UpdatedAt: now,
	}, rev)
	return err
}

func (e *env) mustObserve(name string) {
	e.t.Helper()
	if err := e.observe(name); err != nil {
		e.t.Fatal(err)
	}
}

// emitter observes whatever is replayed, and nothing else.
func (e *env) emitter() (replayed *inbox[wire.Transition]) {
	e.t.Helper()
	return listen(e, ns.Lifecycle("*"), func(t wire.Transition) {
		if err := e.observe(t.Name); err != nil {
			e.t.Logf("observe %s: %v", t.Name, err) // another replay comes
		}
	})
}

// inbox keeps what was received on a subject.
type inbox[T any] struct {
	mu  sync.Mutex
	got []T
}

func listen[T any](e *env, subject string, then ...func(T)) *inbox[T] {
	e.t.Helper()
	in := &inbox[T]{}
	sub, err := e.nc.Subscribe(subject, func(m *nats.Msg) {
		var v T
		if err := json.Unmarshal(m.Data, &v); err != nil {
			e.t.Errorf("%s: %v", m.Subject, err)
			return
		}
		for _, f := range then {
			f(v)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.got = append(in.got, v)
	})
	if err == nil {
		err = e.nc.Flush()
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = sub.Unsubscribe() })
	return in
}

func (in *inbox[T]) all() []T {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

// await waits for a report that says so.
func (e *env) await(what string, says func(wire.ReconcileReport) bool) wire.ReconcileReport {
	e.t.Helper()
	var found wire.ReconcileReport
	natstest.Await(e.t, "a report of "+what, func() error {
		all := e.reports.all()
		for _, r := range all {
			if says(r) {
				found = r
				return nil
			}
		}
		return fmt.Errorf("%d reports: %+v", len(all), all)
	})
	return found
}

// kinds writes transitions the short way: name kind uid/generation, with ! if
// missed and ? if not observed.
func kinds(ts []wire.Transition) (out []string) {
	for _, t := range ts {
		s := fmt.Sprintf("%s %s %s/%d", t.Name, t.Kind, t.UID, t.Generation)
		if t.Missed {
			s += "!"
		}
		if !t.Observed {
			s += "?"
		}
		out = append(out, s)
	}
	return out
}

func (e *env) position() position {
	e.t.Helper()
	p, err := archive{e.buckets.Replays}.loadPosition(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

// awaitPosition waits until everything up to the revision is reconciled.
func (e *env) awaitPosition(atLeast uint64) {
	e.t.Helper()
	natstest.Await(e.t, "the reconciled revision", func() error {
		if p := e.position(); p.Revision < atLeast {
			return fmt.Errorf("at %d, want %d", p.Revision, atLeast)
		}
		return nil
	})
}

// first is the first revision of the subscriptions bucket.
func (e *env) first() uint64 { return e.status().Config.FirstSeq }

// revision is the last one of the subscriptions bucket.
func (e *env) revision() uint64 { return e.status().State.LastSeq }

func (e *env) status() *jetstream.StreamInfo {
	e.t.Helper()
	st, err := e.buckets.Subscriptions.Status(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return st.(*jetstream.KeyValueBucketStatus).StreamInfo()
}
