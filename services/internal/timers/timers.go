package timers

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Wakeable is something that wants to be woken. Tick must not block for long:
// all share one goroutine.
type Wakeable interface{ Tick(now time.Time) }

// Timers holds at most one pending wake-up for each Wakeable.
type Timers struct {
	mu    sync.Mutex
	queue queue
	index map[Wakeable]*alarm
	kick  chan struct{} // cap 1: the first alarm may have changed
}

type alarm struct {
	at   time.Time
	who  Wakeable
	slot int // in the heap
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
		a = &alarm{at: at, who: w}
		t.index[w] = a
		heap.Push(&t.queue, a)
	case at.Before(a.at):
		a.at = at
		heap.Fix(&t.queue, a.slot)
	default:
		return
	}
	if a.slot == 0 {
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
		heap.Remove(&t.queue, a.slot)
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
	for len(t.queue) > 0 && !t.queue[0].at.After(now) {
		a := heap.Pop(&t.queue).(*alarm)
		delete(t.index, a.who)
		ws = append(ws, a.who)
	}
	switch {
	case len(ws) > 0:
		return ws, 0 // look again once these have been woken
	case len(t.queue) > 0:
		return nil, t.queue[0].at.Sub(now)
	default:
		return nil, time.Hour
	}
}

// queue is a heap of alarms, the earliest first.
type queue []*alarm

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].slot, q[j].slot = i, j
}

// Push is part of heap.Interface.
func (q *queue) Push(x any) {
	a := x.(*alarm)
	a.slot = len(*q)
	*q = append(*q, a)
}

// Pop is part of heap.Interface.
func (q *queue) Pop() any {
	old := *q
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return a
}
