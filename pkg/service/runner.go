package service

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// ErrStoppedEarly is the error of a Runner that returned nil although nobody
// had asked it to stop.
var ErrStoppedEarly = errors.New("stopped early")

// Runner is something that runs until its context ends.
type Runner interface {
	// Name says what runs, for errors and logs.
	Name() string

	// Run blocks until ctx ends and everything is drained, and then returns
	// nil. Any other return is a failure, also an early nil.
	Run(ctx context.Context) error
}

// RunnerFunc makes a Runner of a function.
func RunnerFunc(name string, run func(context.Context) error) Runner {
	return runnerFunc{name, run}
}

type runnerFunc struct {
	name string
	run  func(context.Context) error
}

func (r runnerFunc) Name() string                  { return r.name }
func (r runnerFunc) Run(ctx context.Context) error { return r.run(ctx) }

// RunAll runs every r until ctx ends or one returns, then stops the rest and
// waits for them. A Runner that ends early is a failure, even with nil. The
// error is that of the Runner that failed first, with its name.
func RunAll(ctx context.Context, rs ...Runner) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range rs {
		g.Go(func() error { return runOne(ctx, r) })
	}
	return g.Wait()
}

func runOne(ctx context.Context, r Runner) error {
	err := r.Run(ctx)
	if err == nil && ctx.Err() == nil {
		err = ErrStoppedEarly
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name(), err)
	}
	return nil
}

// Atop returns a Runner, named as base, that runs rs on top of base: when it
// is stopped, or one of rs ends, all of rs are stopped and waited for before
// base is. When base ends first, rs are stopped too. All errors are joined,
// the cause first.
func Atop(base Runner, rs ...Runner) Runner {
	return RunnerFunc(base.Name(), func(ctx context.Context) error {
		topCtx, stopTop := context.WithCancel(ctx)
		defer stopTop()
		baseCtx, stopBase := context.WithCancel(context.WithoutCancel(ctx))
		defer stopBase()

		baseDone := make(chan error, 1)
		go func() {
			err := runOne(baseCtx, base)
			stopTop()
			baseDone <- err
		}()
		topErr := RunAll(topCtx, rs...)
		select {
		case err := <-baseDone: // base had ended already: that is the cause
			return errors.Join(err, topErr)
		default:
		}
		stopBase()
		return errors.Join(topErr, <-baseDone)
	})
}
