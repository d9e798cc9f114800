package registry

import (
	"context"
	"sync"
)

const (
	maxPending = 1024 // requests that are taken on and not yet answered
	maxWorking = 64   // requests that are at work at the same time
)

// dispatcher runs jobs on a bounded number of goroutines. Jobs of one key run
// one after the other in the order of submit; jobs without a key run beside
// everything.
type dispatcher struct {
	work chan struct{} // a slot for each job at work
	done sync.WaitGroup

	mu      sync.Mutex
	lanes   map[string][]func() // what waits behind the job of a key at work
	pending int
	closed  bool
}

func newDispatcher() *dispatcher {
	return &dispatcher{work: make(chan struct{}, maxWorking), lanes: make(map[string][]func())}
}

// submit takes job on, or returns false where maxPending are waiting or the
// dispatcher is closed. It does not block.
func (d *dispatcher) submit(key string, job func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.pending >= maxPending {
		return false
	}
	d.pending++
	if key != "" {
		if waiting, busy := d.lanes[key]; busy {
			d.lanes[key] = append(waiting, job)
			return true
		}
		d.lanes[key] = nil
	}
	d.done.Add(1)
	go d.run(key, job)
	return true
}

func (d *dispatcher) run(key string, job func()) {
	defer d.done.Done()
	for job != nil {
		d.work <- struct{}{}
		job()
		<-d.work
		job = d.next(key)
	}
}

// next returns the job behind the one that has just ended, nil if there is none.
func (d *dispatcher) next(key string) func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending--
	if key == "" {
		return nil
	}
	waiting := d.lanes[key]
	if len(waiting) == 0 {
		delete(d.lanes, key)
		return nil
	}
	d.lanes[key] = waiting[1:]
	return waiting[0]
}

// close takes no more jobs and waits for those taken on, until ctx ends.
func (d *dispatcher) close(ctx context.Context) {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		d.done.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
