package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/emitter"
	"github.com/sluicehq/sluice/services/healthmon/healthmon"
	"github.com/sluicehq/sluice/services/registry/registry"
	"github.com/sluicehq/sluice/services/replayer/replayer"
)

// Part is one running service.
type Part struct {
	Service string
	// Instance is the name of an emitter's session; "" for other services.
	Instance string

	env    *Env
	kill   func() // ends it at once, without a chance to tidy up; nil in process
	stop   func() error
	freeze func(frozen bool) error // holds it up, or lets it go on; nil in process

	once sync.Once
	err  error
}

// All is the four services, in the order in which Start starts them where
// nothing speaks for another.
func All() []string {
	return []string{wire.ServiceRegistry, wire.ServiceEmitter, wire.ServiceHealthmon, wire.ServiceReplayer}
}

// StartAll starts the four services in the test's process.
func (e *Env) StartAll() {
	e.T.Helper()
	for _, name := range All() {
		e.Start(name)
	}
}

// Start runs a service in the test's process until the test ends and returns
// once it is ready. Variables are given as name and value in turn.
func (e *Env) Start(name string, vars ...string) *Part {
	e.T.Helper()
	env := e.environ(vars)
	common, err := service.ParseCommon(env)
	if err != nil {
		e.T.Fatalf("start %s: %v", name, err)
	}
	d := service.Discard(common)
	out := e.output(name)
	d.Log = zerolog.New(out).Level(zerolog.InfoLevel).With().Timestamp().Logger()
	runner, err := factory(name).New(env, d)
	if err != nil {
		e.T.Fatalf("start %s: %v", name, err)
	}
	p := &Part{Service: name, env: e}
	e.launch(p, func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(e.T.Context()))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := service.RunAll(ctx, runner); err != nil {
				p.err = err
			}
		}()
		p.stop = func() error {
			cancel()
			return await(done, func() error { return p.err })
		}
		e.T.Cleanup(p.Stop)
		e.Await(name+" to be ready", func() error {
			select {
			case <-done:
				return fmt.Errorf("it ended: %w", p.err)
			default:
			}
			if ready, why := d.Health.Ready(); !ready {
				return errors.New(why)
			}
			return nil
		})
	})
	return p
}

func factory(name string) service.Factory {
	return map[string]service.Factory{
		wire.ServiceRegistry: registry.FromEnv(), wire.ServiceEmitter: emitter.FromEnv(),
		wire.ServiceHealthmon: healthmon.FromEnv(), wire.ServiceReplayer: replayer.FromEnv(),
	}[name]
}

func (e *Env) environ(vars []string) service.Env {
	env := maps.Clone(e.vars)
	maps.Copy(env, pair(vars))
	return env
}

// launch runs start and learns which session the part got.
func (e *Env) launch(p *Part, start func()) {
	e.T.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	before := make(map[string]bool)
	if p.Service == wire.ServiceEmitter {
		e.Await("the sessions", func() (err error) { before, err = e.Sessions(p.Service); return err })
	}
	start()
	if p.Service != wire.ServiceEmitter {
		return
	}
	e.Await("the session of an emitter", func() error {
		now, err := e.Sessions(p.Service)
		if err != nil {
			return err
		}
		for instance := range now {
			if !before[instance] {
				p.Instance = instance
				return nil
			}
		}
		return errAbsent
	})
}

// Stop asks the part to end, as SIGTERM does, and waits for it.
func (p *Part) Stop() {
	p.env.T.Helper()
	p.once.Do(func() {
		if err := p.stop(); err != nil {
			p.env.T.Errorf("stop %s: %v", p.Service, err)
		}
	})
}

// Freeze holds a child process up, or lets it go on.
func (p *Part) Freeze(frozen bool) {
	p.env.T.Helper()
	if err := p.freeze(frozen); err != nil {
		p.env.T.Fatalf("freeze %s: %v", p.Service, err)
	}
}

// Kill ends a child process with SIGKILL and waits until it is gone.
func (p *Part) Kill() {
	p.env.T.Helper()
	if p.kill == nil {
		p.env.T.Fatalf("%s runs in the test's process and cannot be killed", p.Service)
	}
	p.once.Do(p.kill)
}

// errHangs is returned for what does not end in time.
var errHangs = fmt.Errorf("has not ended within %v", patience)

func await(done <-chan struct{}, result func() error) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return result()
	case <-timer.C:
		return errHangs
	}
}

// maxOutput bounds what is kept of a part's output: the end of it.
const maxOutput = 256 << 10

// output collects what a part says and shows it if the test fails.
type output struct {
	mu  sync.Mutex
	buf []byte
}

func (e *Env) output(name string) *output { return newOutput(e.T, name) }

func newOutput(tb testing.TB, name string) *output {
	o := &output{}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("output of %s:\n%s", name, o.String())
		}
	})
	return o
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	if extra := len(o.buf) - maxOutput; extra > maxOutput {
		o.buf = append([]byte(nil), o.buf[extra:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(bytes.ToValidUTF8(o.buf, []byte("?")))
}
