package service

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Defaults of the garbage collector. What a service allocates lives for
// milliseconds beside a small heap, so that Go's own default of 100 % collects
// some hundred times a second under load: 400 % took 15 % off the emitter's
// processor time. Beyond the limit Go collects more often again.
const (
	gcPercent     = 400
	gcMemoryLimit = 1 << 30
)

// tuneGC sets these defaults where the environment does not have Go's own
// variables.
func tuneGC(env Env) {
	if env["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}
	if env["GOMEMLIMIT"] == "" {
		debug.SetMemoryLimit(gcMemoryLimit)
	}
}

const (
	// trimLook is how often a process looks whether it has come to rest.
	trimLook = 5 * time.Second
	// trimBusy is what a process allocates at least between two looks while
	// it is at work, in bytes. At rest it is some hundred KiB: renewals,
	// probes, metrics.
	trimBusy = 8 << 20
)

// trimAtRest gives memory back to the system whenever the process has come to
// rest after work, until ctx ends. By itself Go keeps what the last burst took,
// sized by gcPercent, for as long as it allocates too little to collect again.
func trimAtRest(ctx context.Context) error {
	tick := time.NewTicker(trimLook)
	defer tick.Stop()
	trimmed, before := true, allocated()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := allocated()
		switch busy := now-before >= trimBusy; {
		case busy:
			trimmed = false
		case !trimmed:
			debug.FreeOSMemory()
			trimmed = true
		}
		before = now
	}
}

// allocated is how many bytes the process has allocated since it began.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
