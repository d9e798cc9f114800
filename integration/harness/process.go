package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/natstest"
)

// programs are the binaries that tests run as processes, each built when it is
// first asked for and then used by all tests of the package.
type programs struct {
	mu    sync.Mutex
	dir   string
	built map[string]string // by import path
}

// built is shared by the tests of a process, as testing.M is.
var built programs

// Main runs the tests of a package, looks for goroutines that they left behind
// and removes the binaries that were built for them.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(natstest.ServersLeaks()...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := built.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func (p *programs) remove() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}

// Program builds a main package, unless it is built, and returns the path of
// its binary. Module is the directory of its module relative to the
// repository's root.
func Program(tb testing.TB, module, pkg string) string {
	tb.Helper()
	built.mu.Lock()
	defer built.mu.Unlock()
	if path := built.built[pkg]; path != "" {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "sluice-programs-")
		if err != nil {
			tb.Fatalf("directory for programs: %v", err)
		}
		built.dir, built.built = dir, make(map[string]string)
	}
	path := filepath.Join(built.dir, filepath.Base(pkg))
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Minute) // the first build of a cold cache
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	cmd.Dir = filepath.Join(Root(tb), module)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	built.built[pkg] = path
	return path
}

// Root is the root of the repository.
func Root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatalf("working directory: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}

// FreeAddr returns a loopback address that nobody listened on a moment ago.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("look for a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Process is a child process. It is killed when the test ends.
type Process struct {
	Output fmt.Stringer // what it said, both streams

	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

// Exec starts a program with env added to the test's environment.
func Exec(tb testing.TB, name string, env []string, path string, args ...string) *Process {
	tb.Helper()
	out := newOutput(tb, name)
	p := &Process{Output: out, name: name, done: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children go with it
	p.cmd.WaitDelay = 10 * time.Second
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	tb.Cleanup(p.Kill)
	return p
}

// Ended returns an error once the process has ended.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended: %w", p.name, errors.Join(p.err, errors.New(lastLines(p.Output.String()))))
	default:
		return nil
	}
}

func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// Kill ends the process and its children with SIGKILL and waits until it is
// gone. Killing one that has ended does nothing.
func (p *Process) Kill() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // fails where it has just ended
	<-p.done
}

// Wait waits until the process has ended and returns an error unless it ended
// with status 0.
func (p *Process) Wait() error { return await(p.done, func() error { return p.err }) }

// Interrupt asks the process to end and waits until it has, with status 0.
func (p *Process) Interrupt(sig syscall.Signal) error {
	if err := syscall.Kill(p.cmd.Process.Pid, sig); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, errors.Join(err, p.Ended()))
	}
	return await(p.done, func() error { return p.err })
}

// freeze holds the process up, or lets it go on.
func (p *Process) freeze(frozen bool) error {
	sig := syscall.SIGCONT
	if frozen {
		sig = syscall.SIGSTOP
	}
	return syscall.Kill(p.cmd.Process.Pid, sig)
}

// Spawn runs a service as a child process until the test ends and returns once
// it is ready. Variables are given as name and value in turn.
func (e *Env) Spawn(name string, vars ...string) *Part {
	e.T.Helper()
	path := Program(e.T, ".", "./services/"+name)
	p := &Part{Service: name, env: e}
	e.launch(p, func() {
		const tries = 3 // somebody else may take the port before the service does
		for i := 1; ; i++ {
			proc, err := e.spawn(name, path, vars)
			if err == nil {
				p.kill = proc.Kill
				p.stop = func() error { return proc.Interrupt(syscall.SIGTERM) }
				p.freeze = proc.freeze
				e.T.Cleanup(func() { // runs before the process's own, which kills
					if e.gaveUp.Load() {
						_ = proc.Interrupt(syscall.SIGQUIT) // it prints its goroutines, and ends with an error
						return
					}
					p.Stop()
				})
				return
			}
			if i == tries {
				e.T.Fatalf("spawn %s: %v", name, err)
			}
		}
	})
	return p
}

func (e *Env) spawn(name, path string, vars []string) (*Process, error) {
	e.T.Helper()
	addr := FreeAddr(e.T)
	env := e.environ(vars)
	env["SLUICE_HTTP_ADDR"] = addr
	var list []string
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	proc := Exec(e.T, name, list, path)
	var ended error
	e.Await(name+" to be ready", func() error {
		if ended = proc.Ended(); ended != nil {
			return nil
		}
		return Ready(e.T, addr)
	})
	return proc, ended
}

// Ready asks a service over HTTP whether it is ready.
func Ready(tb testing.TB, addr string) error {
	return Get(tb, "http://"+addr+"/readyz?verbose")
}

// Get reads a page and returns an error unless its status is 200.
func Get(tb testing.TB, url string) error {
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

// NATS is a nats-server as a child process.
type NATS struct {
	tb   testing.TB
	addr string
	args []string
	proc *Process
}

// StartNATS runs a nats-server, the one of go.mod, as a process of its own.
func StartNATS(tb testing.TB) *NATS {
	tb.Helper()
	s := &NATS{tb: tb, addr: FreeAddr(tb), args: []string{"-js", "-sd", tb.TempDir()}}
	s.start()
	return s
}

// StartLeaf runs two nats-servers, one of them a leaf node of the other. The
// hub alone has JetStream.
func StartLeaf(tb testing.TB) (hub, leaf *NATS) {
	tb.Helper()
	leafAddr := FreeAddr(tb)
	config := func(text string) string {
		path := filepath.Join(tb.TempDir(), "nats.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		return path
	}
	hub = &NATS{tb: tb, addr: FreeAddr(tb), args: []string{
		"-js", "-sd", tb.TempDir(), "-c", config(fmt.Sprintf("leafnodes { listen: %q }\n", leafAddr)),
	}}
	hub.start()
	leaf = &NATS{tb: tb, addr: FreeAddr(tb), args: []string{
		"-c", config(fmt.Sprintf("leafnodes { remotes: [{ url: %q }] }\n", "nats-leaf://"+leafAddr)),
	}}
	leaf.start()
	return hub, leaf
}

// URL is where clients connect. It stays the same over Restart.
func (s *NATS) URL() string { return "nats://" + s.addr }

func (s *NATS) start() {
	s.tb.Helper()
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		s.tb.Fatal(err)
	}
	path := Program(s.tb, ".", "github.com/nats-io/nats-server/v2")
	s.proc = Exec(s.tb, "nats-server", nil, path,
		append([]string{"-a", host, "-p", port}, s.args...)...)
	natstest.Await(s.tb, "the nats-server", func() error {
		nc, err := nats.Connect(s.URL())
		if err == nil {
			nc.Close()
		}
		return errors.Join(err, s.proc.Ended())
	})
}

// Kill ends the server with SIGKILL. What it had stored stays.
func (s *NATS) Kill() { s.proc.Kill() }

// Restart starts the server again on the same port and the same store.
func (s *NATS) Restart() {
	s.tb.Helper()
	s.proc.Kill()
	s.start()
}
