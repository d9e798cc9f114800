package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/wire"
)

// world is the installation that one side of a round runs in.
type world struct {
	*lab.World
	o options
}

// roundTimeout bounds one side of a round.
const roundTimeout = 4 * time.Minute

// inWorld runs f in a fresh world and takes it down again.
func inWorld(ctx context.Context, o options, f side) (figure float64, err error) {
	return within(ctx, roundTimeout, o, f)
}

func within(ctx context.Context, most time.Duration, o options, f side) (figure float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	l, err := lab.Open(ctx, o.bins)
	if err != nil {
		return 0, err
	}
	w := &world{l, o}
	defer func() { err = errors.Join(err, w.close()) }()
	return f(ctx, w, o)
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

// service runs one of Sluice's services.
func (w *world) service(ctx context.Context, name string, env ...string) (*lab.Process, error) {
	if name == wire.ServiceEmitter && w.o.pprof != "" {
		env = append(env, "SLUICE_PPROF_ADDR="+w.o.pprof) // the last value counts
	}
	return w.Service(ctx, name, env...)
}

func (w *world) close() error {
	err := w.Close()
	if !w.o.verbose {
		return err
	}
	for _, p := range w.Processes() {
		user, system := p.Spent()
		fmt.Fprintf(os.Stderr, "  cpu of %s: %.2f s user, %.2f s system\n", p.Name, user.Seconds(), system.Seconds())
	}
	return err
}
