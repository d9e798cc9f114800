package clocktest_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/clocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestManyTimersAtOnce kills the process within a second where a bubble has two
// processors: each goroutine receives from a timer that is due while the timers
// of the others fire.
func TestManyTimersAtOnce(t *testing.T) {
	clocktest.Run(t, func(*testing.T) {
		done := make(chan struct{})
		for range 8 {
			go func() {
				for range 5_000 {
					due, next := time.NewTimer(time.Millisecond), time.NewTimer(time.Millisecond)
					<-next.C
					<-due.C
				}
				done <- struct{}{}
			}()
		}
		for range 8 {
			<-done
		}
	})
}
