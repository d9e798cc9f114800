package reader

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxRounds bounds the rounds over stores that are under way at once.
	maxRounds = 24
	// maxFailing bounds those over stores that could not be looked at the last time.
	// They may wait for answers in vain, and the others do not wait for them.
	maxFailing = 8
)

// slots are for rounds over stores, those that failed the last time apart.
type slots struct{ healthy, failing *semaphore.Weighted }

func newSlots() slots {
	return slots{semaphore.NewWeighted(maxRounds), semaphore.NewWeighted(maxFailing)}
}

// turn says when the next round over a store is due.
type turn struct {
	sooner chan struct{} // cap 1: it is due earlier than it was

	mu    sync.Mutex
	at    time.Time // zero: nobody has asked for one
	begun time.Time // the last round
}

func newTurn() *turn { return &turn{sooner: make(chan struct{}, 1)} }

// ask has a round made in a while, at the latest, and not before the given time
// since the last one began.
func (t *turn) ask(in, since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := time.Now().Add(in)
	if first := t.begun.Add(since); at.Before(first) {
		at = first
	}
	if !t.at.IsZero() && !at.Before(t.at) {
		return
	}
	t.at = at
	select {
	case t.sooner <- struct{}{}:
	default:
	}
}

// outcome is what a round says of the one that comes next.
type outcome struct {
	next    time.Duration // when it is due
	failing bool          // the store could not be looked at
	gone    bool          // there is none
}

// serve makes rounds, one at a time, until ctx ends or the store is gone.
func (t *turn) serve(ctx context.Context, free slots, round func() outcome) {
	for slot := free.healthy; t.wait(ctx) && slot.Acquire(ctx, 1) == nil; {
		t.begin()
		done := round()
		slot.Release(1)
		if done.gone {
			return
		}
		if slot = free.healthy; done.failing {
			slot = free.failing
		}
		t.ask(done.next, 0)
	}
}

// wait returns true when a round is due, false once ctx has ended.
func (t *turn) wait(ctx context.Context) bool {
	for ctx.Err() == nil {
		t.mu.Lock()
		at := t.at
		t.mu.Unlock()
		var due <-chan time.Time
		if !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
		case <-t.sooner:
		case <-due:
			return true
		}
	}
	return false
}

// begin begins a round: what is asked for from now on is another one.
func (t *turn) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.begun = time.Time{}, time.Now()
}
