package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

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
		user       string // who we say that we are
		byJWT      bool
	}{
		{name: "nothing is given", context: map[string]string{"url": s.URL()}},
		{name: "other servers", context: map[string]string{"url": nobody}, url: nobody + ", " + s.URL()},
		{name: "credentials for a key", context: map[string]string{"url": s.URL(), "nkey": key}, creds: creds, byJWT: true},
		{name: "credentials", context: map[string]string{"url": s.URL(), "creds": creds}, creds: creds, byJWT: true},
		{name: "credentials beside a user", context: map[string]string{"url": s.URL(), "user": "u", "password": "p"}, creds: creds, user: "u"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := bus.Config{Context: natsContext(t, tt.context), URL: tt.url, Creds: tt.creds}
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
		})
	}
}
