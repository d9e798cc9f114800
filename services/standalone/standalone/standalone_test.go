package standalone_test

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/services/standalone/standalone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is what the process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestAllServicesRunOnTheEmbeddedServerUntilTheyAreStopped(t *testing.T) {
	t.Parallel()
	env := service.Env{"NATS_URL": "nats://elsewhere.invalid:1", "NATS_CREDS": "none.creds"}
	common, err := service.ParseCommon(env)
	if err != nil {
		t.Fatal(err)
	}
	var out output
	addr := freeAddr(t)
	cfg := standalone.Config{NATSAddr: addr, DataDir: filepath.Join(t.TempDir(), "data"), Out: &out}
	d := service.Discard(common)
	r, err := standalone.New(cfg, env, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()

	awaitText(t, &out, done)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 5 || !strings.Contains(lines[0], addr) {
		t.Errorf("the text is not of five lines that begin with the address:\n%s", &out)
	}
	wantServices(t, "nats://"+addr, "sluice-registry", "sluice-emitter", "sluice-healthmon", "sluice-replayer")

	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// awaitText waits until something is printed, and fails when Run ends first.
func awaitText(t *testing.T, out *output, done <-chan error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for !strings.HasSuffix(out.String(), "\n") {
		select {
		case err := <-done:
			t.Fatalf("Run ended with %v", err)
		case <-deadline.C:
			t.Fatal("not ready after a minute")
		case <-tick.C:
		}
	}
}

// wantServices asks each service by its name whether it is there.
func wantServices(t *testing.T, url string, names ...string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, name := range names {
		natstest.Await(t, name+" answers", func() error {
			_, err := nc.Request("$SRV.PING."+name, nil, time.Second)
			return err
		})
	}
}

func TestAllFaultsOfTheServerAndOfTheServicesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	common, err := service.ParseCommon(service.Env{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = standalone.FromEnv().New(service.Env{
		"SLUICE_NATS_ADDR":         "127.0.0.1:0",
		"SLUICE_MAX_REQUEST_BYTES": "few",
		"SLUICE_HEALTH_INTERVAL":   "often",
	}, service.Discard(common))
	if err == nil {
		t.Fatal("FromEnv = nil, want an error")
	}
	for _, want := range []string{"SLUICE_NATS_ADDR", "SLUICE_MAX_REQUEST_BYTES", "SLUICE_HEALTH_INTERVAL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %s:\n%v", want, err)
		}
	}
}

func TestNoVariableOfAnotherServerIsRead(t *testing.T) {
	t.Parallel()
	var want []string
	for field := range reflect.TypeFor[bus.Config]().Fields() {
		if name := field.Tag.Get("env"); strings.HasPrefix(name, "NATS_") {
			want = append(want, name)
		}
	}
	want = slices.DeleteFunc(want, func(name string) bool { // these are what its own server asks for
		return name == "NATS_USER" || name == "NATS_PASSWORD" || name == "NATS_TOKEN"
	})
	got := standalone.Unread()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("Unread = %q, want %q", got, want)
	}
}
