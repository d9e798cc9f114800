// Package timers wakes pools, and those who look after stores, at the times they ask for, from one goroutine.
package timers

import (
	"context"
	"sync"
	"time"

	"github.com/sluicehq/sluice/services/internal/heap"
)

// Timers hold the alarms that are set.
type Timers struct {
	mu    sync.Mutex
	queue heap.Of[*Alarm]
	kick  chan struct{} // cap 1: the first alarm may have changed
}

// New returns timers that wake nobody until Run.
func New() *Timers { return &Timers{kick: make(chan struct{}, 1)} }

// Alarm wakes one of them, once for each time that it is set.
type Alarm struct {
	heap.Due
	timers *Timers
	wake   func(now time.Time)
}

// Alarm returns an alarm that is not set. Wake must not block for long: all share
// one goroutine.
func (t *Timers) Alarm(wake func(now time.Time)) *Alarm { return &Alarm{timers: t, wake: wake} }

// Set has the alarm wake at the given time, or earlier if it is set to that.
func (a *Alarm) Set(at time.Time) {
	t := a.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.Waits() && !at.Before(a.At) {
		return
	}
	t.queue.Set(a, at)
	if t.queue[0] == a {
		select {
		case t.kick <- struct{}{}:
		default:
		}
	}
}

// Forget has the alarm not wake, if it is set.
func (a *Alarm) Forget() {
	a.timers.mu.Lock()
	defer a.timers.mu.Unlock()
	a.timers.queue.Remove(a)
}

// Run wakes until ctx ends.
func (t *Timers) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, wait := t.due(time.Now())
		for _, a := range due {
			if ctx.Err() != nil {
				return nil
			}
			a.wake(time.Now())
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-t.kick:
		}
	}
}

// due takes out those whose time has come and says how long the next one has.
func (t *Timers) due(now time.Time) (as []*Alarm, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queue) > 0 && !t.queue[0].At.After(now) {
		as = append(as, t.queue[0])
		t.queue.Remove(t.queue[0])
	}
	switch {
	case len(as) > 0:
		return as, 0 // look again once these have been woken
	case len(t.queue) > 0:
		return nil, t.queue[0].At.Sub(now)
	default:
		return nil, time.Hour
	}
}
