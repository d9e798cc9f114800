package natsd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/natsd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts a server and returns it, and a func that stops it and returns
// what Run did.
func run(t *testing.T, cfg natsd.Config) (*natsd.Server, func() error) {
	t.Helper()
	s, err := natsd.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := func() error {
		cancel()
		select {
		case err := <-done:
			done <- err
			return err
		case <-time.After(20 * time.Second):
			return errors.New("Run has not returned 20s after its context ended")
		}
	}
	t.Cleanup(func() { _ = stop() })
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("Run returned before it was ready: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("not ready after 20s")
	}
	return s, stop
}

func TestStoresSurviveARestart(t *testing.T) {
	t.Parallel()
	cfg := natsd.Config{Addr: "127.0.0.1:0", DataDir: filepath.Join(t.TempDir(), "new", "data")}
	for round := range 2 {
		s, stop := run(t, cfg)
		nc, err := nats.Connect(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			_, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
		} else {
			_, err = js.KeyValue(t.Context(), "b")
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := stop(); err != nil { // with the client still connected
			t.Fatalf("Run = %v, want nil", err)
		}
		nc.Close()
	}
}

func TestTakenPortIsToldByTheVariablesName(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a failure here fails nothing
	s, err := natsd.New(natsd.Config{Addr: l.Addr().String(), DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "SLUICE_NATS_ADDR") || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run on a taken port = %v, want an error with the address and SLUICE_NATS_ADDR", err)
	}
}

func TestUnusableDataDirIsAnErrorAndNotAnExit(t *testing.T) {
	t.Parallel()
	s, err := natsd.New(natsd.Config{Addr: "127.0.0.1:-1", DataDir: "/dev/null/x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run = nil, want an error")
	}
}

func TestNewReportsAllFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  natsd.Config
		want []string
	}{
		{"nothing given", natsd.Config{}, []string{"SLUICE_NATS_ADDR", "data directory"}},
		{"no port", natsd.Config{Addr: "localhost", DataDir: "d"}, []string{"SLUICE_NATS_ADDR"}},
		{"port too high", natsd.Config{Addr: "localhost:65536", DataDir: "d"}, []string{"65536"}},
		{"every interface, and nobody is asked", natsd.Config{Addr: ":4222", DataDir: "d"}, []string{"SLUICE_NATS_ADDR", "NATS_USER"}},
		{"every interface by number", natsd.Config{Addr: "0.0.0.0:4222", DataDir: "d"}, []string{"NATS_TOKEN"}},
		{"every interface of IPv6", natsd.Config{Addr: "[::]:4222", DataDir: "d"}, []string{"NATS_TOKEN"}},
		{"another machine's network", natsd.Config{Addr: "192.0.2.1:4222", DataDir: "d"}, []string{"NATS_TOKEN"}},
		{"a name that may be anywhere", natsd.Config{Addr: "localhost.example:4222", DataDir: "d"}, []string{"NATS_TOKEN"}},
		{"a user without a password", natsd.Config{Addr: "0.0.0.0:4222", DataDir: "d", User: "u"}, []string{"NATS_TOKEN", "want both or neither"}},
		{"a password without a user", natsd.Config{Addr: "127.0.0.1:4222", DataDir: "d", Password: "p"}, []string{"want both or neither"}},
		{"a user and a token", natsd.Config{Addr: "127.0.0.1:4222", DataDir: "d", User: "u", Password: "p", Token: "t"}, []string{"not both"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := natsd.New(tt.cfg)
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("New = %v, want an error with %q", err, w)
				}
			}
		})
	}
}

func TestURLIsKnownBeforeRunWherePortIsGiven(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:4333": "nats://127.0.0.1:4333",
		"127.0.0.7:4333": "nats://127.0.0.7:4333",
		"localhost:4333": "nats://localhost:4333",
		"[::1]:4333":     "nats://[::1]:4333",
		"127.0.0.1:-1":   "",
	} {
		s, err := natsd.New(natsd.Config{Addr: addr, DataDir: "d"})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.URL(); got != want {
			t.Errorf("URL of %q = %q, want %q", addr, got, want)
		}
	}
}

func TestServer_AsksClientsForWhatItIsConfiguredWith(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  natsd.Config
		with nats.Option
	}{
		{"a user", natsd.Config{User: "u", Password: "p"}, nats.UserInfo("u", "p")},
		{"a token", natsd.Config{Token: "t"}, nats.Token("t")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.Addr, tt.cfg.DataDir = "0.0.0.0:0", t.TempDir()
			s, _ := run(t, tt.cfg)
			if nc, err := nats.Connect(s.URL()); !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("connecting without credentials = %v, want %v", err, nats.ErrAuthorization)
				nc.Close()
			}
			nc, err := nats.Connect(s.URL(), tt.with)
			if err != nil {
				t.Fatalf("connecting with them: %v", err)
			}
			nc.Close()
		})
	}
}

func TestDataDirectory_BelongsToOneServerAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, stop := run(t, natsd.Config{Addr: "127.0.0.1:0", DataDir: dir})

	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, link, filepath.Join(dir, "..", filepath.Base(dir))} {
		second, err := natsd.New(natsd.Config{Addr: "127.0.0.1:0", DataDir: path})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // it would run on if it were let in
		err = second.Run(ctx)
		cancel()
		var inUse *natsd.InUseError
		if !errors.As(err, &inUse) {
			t.Fatalf("Run on %s, which is in use, = %v; want an InUseError", path, err)
		}
		for _, want := range []string{inUse.Dir, strconv.Itoa(os.Getpid()), "SLUICE_DATA_DIR"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %q: want it to name %s", err, want)
			}
		}
	}

	if err := stop(); err != nil {
		t.Fatal(err)
	}
	run(t, natsd.Config{Addr: "127.0.0.1:0", DataDir: dir})
}
