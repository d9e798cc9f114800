// Package clocktest runs tests under the fake clock of testing/synctest. Tests
// call Run instead of synctest.Test.
package clocktest

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// processors is the process's: GOMAXPROCS has one value for all.
var processors sync.Mutex

// Run is synctest.Test on one processor at a time, one call after the other.
//
// All timers of a bubble share one context of the race detector. With several
// processors a goroutine that receives from a timer's channel may use it while
// another timer fires, and the process dies of a nil pointer in
// __tsan::SlotLock (seen with Go 1.26.8: runtime/time.go, unlockAndRun, which
// timer.maybeRunChan calls). On one processor the two can't meet. Races are
// found all the same: the detector goes by what is ordered, not by the clock.
func Run(t *testing.T, f func(*testing.T)) {
	t.Helper()
	processors.Lock()
	defer processors.Unlock()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}
