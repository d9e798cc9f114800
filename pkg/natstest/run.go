package natstest

import (
	"context"
	"sync"
	"testing"
)

// Run runs a service until the test ends, or stop is called, which waits for its
// end. The test fails if run returns an error.
func Run(tb testing.TB, run func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("Run = %v, want nil", err)
		}
	})
	tb.Cleanup(stop)
	return stop
}
