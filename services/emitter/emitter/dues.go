package emitter

import (
	"context"
	"slices"
	"sync"
	"time"
)

// dues are the holdings whose place is to be written: those of which nothing was
// written since their claim, and the others. Each is in them once at most.
type dues struct{ first, later *dueQueue }

func newDues() *dues { return &dues{first: newDueQueue(), later: newDueQueue()} }

// moved is called by a pool whose checkpoint or state moved.
func (d *dues) moved(h *holding) { d.add(h, checkpointAfter) }

// add has the place of a pool written after a while, unless it is to be anyway.
func (d *dues) add(h *holding, wait time.Duration) {
	if !h.moved.CompareAndSwap(false, true) {
		return
	}
	q := d.later
	if h.fresh.Load() {
		q = d.first
	}
	q.add(h, time.Now().Add(wait))
}

// dueQueue has holdings in the order in which they are due.
type dueQueue struct {
	wake chan struct{} // cap 1: there is something new

	mu   sync.Mutex
	list []due
}

type due struct {
	h  *holding
	at time.Time
}

func newDueQueue() *dueQueue { return &dueQueue{wake: make(chan struct{}, 1)} }

func (q *dueQueue) add(h *holding, at time.Time) {
	q.mu.Lock()
	i, _ := slices.BinarySearchFunc(q.list, at, func(d due, at time.Time) int {
		if d.at.After(at) {
			return 1
		}
		return -1 // also where it is the same: behind those that are there
	})
	q.list = slices.Insert(q.list, i, due{h, at})
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits until one is due and takes it; nil once ctx has ended.
func (q *dueQueue) next(ctx context.Context) *holding {
	for {
		var ripe <-chan time.Time
		if first, ok := q.head(); ok {
			wait := time.Until(first.at)
			if wait <= 0 {
				return q.take()
			}
			ripe = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ripe:
		case <-q.wake:
		}
	}
}

func (q *dueQueue) head() (due, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return due{}, false
	}
	return q.list[0], true
}

// take removes the first; only next, which has seen it, may call it.
func (q *dueQueue) take() *holding {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.list[0].h
	q.list[0] = due{}
	q.list = q.list[1:]
	return h
}
