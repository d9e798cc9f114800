package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
)

// world is a nats-server of its own and the processes around it.
type world struct {
	bins  string // directory of the built programs
	dir   string
	url   string
	nc    *nats.Conn
	js    jetstream.JetStream
	procs []*exec.Cmd
	o     options
}

// roundTimeout bounds one side of a round.
const roundTimeout = 4 * time.Minute

// binaries builds what a run needs, once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sluice-bench-bin-")
	if err != nil {
		return "", err
	}
	for _, pkg := range []string{
		"github.com/nats-io/nats-server/v2",
		"github.com/sluicehq/sluice/services/registry",
		"github.com/sluicehq/sluice/services/emitter",
	} {
		name := filepath.Base(strings.TrimSuffix(pkg, "/v2"))
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("build %s: %w", pkg, err)
		}
	}
	return dir, nil
})

// inWorld runs f in a fresh world and takes it down again.
func inWorld(ctx context.Context, o options, f side) (figure float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	bins, err := binaries()
	if err != nil {
		return 0, err
	}
	w := &world{bins: bins, o: o}
	if w.dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(w.dir)) }()
	defer w.stop()
	if err := w.startServer(ctx); err != nil {
		return 0, err
	}
	return f(ctx, w, o)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }() // it was only asked for its port
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (w *world) startServer(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	w.url = "nats://127.0.0.1:" + strconv.Itoa(port)
	if _, err := w.start(ctx, "nats-server", nil, "-a", "127.0.0.1", "-p", strconv.Itoa(port), "-js", "-sd", w.dir); err != nil {
		return err
	}
	w.nc, err = nats.Connect(w.url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(100), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return err
	}
	if w.js, err = jetstream.New(w.nc); err != nil {
		return err
	}
	return eventually(ctx, func() error {
		_, err := w.js.AccountInfo(ctx)
		return err
	})
}

// start runs a built program; its standard output is returned.
func (w *world) start(ctx context.Context, name string, env []string, args ...string) (io.Reader, error) {
	return w.launch(exec.CommandContext(ctx, filepath.Join(w.bins, name), args...), env)
}

func (w *world) launch(cmd *exec.Cmd, env []string) (io.Reader, error) {
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	if filepath.Base(cmd.Path) == "nats-server" {
		cmd.Stderr = nil
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	w.procs = append(w.procs, cmd)
	return out, nil
}

// sluice runs a registry and an emitter, and waits until both are there.
func (w *world) sluice(ctx context.Context) error {
	for _, name := range []string{wire.ServiceRegistry, wire.ServiceEmitter} {
		if _, err := w.service(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// service runs one of Sluice's services and waits until it has announced itself.
func (w *world) service(ctx context.Context, name string) (*exec.Cmd, error) {
	env := []string{
		"NATS_URL=" + w.url, "SLUICE_HTTP_ADDR=127.0.0.1:0", "SLUICE_LOG_LEVEL=warn",
		"SLUICE_MAX_REQUESTS_PER_SECOND=100000",
	}
	if name == wire.ServiceEmitter {
		env = append(env, "SLUICE_PPROF_ADDR="+w.o.pprof)
	}
	out, err := w.start(ctx, name, env)
	if err != nil {
		return nil, err
	}
	cmd := w.procs[len(w.procs)-1]
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
	ping := "$SRV.PING." + wire.DefaultNamespace.MicroName(name)
	return cmd, eventually(ctx, func() error {
		_, err := w.nc.Request(ping, nil, time.Second)
		return err
	})
}

func (w *world) stop() {
	if w.nc != nil {
		w.nc.Close()
	}
	for i := len(w.procs) - 1; i >= 0; i-- {
		_ = w.procs[i].Process.Kill() // its data goes with it
		_ = w.procs[i].Wait()
		if u := w.procs[i].ProcessState; u != nil && w.o.verbose {
			fmt.Fprintf(os.Stderr, "  cpu of %s: %.2f s user, %.2f s system\n", filepath.Base(w.procs[i].Path),
				u.UserTime().Seconds(), u.SystemTime().Seconds())
		}
	}
}

// eventually tries until f succeeds or ctx ends.
func eventually(ctx context.Context, f func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
