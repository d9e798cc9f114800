package hostile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// violations keeps what the server says of users who did what they may not.
type violations struct {
	mu    sync.Mutex
	lines []string
}

func (v *violations) Errorf(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); strings.Contains(line, "Violation") {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.lines = append(v.lines, line)
	}
}
func (v *violations) Noticef(string, ...any) {}
func (v *violations) Warnf(string, ...any)   {}
func (v *violations) Fatalf(string, ...any)  {}
func (v *violations) Debugf(string, ...any)  {}
func (v *violations) Tracef(string, ...any)  {}

func (v *violations) all() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.lines...)
}

// guarded is a nats-server with the users of docs/operations.md, and one who
// may do everything.
type guarded struct{ addr string }

func (g guarded) URL() string { return "nats://admin:a@" + g.addr }

func startGuarded(t *testing.T) (guarded, *violations) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	users := regexp.MustCompile("(?s)```\n(\\{ user: sluice.*?)```").FindSubmatch(page)
	if users == nil {
		t.Fatal("docs/operations.md shows no users")
	}
	path := filepath.Join(t.TempDir(), "nats.conf")
	conf := fmt.Sprintf("SLUICE_PASSWORD = s\nTEAM_PASSWORD = t\njetstream { store_dir: %q }\nauthorization { users = [\n{ user: admin, password: a }\n%s] }\n",
		t.TempDir(), users[1])
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	seen := &violations{}
	srv.SetLoggerV2(seen, false, false, false)
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	go srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("server not ready")
	}
	return guarded{srv.Addr().String()}, seen
}

// TestTheDocumentedPermissionsAreEnoughAndNotTooMuch runs everything under the
// permissions that the documents name. What services and team do violates none
// of them; what the team should not see or do, it cannot.
func TestTheDocumentedPermissionsAreEnoughAndNotTooMuch(t *testing.T) {
	t.Parallel()
	srv, seen := startGuarded(t)
	e := harness.New(t, harness.OnServer(srv))
	e.Store("GITHUB", "github.>")
	e.Publish("github.secret", "{}")
	for _, svc := range harness.All() {
		e.Start(svc, "NATS_URL", "nats://"+srv.addr, "NATS_USER", "sluice", "NATS_PASSWORD", "s",
			"SLUICE_INBOX_PREFIX", "_SLUICE_INBOX", "SLUICE_NAMES_RETENTION", "1s")
	}
	e.AwaitLease(wire.ServiceHealthmon, 0)
	denied := make(chan error, 64)
	team, err := nats.Connect("nats://"+srv.addr, nats.UserInfo("team", "t"), nats.CustomInboxPrefix("_INBOX.triage"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(team.Close)
	delivered := useAsTeam(t, e, team)
	if lines := seen.all(); len(lines) > 0 {
		t.Errorf("what services and team should do violates permissions:\n%s", strings.Join(lines, "\n"))
	}
	for _, subject := range []string{
		"_SLUICE_INBOX.>", "_INBOX.>", "_INBOX.other.>", "_SLUICE.>", "$JS.>", "$KV.>", "github.>", "sluice.v1.api.>", ">",
	} {
		if _, err := team.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		awaitDenial(t, denied, subject)
	}
	for _, reply := range []string{"$JS.API.STREAM.DELETE.GITHUB", "$KV.sluice_pools.other", "github.forged"} {
		if err := team.PublishRequest(ns.API(wire.VerbGet, "triage"), reply, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"$JS.API.STREAM.DELETE.GITHUB", ns.API(wire.VerbGet, "other"), "_SLUICE.sluice.ack.x", "github.forged"} {
		if err := team.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		awaitDenial(t, denied, subject)
	}
	if s, err := e.JS.Stream(e.Context(), "GITHUB"); err != nil || s.CachedInfo().State.Msgs != delivered+1 {
		t.Errorf("the store: %+v, %v", s, err)
	}
}

func awaitDenial(t *testing.T, denied <-chan error, subject string) {
	t.Helper()
	select {
	case err := <-denied:
		if !strings.Contains(err.Error(), `"`+subject+`"`) {
			t.Errorf("%s: %v", subject, err)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("the team may use %s", subject)
	}
}

// useAsTeam does what a team does with Sluice, and returns how many events it
// got.
func useAsTeam(t *testing.T, e *harness.Env, team *nats.Conn) uint64 {
	t.Helper()
	answers := []string{"+WPI", "-NAK", "+ACK"}
	said := 0
	_, err := team.Subscribe("triage.issues", func(m *nats.Msg) {
		for end := false; !end; said++ {
			if err := team.Publish(m.Reply, []byte(answers[said%len(answers)])); err != nil {
				t.Error(err)
			}
			end = answers[said%len(answers)] != "+WPI"
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(team, client.WithTimeout(15*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	spec := client.Spec{Store: "GITHUB", Selector: client.Selector{ByStream: []string{"github.open.>"}}, Deliver: client.Deliver{Subject: "triage.issues"}}
	e.Await("subscribe", func() error {
		_, err := c.Subscribe(e.Context(), "triage", spec)
		return err
	})
	var last uint64
	const n = 3
	for range n {
		last = e.Publish("github.open.issue", "{}")
	}
	e.AwaitFloor("triage", last)
	if _, err := c.Pause(e.Context(), "triage"); err != nil {
		t.Error(err)
	}
	if _, err := c.Resume(e.Context(), "triage"); err != nil {
		t.Error(err)
	}
	for _, verb := range []string{wire.VerbGet, wire.VerbHealthSubscription, wire.VerbParkedList} {
		if _, err := team.Request(ns.API(verb, "triage"), nil, 15*time.Second); err != nil {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if _, err := e.NC.Request(ns.API(wire.VerbHealthCheck), nil, 30*time.Second); err != nil {
		t.Error(err)
	}
	if _, err := c.Unsubscribe(e.Context(), "triage"); err != nil {
		t.Error(err)
	}
	if _, err := e.NC.Request(ns.API(wire.VerbHealthCheck), nil, 30*time.Second); err != nil {
		t.Error(err)
	}
	e.Await("the name to be purged", func() error {
		s, err := e.JS.Stream(e.Context(), "KV_"+ns.BucketSubscriptions())
		if err != nil {
			return err
		}
		m, err := s.GetLastMsgForSubject(e.Context(), "$KV."+ns.BucketSubscriptions()+".triage")
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("%v is there (%w)", m, err)
		}
		return nil
	})
	if _, err := e.NC.Request("$SRV.STATS", nil, 15*time.Second); err != nil {
		t.Error(err)
	}
	return n
}
