package service

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage may lie beside what is live before Go collects it. What a
// service allocates lives for milliseconds, so that Go's own default of 100 %
// collects some hundred times a second beside a small heap: to wait for 400 %
// took 20 % off the emitter's processor time under load. A heap that is not
// small keeps Go's default: garbage four times as large would be a quarter of
// a gigabyte beside ten thousand idle subscriptions.
const (
	smallHeap    = 16 << 20 // bytes that are live
	smallPercent = 400
	largePercent = 100
)

const (
	// memoryLook is how often a process looks at its memory.
	memoryLook = time.Second
	// restLooks is for how many looks in a row little must have been
	// allocated for the process to be at rest.
	restLooks = 5
	// atWork is what a process allocates at least between two looks while it
	// is at work, in bytes. At rest it is some ten KiB: renewals, probes,
	// metrics.
	atWork = 2 << 20
	// garbageShare is the part of what is live that may lie idle beside it at rest.
	// A collection visits all that is live: with 50,000 pools in an emitter those
	// that gave little back were a third of its processor time at rest.
	garbageShare = 4
)

// memory keeps the garbage of a process within bounds.
type memory struct {
	tune    bool // the environment does not say when to collect
	percent int
	before  uint64 // allocated in all, at the last look
	quiet   int    // looks since there was work
}

// newMemory sets GOGC where env does not have it.
func newMemory(env Env) *memory {
	m := &memory{tune: env["GOGC"] == "", quiet: restLooks}
	if m.tune {
		m.setPercent()
	}
	return m
}

// run adapts GOGC to what is live until ctx ends, and gives memory back
// to the system whenever the process has come to rest after work: by itself Go
// keeps what the last burst took for as long as it allocates too little to
// collect again.
func (m *memory) run(ctx context.Context) error {
	tick := time.NewTicker(memoryLook)
	defer tick.Stop()
	m.before = measure("/gc/heap/allocs:bytes")
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.look()
		}
	}
}

func (m *memory) look() {
	if m.tune {
		m.setPercent()
	}
	now := measure("/gc/heap/allocs:bytes")
	if m.quiet++; now-m.before >= atWork {
		m.quiet = 0
	}
	if m.quiet == restLooks && worthFreeing(usage()) {
		debug.FreeOSMemory()
	}
	m.before = now
}

// worthFreeing tells whether so much is held beside what is live, in bytes, that a
// collection pays.
func worthFreeing(live, held uint64) bool {
	return held >= live+max(atWork, live/garbageShare)
}

// usage is what was live at the last collection, and what the heap holds of the
// system's memory now.
func usage() (live, held uint64) {
	return measure("/gc/heap/live:bytes"),
		measure("/memory/classes/heap/objects:bytes") + measure("/memory/classes/heap/free:bytes")
}

// setPercent sets GOGC by what was live at the last collection.
func (m *memory) setPercent() {
	percent := smallPercent
	if measure("/gc/heap/live:bytes") >= smallHeap {
		percent = largePercent
	}
	if percent != m.percent {
		m.percent = percent
		debug.SetGCPercent(percent)
	}
}

// measure reads one of Go's runtime metrics.
func measure(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
