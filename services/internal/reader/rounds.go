package reader

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// maxRounds bounds the rounds over stores that are under way at once.
	maxRounds = 24
	// maxFailing bounds those over stores that could not be looked at the last time.
	// They may wait for answers in vain, and the others do not wait for them.
	maxFailing = 8
)

// rounds says when which store is to be looked after, for all stores of a set.
type rounds struct {
	tune    tuning
	changed chan struct{} // cap 1: something may be due earlier than it was

	mu      sync.Mutex
	stores  int
	healthy line
	failing line
}

// line is stores that wait for their rounds, and how many rounds may be, and
// are, under way at once.
type line struct {
	queue         turns
	most, running int
}

// turn is when a store is due.
type turn struct {
	rounds *rounds
	store  *Store

	// What follows is guarded by rounds.mu.
	at      time.Time
	begun   time.Time // of the last round
	again   time.Time // asked for while a round is under way; else zero
	index   int       // in its line
	failing bool      // its line is the one of failing stores
	running bool      // a round is under way
	dropped bool      // there is none any more
}

func newRounds(tune tuning) *rounds {
	return &rounds{tune: tune, changed: make(chan struct{}, 1), healthy: line{most: maxRounds}, failing: line{most: maxFailing}}
}

// add makes a turn for a store, which is due once somebody asks.
func (r *rounds) add(s *Store) *turn {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stores++
	return &turn{rounds: r, store: s, index: -1}
}

// rest is how long a store may be left alone that nothing happens in. With many
// stores it is longer, so that they are looked at so many times a second together.
func (r *rounds) rest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.tune.rest, time.Duration(r.stores)*r.tune.share)
}

// ask has a round made in a while, at the latest, and not before the given time
// since the last one began.
func (t *turn) ask(in, since time.Duration) {
	r := t.rounds
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now().Add(in)
	if first := t.begun.Add(since); at.Before(first) {
		at = first
	}
	switch {
	case t.dropped:
		return
	case t.running:
		if t.again.IsZero() || at.Before(t.again) {
			t.again = at
		}
		return
	case t.index < 0:
		t.at = at
		heap.Push(&r.line(t).queue, t)
	case at.Before(t.at):
		t.at = at
		heap.Fix(&r.line(t).queue, t.index)
	default:
		return
	}
	r.signal()
}

// next waits until a store is due and a round may begin; nil once ctx has ended.
func (r *rounds) next(ctx context.Context) *turn {
	for ctx.Err() == nil {
		t, wait := r.take()
		if t != nil {
			return t
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-due:
		case <-r.changed:
		}
	}
	return nil
}

// take begins a round that is due; else it says when one will be, 0 for not known.
func (r *rounds) take() (t *turn, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, l := range []*line{&r.healthy, &r.failing} {
		if l.running == l.most || len(l.queue) == 0 {
			continue
		}
		if d := l.queue[0].at.Sub(now); d > 0 {
			if wait == 0 || d < wait {
				wait = d
			}
			continue
		}
		t = heap.Pop(&l.queue).(*turn)
		l.running++
		t.running, t.begun = true, now
		return t, 0
	}
	return nil, wait
}

// done ends a round. The next one is due in a while; 0 is when the store has
// rested. Failing is a store that could not be looked at.
func (r *rounds) done(t *turn, in time.Duration, failing bool) {
	if in == 0 {
		in = r.rest()
		in += rand.N(in/2 + 1) // so that stores that came together do not stay so
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line(t).running--
	t.running, t.failing = false, failing
	t.at = time.Now().Add(in)
	if !t.again.IsZero() && t.again.Before(t.at) {
		t.at = t.again
	}
	t.again = time.Time{}
	heap.Push(&r.line(t).queue, t)
	r.signal()
}

// drop ends a round over a store that is gone.
func (r *rounds) drop(t *turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line(t).running--
	t.dropped = true
	r.stores--
	r.signal()
}

func (r *rounds) line(t *turn) *line {
	if t.failing {
		return &r.failing
	}
	return &r.healthy
}

func (r *rounds) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// turns are a heap by when they are due.
type turns []*turn

func (q turns) Len() int           { return len(q) }
func (q turns) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q turns) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is heap.Interface's.
func (q *turns) Push(x any) {
	t := x.(*turn)
	t.index = len(*q)
	*q = append(*q, t)
}

// Pop is heap.Interface's.
func (q *turns) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	t.index = -1
	return t
}
