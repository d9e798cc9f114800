package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBuffer is a log that a test can read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) contains(s string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !strings.Contains(l.b.String(), s) {
		return errors.New("log: " + l.b.String())
	}
	return nil
}

func (l *logBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func TestConnectWaitsForTheServer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	s.Stop()
	var log logBuffer
	got := make(chan *nats.Conn, 1)
	go func() {
		nc, err := bus.Connect(t.Context(), bus.Config{URL: s.URL()}, "tester", zerolog.New(&log))
		if err != nil {
			t.Errorf("Connect: %v", err)
		}
		got <- nc
	}()
	natstest.Await(t, "word of it in the log", func() error { return log.contains("still trying") })
	s.Restart()
	nc := <-got
	if nc == nil {
		return
	}
	defer nc.Close()
	if nc.Opts.Name != "tester" || !nc.IsConnected() {
		t.Errorf("connection %q is %v, want tester connected", nc.Opts.Name, nc.Status())
	}

	s.Restart()
	natstest.Await(t, "word of the return in the log", func() error { return log.contains("nats connection back") })
	if err := log.contains("nats connection lost"); err != nil {
		t.Error(err)
	}
}

func TestConnectEndsWithItsContextAndTellsTheLastError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "nats://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		natstest.Await(t, "a failure", func() error { return log.contains("still trying") })
		cancel()
	}()
	_, err = bus.Connect(ctx, bus.Config{URL: url}, "tester", zerolog.New(&log))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("Connect = %v, want it to wrap %v and %v", err, context.Canceled, nats.ErrNoServers)
	}
}

func TestConfigFaultsAreToldAllAtOnceAndWithoutPasswords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  bus.Config
		want []string // nil: valid
	}{
		{"default", bus.Config{URL: "nats://127.0.0.1:4222"}, nil},
		{"several without scheme", bus.Config{URL: "a:4222, b:4222"}, nil},
		{"context gives the URL", bus.Config{Context: "prod"}, nil},
		{"other servers than the context's", bus.Config{Context: "prod", URL: "a:4222"}, nil},
		{"a bad URL beside a context", bus.Config{Context: "prod", URL: "http://u:secret@h"}, []string{"NATS_URL"}},
		{"nothing", bus.Config{}, []string{"NATS_URL"}},
		{"scheme and half a key pair", bus.Config{URL: "http://u:secret@h", Cert: "c.pem"}, []string{"NATS_URL", "NATS_KEY"}},
		{"not a URL", bus.Config{URL: "nats://u:secret@h:port"}, []string{"NATS_URL"}},
		{"a token with a wrong scheme", bus.Config{URL: "natss://secret@h:1"}, []string{"NATS_URL", "xxxxx@h:1"}},
		{"a token without a host", bus.Config{URL: "nats://secret@"}, []string{"NATS_URL"}},
		{"a password without a user", bus.Config{URL: "h", Password: "secret"}, []string{"NATS_PASSWORD", "NATS_USER"}},
		{"a password for a context's user", bus.Config{Context: "prod", Password: "secret"}, nil},
		{"all ways to say who we are", bus.Config{URL: "h", User: "u", Password: "p", Token: "t", Creds: "c", NKey: "n", CA: "a"}, nil},
		{"timeouts", bus.Config{URL: "h", Timeout: -time.Second}, []string{"NATS_TIMEOUT"}},
		{"a long timeout", bus.Config{URL: "h", Timeout: time.Hour}, []string{"NATS_TIMEOUT"}},
		{"inboxes of our own", bus.Config{URL: "h", InboxPrefix: "_SLUICE_INBOX"}, nil},
		{"inboxes in JetStream", bus.Config{URL: "h", InboxPrefix: "$JS.API"}, []string{"SLUICE_INBOX_PREFIX"}},
		{"inboxes of anything", bus.Config{URL: "h", InboxPrefix: "_x.>"}, []string{"SLUICE_INBOX_PREFIX"}},
		{
			"everything wrong",
			bus.Config{URL: "x://h", Cert: "c", Password: "secret", Timeout: -1, InboxPrefix: "x"},
			[]string{"NATS_URL", "NATS_KEY", "NATS_PASSWORD", "NATS_TIMEOUT", "SLUICE_INBOX_PREFIX"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.Validate()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("Validate = %v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "secret") {
					t.Errorf("Validate = %v, want it to name %s and no password", err, w)
				}
			}
		})
	}
}

