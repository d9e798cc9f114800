package harness

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
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

	vars   service.Env
	gaveUp atomic.Bool // a wait was in vain: what the processes are doing may say why

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

// giveUp ends the test, since what it waited for has not come. Child processes then
// print what their goroutines do.
func (e *Env) giveUp(format string, args ...any) {
	e.T.Helper()
	e.gaveUp.Store(true)
	e.T.Fatalf(format, args...)
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
