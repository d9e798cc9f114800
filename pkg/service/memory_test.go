package service

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

// released is how many bytes the heap has given back to the system.
func released() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Not parallel: memory belongs to the process.
func TestMemoryGoesBackToTheSystemAtRest(t *testing.T) {
	const burst = 256 << 20
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // or Go might do it by itself
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- trimAtRest(ctx) }()
		synctest.Wait()
		work := make([][]byte, 0, burst>>20)
		for range cap(work) {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			work = append(work, b)
		}
		before := released()
		work = nil //nolint:ineffassign,wastedassign // let it go
		<-time.After(trimLook + 1)
		if got := released(); got >= before+burst/2 {
			t.Errorf("%d bytes went back while the process was at work", got-before)
		}
		<-time.After(trimLook)
		if got := released(); got < before+burst/2 {
			t.Errorf("released = %d, want about %d more than %d", got, burst, before)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
