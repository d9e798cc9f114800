package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
)

func write(t *testing.T, name string, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// natsContext writes a context of the nats CLI and returns its path.
func natsContext(t *testing.T, fields map[string]string) string {
	t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "some.json", body)
}

func TestWhatIsGivenBesideAContextReplacesWhatItHas(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	key := write(t, "user.nk", seed)
	const nobody = "nats://127.0.0.1:1"
	// The server asks nobody who he is, so any token will do.
	creds := write(t, "user.creds", fmt.Appendf(nil, "-----BEGIN NATS USER JWT-----\ntoken\n------END NATS USER JWT------\n\n"+
		"-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", seed))
	for _, tt := range []struct {
		name       string
		context    map[string]string
		url, creds string
		more       bus.Config // what else is given
		user       string     // who we say that we are
		password   string
		token      string
		byJWT      bool
		inbox      string
	}{
		{name: "nothing is given", context: map[string]string{"url": s.URL()}},
		{name: "other servers", context: map[string]string{"url": nobody}, url: nobody + ", " + s.URL()},
		{name: "credentials for a key", context: map[string]string{"url": s.URL(), "nkey": key}, creds: creds, byJWT: true},
		{name: "credentials", context: map[string]string{"url": s.URL(), "creds": creds}, creds: creds, byJWT: true},
		{name: "credentials beside a user", context: map[string]string{"url": s.URL(), "user": "u", "password": "p"}, creds: creds, user: "u", password: "p"},
		{name: "a user for credentials", context: map[string]string{"url": s.URL(), "creds": creds}, more: bus.Config{User: "v", Password: "q"}, user: "v", password: "q"},
		{name: "a user for a key", context: map[string]string{"url": s.URL(), "nkey": key}, more: bus.Config{User: "v"}, user: "v"},
		{name: "a password for the context's user", context: map[string]string{"url": s.URL(), "user": "u", "password": "p"}, more: bus.Config{Password: "q"}, user: "u", password: "q"},
		{name: "a key beside credentials", context: map[string]string{"url": s.URL(), "creds": creds}, more: bus.Config{NKey: key}, byJWT: true},
		{name: "a key beside credentials, both given", context: map[string]string{"url": s.URL()}, creds: creds, more: bus.Config{NKey: key}, byJWT: true},
		{name: "a token", context: map[string]string{"url": s.URL(), "token": "t"}, more: bus.Config{Token: "u"}, token: "u"},
		{name: "the context's inboxes", context: map[string]string{"url": s.URL(), "inbox_prefix": "_INBOX.a"}, inbox: "_INBOX.a"},
		{name: "inboxes", context: map[string]string{"url": s.URL(), "inbox_prefix": "_INBOX.a"}, more: bus.Config{InboxPrefix: "_OURS"}, inbox: "_OURS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := tt.more
			cfg.Context, cfg.URL, cfg.Creds = natsContext(t, tt.context), tt.url, tt.creds
			var log logBuffer
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			nc, err := bus.Connect(ctx, cfg, "tester", zerolog.New(&log))
			if err != nil {
				t.Fatalf("Connect: %v", err)
			}
			defer nc.Close()
			if err := log.contains("still trying"); err == nil {
				t.Error("it did not connect at once")
			}
			o := nc.Opts
			if nc.ConnectedUrl() != s.URL() || o.User != tt.user || (o.UserJWT != nil) != tt.byJWT {
				t.Errorf("connected to %s as user %q, with credentials: %v; want %s, %q, %v",
					nc.ConnectedUrl(), o.User, o.UserJWT != nil, s.URL(), tt.user, tt.byJWT)
			}
			if o.Password != tt.password || o.Token != tt.token || o.Nkey != "" || o.InboxPrefix != tt.inbox {
				t.Errorf("password %q, token %q, key %q, inboxes %q; want %q, %q, none, %q",
					o.Password, o.Token, o.Nkey, o.InboxPrefix, tt.password, tt.token, tt.inbox)
			}
		})
	}
}

func TestServersThatAskWhoWeAreAreTold(t *testing.T) {
	t.Parallel()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		server server.Options
		cfg    bus.Config
	}{
		{name: "a user", server: server.Options{Username: "u", Password: "p"}, cfg: bus.Config{User: "u", Password: "p"}},
		{name: "a token", server: server.Options{Authorization: "t"}, cfg: bus.Config{Token: "t"}},
		{name: "a key", server: server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}}, cfg: bus.Config{NKey: write(t, "user.nk", seed)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := tt.server
			o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
			srv, err := server.NewServer(&o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
			go srv.Start()
			if !srv.ReadyForConnections(20 * time.Second) {
				t.Fatal("server not ready")
			}
			cfg := tt.cfg
			cfg.URL = "nats://" + srv.Addr().String()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			nc, err := bus.Dialer{Config: cfg, Waiting: func(why string) { t.Error(why); cancel() }}.Connect(ctx)
			if err != nil {
				t.Fatal(err)
			}
			nc.Close()
			wrong, refused := context.WithCancel(t.Context())
			defer refused()
			_, err = bus.Dialer{
				Config: bus.Config{URL: cfg.URL, User: "x", Password: "secret"}, Waiting: func(string) { refused() },
			}.Connect(wrong)
			if !errors.Is(err, nats.ErrAuthorization) || strings.Contains(err.Error(), "secret") {
				t.Errorf("as somebody else: %v", err)
			}
		})
	}
}
