package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
)

// patience bounds every wait: long, as the machines that run tests are slow
// when it matters.
const patience = time.Minute

// Server is what an Env needs of a nats-server.
type Server interface{ URL() string }

// Env is one installation of Sluice on a nats-server of its own.
type Env struct {
	T      testing.TB
	Server Server
	NC     *nats.Conn          // the test's own connection
	JS     jetstream.JetStream // on NC
	Client *client.Client      // on NC

	vars service.Env

	mu sync.Mutex // one part starts at a time, so that its session can be told
}

// Option configures an Env.
type Option func(*Env)

// Vars sets environment variables for every part, given as name and value in turn.
func Vars(pairs ...string) Option {
	return func(e *Env) { maps.Copy(e.vars, pair(pairs)) }
}

// OnServer uses a server that the test has started, instead of an embedded one.
func OnServer(s Server) Option { return func(e *Env) { e.Server = s } }

func pair(pairs []string) map[string]string {
	m := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// New returns an installation of which nothing but the nats-server runs yet.
func New(tb testing.TB, opts ...Option) *Env {
	tb.Helper()
	e := &Env{T: tb, vars: service.Env{
		"SLUICE_SESSION_TTL":     "5s",
		"SLUICE_HEALTH_INTERVAL": "1s",
		"SLUICE_HTTP_ADDR":       "127.0.0.1:0",
		"SLUICE_LOG_LEVEL":       "info",
	}}
	for _, opt := range opts {
		opt(e)
	}
	if e.Server == nil {
		e.Server = natstest.Start(tb)
	}
	e.vars["NATS_URL"] = e.Server.URL()
	e.NC = e.Conn()
	js, err := jetstream.New(e.NC)
	if err != nil {
		tb.Fatalf("jetstream context: %v", err)
	}
	c, err := client.New(e.NC, client.WithTimeout(15*time.Second))
	if err != nil {
		tb.Fatalf("client: %v", err)
	}
	e.JS, e.Client = js, c
	return e
}

// Conn connects a client that reconnects as long as the test runs.
func (e *Env) Conn() *nats.Conn {
	e.T.Helper()
	return e.connect(e.Server)
}

func (e *Env) connect(s Server) *nats.Conn {
	e.T.Helper()
	nc, err := nats.Connect(s.URL(), nats.Name(e.T.Name()),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // the default one prints
	if err != nil {
		e.T.Fatalf("connect to %s: %v", s.URL(), err)
	}
	e.T.Cleanup(nc.Close)
	return nc
}

// Await polls cond every 10 ms until it returns nil, and fails the test with
// its last error when that takes over a minute. What completes "waiting for …".
func (e *Env) Await(what string, cond func() error) {
	e.T.Helper()
	Await(e.T, what, cond)
}

// Await is Env.Await for tests without an Env.
func Await(tb testing.TB, what string, cond func() error) {
	tb.Helper()
	natstest.AwaitWithin(tb, what, 10*time.Millisecond, patience, cond)
}

// Context ends with the test, or when its patience does.
func (e *Env) Context() context.Context {
	ctx, cancel := context.WithTimeout(e.T.Context(), patience)
	e.T.Cleanup(cancel)
	return ctx
}

// Store creates a stream over subjects.
func (e *Env) Store(name string, subjects ...string) jetstream.Stream {
	e.T.Helper()
	return e.StoreOf(jetstream.StreamConfig{Name: name, Subjects: subjects})
}

// StoreOf creates a stream, or changes it.
func (e *Env) StoreOf(cfg jetstream.StreamConfig) jetstream.Stream {
	e.T.Helper()
	s, err := e.JS.CreateOrUpdateStream(e.Context(), cfg)
	if err != nil {
		e.T.Fatalf("create stream %s: %v", cfg.Name, err)
	}
	return s
}

// Publish stores one event and returns its sequence. Headers are given as name
// and value in turn.
func (e *Env) Publish(subject, body string, headers ...string) uint64 {
	e.T.Helper()
	msg := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	for name, value := range pair(headers) {
		msg.Header.Set(name, value)
	}
	ack, err := e.JS.PublishMsg(e.Context(), msg)
	if err != nil {
		e.T.Fatalf("publish to %s: %v", subject, err)
	}
	return ack.Sequence
}

// PublishAll stores msgs in order and returns the sequence of each.
func (e *Env) PublishAll(msgs []*nats.Msg) []uint64 {
	e.T.Helper()
	futures := make([]jetstream.PubAckFuture, len(msgs))
	seqs := make([]uint64, len(msgs))
	const window = 512 // bounds what the server has to queue
	settle := func(i int) {
		select {
		case ack := <-futures[i].Ok():
			seqs[i] = ack.Sequence
		case err := <-futures[i].Err():
			e.T.Fatalf("publish to %s: %v", msgs[i].Subject, err)
		case <-e.Context().Done():
			e.T.Fatalf("publish to %s: not answered", msgs[i].Subject)
		}
	}
	for i, msg := range msgs {
		if i >= window {
			settle(i - window)
		}
		f, err := e.JS.PublishMsgAsync(msg, jetstream.WithStallWait(patience))
		if err != nil {
			e.T.Fatalf("publish to %s: %v", msg.Subject, err)
		}
		futures[i] = f
	}
	for i := max(0, len(msgs)-window); i < len(msgs); i++ {
		settle(i)
	}
	return seqs
}

// Subscribe creates or changes a subscription. It asks again, as any client
// may, while it is told that JetStream is away, which a machine that is busy
// with other tests may seem to be.
func (e *Env) Subscribe(name string, spec client.Spec, opts ...client.SubscribeOption) *wire.Subscription {
	e.T.Helper()
	var sub *wire.Subscription
	e.Await("subscribe "+name, func() error {
		answer, err := e.Client.Subscribe(e.Context(), name, spec, opts...)
		switch {
		case client.CodeOf(err) == wire.CodeUnavailable:
			return err
		case err != nil:
			e.T.Fatal(err)
		}
		sub = answer.Subscription
		return nil
	})
	return sub
}

// Get returns a subscription with its pool.
func (e *Env) Get(name string) *wire.GetResponse {
	e.T.Helper()
	answer, err := e.Client.Get(e.Context(), name)
	if err != nil {
		e.T.Fatal(err)
	}
	return answer
}

// errAbsent is returned for entries that are not there.
var errAbsent = errors.New("there is none")

// Pool reads the pool entry of a subscription as it lies in its bucket.
func (e *Env) Pool(name string) (*wire.Pool, error) {
	var p wire.Pool
	if err := e.entry(wire.DefaultNamespace.BucketPools(), name, &p); err != nil {
		return nil, fmt.Errorf("pool %q: %w", name, err)
	}
	return &p, nil
}

// Lease reads the leader lease of a role.
func (e *Env) Lease(role string) (*wire.Lease, error) {
	var l wire.Lease
	if err := e.entry(wire.DefaultNamespace.BucketSessions(), wire.LeaderKey(role), &l); err != nil {
		return nil, fmt.Errorf("leader %q: %w", role, err)
	}
	return &l, nil
}

func (e *Env) entry(bucket, key string, into any) error {
	ctx, cancel := context.WithTimeout(e.T.Context(), 5*time.Second)
	defer cancel()
	kv, err := e.JS.KeyValue(ctx, bucket)
	if err != nil {
		return err
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return errAbsent
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(entry.Value(), into)
}

// AwaitPool waits until the pool entry of a subscription is as ok wants it. Ok
// returns what is wrong.
func (e *Env) AwaitPool(name, what string, ok func(*wire.Pool) error) *wire.Pool {
	e.T.Helper()
	var p *wire.Pool
	e.Await(fmt.Sprintf("pool %q: %s", name, what), func() (err error) {
		if p, err = e.Pool(name); err != nil {
			return err
		}
		if err := ok(p); err != nil {
			return fmt.Errorf("%w; it is %+v", err, *p)
		}
		return nil
	})
	return p
}

// AwaitNoPool waits until a subscription has no pool entry.
func (e *Env) AwaitNoPool(name string) {
	e.T.Helper()
	e.Await("the end of pool "+name, func() error {
		p, err := e.Pool(name)
		switch {
		case errors.Is(err, errAbsent):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("it is there: %+v", *p)
	})
}

// AwaitOwned waits until a pool is owned by one of instances, or by anybody
// where none is given.
func (e *Env) AwaitOwned(name string, instances ...string) *wire.Pool {
	e.T.Helper()
	return e.AwaitPool(name, fmt.Sprintf("owned by one of %v", instances), func(p *wire.Pool) error {
		if p.Owner == "" || len(instances) > 0 && !slices.Contains(instances, p.Owner) {
			return fmt.Errorf("its owner is %q", p.Owner)
		}
		return nil
	})
}

// AwaitFloor waits until a pool's checkpoint has nothing unfinished up to seq.
func (e *Env) AwaitFloor(name string, seq uint64) *wire.Pool {
	e.T.Helper()
	return e.AwaitPool(name, fmt.Sprintf("finished up to %d", seq), func(p *wire.Pool) error {
		if p.Checkpoint.Floor < seq {
			return fmt.Errorf("its floor is %d", p.Checkpoint.Floor)
		}
		return nil
	})
}

// Sessions returns the instances of a service that have a session.
func (e *Env) Sessions(svc string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(e.T.Context(), 5*time.Second)
	defer cancel()
	kv, err := e.JS.KeyValue(ctx, wire.DefaultNamespace.BucketSessions())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return map[string]bool{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	lister, err := kv.ListKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	found := make(map[string]bool)
	for key := range lister.Keys() {
		if instance, ok := strings.CutPrefix(key, svc+"."); ok {
			found[instance] = true
		}
	}
	return found, nil
}

// Stored reads what a stream holds on a subject now, oldest first.
func (e *Env) Stored(stream, subject string) []*nats.Msg {
	e.T.Helper()
	ctx := e.Context()
	s, err := e.JS.Stream(ctx, stream)
	if err != nil {
		e.T.Fatalf("stream %s: %v", stream, err)
	}
	var msgs []*nats.Msg
	for next := uint64(1); ; {
		m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return msgs
		}
		if err != nil {
			e.T.Fatalf("read %s of stream %s: %v", subject, stream, err)
		}
		msgs = append(msgs, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		next = m.Sequence + 1
	}
}

// Decode reads JSON.
func Decode(tb testing.TB, data []byte, into any) {
	tb.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		tb.Fatalf("decode %s: %v", data, err)
	}
}

// JetStream returns a JetStream context on nc.
func JetStream(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatalf("jetstream context: %v", err)
	}
	return js
}

// AwaitLease waits until a role has a leader under a later epoch.
func (e *Env) AwaitLease(role string, after uint64) *wire.Lease {
	e.T.Helper()
	var l *wire.Lease
	e.Await("a leader of "+role, func() (err error) {
		if l, err = e.Lease(role); err != nil {
			return err
		}
		if l.Epoch <= after {
			return fmt.Errorf("its epoch is still %d", l.Epoch)
		}
		return nil
	})
	return l
}

// Reconciled reads the revision up to which the replayer has reconciled.
func (e *Env) Reconciled() (uint64, error) {
	var position struct {
		Revision uint64 `json:"revision"`
	}
	err := e.entry(wire.DefaultNamespace.BucketReplays(), wire.ReconciledKey, &position)
	return position.Revision, err
}

// PutPool creates a pool entry behind everybody's back.
func (e *Env) PutPool(p wire.Pool) {
	e.T.Helper()
	body, err := json.Marshal(p)
	if err != nil {
		e.T.Fatal(err)
	}
	kv, err := e.JS.KeyValue(e.Context(), wire.DefaultNamespace.BucketPools())
	if err == nil {
		_, err = kv.Create(e.Context(), p.Name, body)
	}
	if err != nil {
		e.T.Fatalf("create pool entry %s: %v", p.Name, err)
	}
}
