package natstest

import (
	"testing"
	"time"
)

// awaitTimeout is how long Await tries; it is long because the machines that
// run tests are slow when it matters.
const awaitTimeout = 20 * time.Second

// Await polls cond every 10 ms until it returns nil, for 20 s at most, and
// then fails the test with the last error. What names the condition in a way
// that completes "waiting for …".
func Await(tb testing.TB, what string, cond func() error) {
	tb.Helper()
	AwaitWithin(tb, what, 10*time.Millisecond, awaitTimeout, cond)
}

// Failer is a test, or one run of a property.
type Failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// AwaitWithin is Await with another pace and another end.
func AwaitWithin(tb Failer, what string, every, atMost time.Duration, cond func() error) {
	tb.Helper()
	deadline := time.NewTimer(atMost)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			tb.Fatalf("waiting for %s: gave up after %v: %v", what, atMost, err)
		case <-tick.C:
		}
	}
}
