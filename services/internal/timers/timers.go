// Package timers wakes pools at the times they ask for, from one goroutine.
package timers

import (
	"context"
	"sync"
	"time"

	"github.com/sluicehq/sluice/services/internal/heap"
)

// Wakeable is something that wants to be woken. Tick must not block for long:
// all share one goroutine.
type Wakeable interface{ Tick(now time.Time) }

// Timers holds at most one pending wake-up for each Wakeable.
type Timers struct {
	mu    sync.Mutex
	queue heap.Of[*alarm]
	index map[Wakeable]*alarm
	kick  chan struct{} // cap 1: the first alarm may have changed
}

type alarm struct {
	heap.Due
	who Wakeable
}

// New returns timers that wake nobody until Run.
func New() *Timers {
	return &Timers{index: map[Wakeable]*alarm{}, kick: make(chan struct{}, 1)}
}

// Set wakes w at the given time, or earlier if it was to be woken earlier.
func (t *Timers) Set(w Wakeable, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.index[w]
	switch {
	case !ok:
		a = &alarm{who: w}
		t.index[w] = a
	case !at.Before(a.At):
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

// Forget drops the pending wake-up of w, if there is one.
func (t *Timers) Forget(w Wakeable) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.index[w]; ok {
		t.queue.Remove(a)
		delete(t.index, w)
	}
}

// Run wakes until ctx ends.
func (t *Timers) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, wait := t.due(time.Now())
		for _, w := range due {
			if ctx.Err() != nil {
				return nil
			}
			w.Tick(time.Now())
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
func (t *Timers) due(now time.Time) (ws []Wakeable, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queue) > 0 && !t.queue[0].At.After(now) {
		a := t.queue[0]
		t.queue.Remove(a)
		delete(t.index, a.who)
		ws = append(ws, a.who)
	}
	switch {
	case len(ws) > 0:
		return ws, 0 // look again once these have been woken
	case len(t.queue) > 0:
		return nil, t.queue[0].At.Sub(now)
	default:
		return nil, time.Hour
	}
}
