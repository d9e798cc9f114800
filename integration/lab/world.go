package lab

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
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
)

// World is a nats-server of its own and the processes around it.
type World struct {
	URL    string // where the nats-server is
	NC     *nats.Conn
	JS     jetstream.JetStream
	Server *Process

	bins  string // directory of the built programs
	dir   string // where the server keeps its data
	procs []*Process
}

// Binaries builds the nats-server and the services into a directory, which is
// the caller's to remove.
func Binaries() (dir string, err error) {
	dir, err = os.MkdirTemp("", "sluice-lab-bin-")
	if err != nil {
		return "", err
	}
	pkgs := []string{"github.com/nats-io/nats-server/v2"}
	for _, name := range []string{wire.ServiceRegistry, wire.ServiceEmitter, wire.ServiceHealthmon, wire.ServiceReplayer} {
		pkgs = append(pkgs, "github.com/sluicehq/sluice/services/"+name)
	}
	for _, pkg := range pkgs {
		name := filepath.Base(strings.TrimSuffix(pkg, "/v2"))
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return "", errors.Join(fmt.Errorf("build %s: %w", pkg, err), os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// Open starts a nats-server with an empty file store. Its programs come from
// bins, which Binaries made. The caller closes the world.
func Open(ctx context.Context, bins string) (w *World, err error) {
	w = &World{bins: bins}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "sluice-lab-"); err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	w.URL = "nats://127.0.0.1:" + ports[0]
	w.Server, err = w.Start(ctx, "nats-server", nil, "-a", "127.0.0.1", "-p", ports[0], "--profile", ports[1], "-js", "-sd", w.dir)
	if err != nil {
		return nil, err
	}
	w.Server.pprof = "127.0.0.1:" + ports[1]
	w.NC, err = nats.Connect(w.URL, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	if w.JS, err = jetstream.New(w.NC); err != nil {
		return nil, err
	}
	return w, Eventually(ctx, func() error {
		_, err := w.JS.AccountInfo(ctx)
		return err
	})
}

// freePorts returns ports that were free a moment ago.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // it was only asked for its port
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// Start runs a built program, which ends with ctx or the world.
func (w *World) Start(ctx context.Context, name string, env []string, args ...string) (*Process, error) {
	return w.Launch(exec.CommandContext(ctx, filepath.Join(w.bins, name), args...), env)
}

// Launch starts a command with env beside the variables of this process.
func (w *World) Launch(cmd *exec.Cmd, env []string) (*Process, error) {
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
	p := &Process{Name: filepath.Base(cmd.Path), Out: out, cmd: cmd}
	w.procs = append(w.procs, p)
	return p, nil
}

// Service runs one of Sluice's services and waits until it is ready. Env is
// beside what the lab sets for all.
func (w *World) Service(ctx context.Context, name string, env ...string) (*Process, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	p, err := w.Start(ctx, name, append([]string{
		"NATS_URL=" + w.URL, "SLUICE_HTTP_ADDR=127.0.0.1:" + ports[0], "SLUICE_PPROF_ADDR=127.0.0.1:" + ports[1],
		"SLUICE_LOG_LEVEL=error", "SLUICE_MAX_REQUESTS_PER_SECOND=100000",
	}, env...))
	if err != nil {
		return nil, err
	}
	p.http, p.pprof = "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
	go func() { _, _ = io.Copy(io.Discard, p.Out) }() // ends with the process
	return p, Eventually(ctx, func() error {
		_, err := get(ctx, p.http, "/readyz")
		return err
	})
}

// Close ends all processes, the last one first, and removes their data.
func (w *World) Close() error {
	if w.NC != nil {
		w.NC.Close()
	}
	for i := len(w.procs) - 1; i >= 0; i-- {
		w.procs[i].Kill()
	}
	return os.RemoveAll(w.dir)
}

// Processes are those that were started, in that order.
func (w *World) Processes() []*Process { return w.procs }

// APICalls is how many requests of the JetStream API the server has answered.
func (w *World) APICalls(ctx context.Context) (uint64, error) {
	info, err := w.JS.AccountInfo(ctx)
	if err != nil {
		return 0, err
	}
	return info.API.Total, nil
}

// Eventually tries until f succeeds or ctx ends.
func Eventually(ctx context.Context, f func() error) error {
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

// Pause waits for a while, or until ctx ends: then it returns why.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
