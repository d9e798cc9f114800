package service

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/pkg/clocktest"
)

// allocate makes n MiB of memory that is really there.
func allocate(n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = make([]byte, 1<<20)
		for j := 0; j < len(all[i]); j += 4096 {
			all[i][j] = 1
		}
	}
	return all
}

// Not parallel: memory belongs to the process.
func TestMemoryGoesBackToTheSystemAtRest(t *testing.T) {
	const burst = 256
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // or Go might do it by itself
	released := func() uint64 { return measure("/memory/classes/heap/released:bytes") }
	clocktest.Run(t, func(t *testing.T) {
		m := newMemory(Env{"GOGC": "off"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.run(ctx) }()
		synctest.Wait()
		runtime.KeepAlive(allocate(burst))
		before := released()
		<-time.After((restLooks-1)*memoryLook + 1)
		if got := released(); got >= before+burst<<19 {
			t.Errorf("%d bytes went back while the process was hardly at rest", got-before)
		}
		<-time.After(2 * memoryLook)
		if got := released(); got < before+burst<<19 {
			t.Errorf("released = %d, want about %d MiB more than %d", got, burst, before)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Not parallel: memory belongs to the process.
func TestGarbageIsAllowedByWhatIsLive(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	m := newMemory(Env{})
	runtime.GC()
	m.look()
	if m.percent != smallPercent {
		t.Errorf("beside next to nothing: %d %%, want %d %%", m.percent, smallPercent)
	}
	live := allocate(smallHeap >> 20)
	runtime.GC()
	m.look()
	if m.percent != largePercent {
		t.Errorf("beside %d MiB: %d %%, want %d %%", smallHeap>>20, m.percent, largePercent)
	}
	runtime.KeepAlive(live)
	if got := debug.SetGCPercent(100); got != largePercent {
		t.Errorf("Go was told %d %%", got)
	}
	if newMemory(Env{"GOGC": "50"}).percent != 0 {
		t.Error("GOGC was set although the environment has it")
	}
}

func TestMemoryIsFreedWhereItPays(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, c := range []struct {
		name       string
		live, held uint64
		want       bool
	}{
		{"next to nothing beside little", 4 * mib, 5 * mib, false},
		{"some beside little", 4 * mib, 7 * mib, true},
		{"a tenth beside much", 200 * mib, 220 * mib, false},
		{"a third beside much", 200 * mib, 266 * mib, true},
		{"less than was live", 200 * mib, 100 * mib, false},
	} {
		if got := worthFreeing(c.live, c.held); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
