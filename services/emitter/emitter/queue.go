package emitter

import (
	"maps"
	"slices"
	"sync"

	"github.com/sluicehq/sluice/pkg/wire"
)

// workQueue has the names of the pools to be looked at, each once, in the order in
// which they came. A pool that is being looked at is not given out again before
// that is done; if it was added meanwhile it is given out again then.
type workQueue struct {
	wake chan struct{} // cap 1: it has a value while something can be given out

	mu     sync.Mutex
	list   []string
	dirty  map[string]struct{} // in list, or to be put there once they are done
	busy   map[string]struct{} // given out and not done
	failed map[string]struct{} // to be added when they are tried again
	every  bool                // all pools are to be compared
}

func newWorkQueue() *workQueue {
	return &workQueue{
		wake:  make(chan struct{}, 1),
		dirty: map[string]struct{}{}, busy: map[string]struct{}{}, failed: map[string]struct{}{},
	}
}

// add asks for a look at pools. What is no name of a pool is left out.
func (q *workQueue) add(names ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, name := range names {
		if _, twice := q.dirty[name]; twice || !wire.ValidName(name) {
			continue
		}
		q.dirty[name] = struct{}{}
		if _, busy := q.busy[name]; !busy {
			q.list = append(q.list, name)
			q.signal()
		}
	}
}

// addAll asks for a look at every pool that is known from anywhere.
func (q *workQueue) addAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.every = true
	q.signal()
}

// takeAll reports whether every pool is to be looked at, which is then no longer so.
func (q *workQueue) takeAll() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	every := q.every
	q.every = false
	return every
}

// get gives out the pool that has waited longest. It must be given to done.
func (q *workQueue) get() (name string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return "", false
	}
	name, q.list = q.list[0], q.list[1:]
	delete(q.dirty, name)
	q.busy[name] = struct{}{}
	if len(q.list) > 0 {
		q.signal() // in case no more are taken now
	}
	return name, true
}

// done ends the look at a pool.
func (q *workQueue) done(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, name)
	if _, again := q.dirty[name]; again {
		q.list = append(q.list, name)
		q.signal()
	}
}

// retry has a pool added at the next addFailed.
func (q *workQueue) retry(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed[name] = struct{}{}
}

// addFailed adds the pools that are to be tried again.
func (q *workQueue) addFailed() {
	q.mu.Lock()
	failed := slices.Collect(maps.Keys(q.failed))
	clear(q.failed)
	q.mu.Unlock()
	q.add(failed...)
}

// signal wakes whoever takes from the queue.
func (q *workQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