func TestInstanceIDsAreTokensAndDiffer(t *testing.T) {
	t.Parallel()
	a, b := bus.NewInstanceID("emitter"), bus.NewInstanceID("emitter")
	if a == b || !regexp.MustCompile(`^emitter-[0-9a-f]{8}$`).MatchString(a) || !wire.ValidName(a) {
		t.Errorf("ids %q and %q", a, b)
	}
}

func TestConcurrentEnsuresAgree(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	layout := bus.Layout{Namespace: "stage", SessionTTL: 2 * time.Second}
	var log logBuffer
	var g errgroup.Group
	for range 4 { // as from four processes: a connection each
		js := s.JetStream()
		g.Go(func() error {
			for range 2 {
				b, err := bus.Ensure(ctx, js, layout, zerolog.New(&log))
				if err != nil {
					return err
				}
				if _, err := b.Pools.PutString(ctx, bus.NewInstanceID("x"), "v"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := log.count("stream created"); n != 8 {
		t.Errorf("%d streams are said to have been created, want 8", n)
	}
	js := s.JetStream()
	b, err := bus.Ensure(ctx, js, layout, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kv      jetstream.KeyValue
		name    string
		history int64
		ttl     time.Duration
	}{
		{b.Subscriptions, "stage_subscriptions", 64, 0},
		{b.Pools, "stage_pools", 1, 0},
		{b.Sessions, "stage_sessions", 1, 2 * time.Second},
		{b.Health, "stage_health", 1, 0},
		{b.Replays, "stage_replays", 1, 0},
	} {
		st, err := tt.kv.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Bucket() != tt.name || st.History() != tt.history || st.TTL() != tt.ttl {
			t.Errorf("bucket %s: history %d, ttl %v; want %s, %d, %v", st.Bucket(), st.History(), st.TTL(), tt.name, tt.history, tt.ttl)
		}
	}
	for name, age := range map[string]time.Duration{
		"STAGE_ADVISORIES": 7 * 24 * time.Hour, "STAGE_PARKED": 0, "STAGE_QUARANTINE": 0, "KV_stage_subscriptions": 0,
	} {
		st, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if c := st.CachedInfo().Config; c.MaxAge != age || c.MaxConsumers <= 1000 {
			t.Errorf("%s keeps %v for %d consumers, want %v for more than 1000", name, c.MaxAge, c.MaxConsumers, age)
		}
	}
}

func TestEnsureRaisesWhatIsTooSmallAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, c := range []jetstream.KeyValueConfig{
		{Bucket: "sluice_subscriptions", History: 3, Description: "ours"},
		{Bucket: "sluice_sessions", TTL: time.Second},
		{Bucket: "sluice_pools", History: 5},
	} {
		if _, err := js.CreateKeyValue(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "SLUICE_ADVISORIES", Subjects: []string{"sluice.v1.advisory.>"}, MaxAge: time.Hour,
	}); err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	ensure := func(ttl time.Duration) {
		t.Helper()
		// Three replicas cannot be had here; what exists is used as it is.
		if _, err := bus.Ensure(ctx, js, bus.Layout{SessionTTL: ttl}, zerolog.New(&log)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name string, history int64, age time.Duration) {
		t.Helper()
		st, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		c := st.CachedInfo().Config
		if c.MaxMsgsPerSubject != history || c.MaxAge != age {
			t.Errorf("%s: history %d, age %v; want %d, %v", name, c.MaxMsgsPerSubject, c.MaxAge, history, age)
		}
		if strings.HasPrefix(name, "KV_") && c.MaxConsumers <= 1000 {
			t.Errorf("%s: %d consumers, want more than 1000", name, c.MaxConsumers)
		}
	}
	ensure(5 * time.Second)
	check("KV_sluice_subscriptions", 64, 0)
	check("KV_sluice_sessions", 1, 5*time.Second)
	check("KV_sluice_pools", 5, 0)
	check("SLUICE_ADVISORIES", -1, time.Hour)

	ensure(2 * time.Second)
	check("KV_sluice_sessions", 1, 5*time.Second)
	if err := log.contains("longer in the bucket"); err != nil {
		t.Errorf("no warning of the longer TTL: %v", err)
	}
}

func TestEnsureUsesWhatExistsWhereReplicasCannotBeRaised(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := bus.Ensure(ctx, js, bus.Layout{}, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	if _, err := bus.Ensure(ctx, js, bus.Layout{Replicas: 3}, zerolog.New(&log)); err != nil {
		t.Fatal(err)
	}
	if err := log.contains("cannot change replicas"); err != nil {
		t.Error(err)
	}
}

func TestEnsureKeepsTryingWithoutJetStreamAndAgainstAStreamInTheWay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		setup func(t *testing.T) jetstream.JetStream
		want  string
	}{
		{"no JetStream", func(t *testing.T) jetstream.JetStream { return plain(t) }, "JetStream is not enabled on the server nats://127.0.0.1:"},
		{"a stream in the way", func(t *testing.T) jetstream.JetStream {
			js := natstest.Start(t).JetStream()
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SLUICE_PARKED", Subjects: []string{"other"}}); err != nil {
				t.Fatal(err)
			}
			return js
		}, "cannot be used"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			js := tt.setup(t)
			var log logBuffer
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := bus.Ensure(ctx, js, bus.Layout{}, zerolog.New(&log))
				done <- err
			}()
			natstest.Await(t, "word of it in the log", func() error { return log.contains(tt.want) })
			select {
			case err := <-done:
				t.Fatalf("Ensure gave up: %v", err)
			default:
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Ensure = %v, want it to wrap %v", err, context.Canceled)
			}
		})
	}
}

// plain is a server without JetStream.
func plain(t *testing.T) jetstream.JetStream {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		StoreDir: filepath.Join(t.TempDir(), "unused"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	go srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("server not ready")
	}
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestAdvisoriesAreKeptUnderAnyName(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := bus.Ensure(ctx, js, bus.Layout{}, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	a := bus.NewAdvisor(s.Conn(), "sluice", "emitter-1", zerolog.Nop())
	a.Advise(wire.AdvPoolClaimed, "triage", "claimed", map[string]any{"epoch": 7})
	a.Publish(wire.AdvSubscriptionRejected, wire.Advisory{Name: "a b.>", Error: wire.Errorf(wire.CodeBadField, "no")})

	for subject, check := range map[string]func(wire.Advisory) bool{
		"sluice.v1.advisory.pool.claimed.triage": func(v wire.Advisory) bool {
			return v.Type == "io.sluice.advisory.v1.pool.claimed" && v.Name == "triage" && v.Data["epoch"] == 7.0
		},
		"sluice.v1.advisory.subscription.rejected.a_b__": func(v wire.Advisory) bool {
			return v.Name == "a b.>" && v.Error != nil && v.Error.ErrCode == wire.CodeBadField
		},
	} {
		var got wire.Advisory
		natstest.Await(t, subject, func() error {
			st, err := js.Stream(ctx, "SLUICE_ADVISORIES")
			if err != nil {
				return err
			}
			m, err := st.GetLastMsgForSubject(ctx, subject)
			if err != nil {
				return err
			}
			return json.Unmarshal(m.Data, &got)
		})
		if !check(got) || got.ID == "" || got.Timestamp.IsZero() || got.Instance != "emitter-1" {
			t.Errorf("%s: %+v", subject, got)
		}
	}
	var none *bus.Advisor
	none.Advise(wire.AdvPoolClaimed, "x", "", nil) // does not panic
}

func TestQuarantineStoresARevisionOnceAndWhole(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := bus.Ensure(ctx, js, bus.Layout{}, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	big := append(append([]byte(`"`), bytes.Repeat([]byte("x"), 700_000)...), '"') // too large to be in there twice
	for _, q := range []wire.Quarantined{
		{Bucket: "sluice_pools", Key: "k", Revision: 3, Reason: "not JSON", Value: []byte("\x00{")},
		{Bucket: "sluice_pools", Key: "k", Revision: 3, Reason: "not JSON", Value: []byte("\x00{")},
		{Bucket: "sluice_pools", Key: "k", Revision: 4, Reason: "too long", Value: big},
	} {
		if err := bus.Quarantine(ctx, js, "sluice", q); err != nil {
			t.Fatal(err)
		}
	}
	st, err := js.Stream(ctx, "SLUICE_QUARANTINE")
	if err != nil {
		t.Fatal(err)
	}
	if n := st.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
	for seq, want := range map[uint64][]byte{1: []byte("\x00{"), 2: big} {
		m, err := st.GetMsg(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		var q wire.Quarantined
		if err := json.Unmarshal(m.Data, &q); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(q.Value, want) || q.At.IsZero() || q.Key != "k" {
			t.Errorf("message %d holds %d bytes of %s at %v, want %d bytes of k", seq, len(q.Value), q.Key, q.At, len(want))
		}
	}
}
