package reader

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/services/internal/timers"
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

// turn says when the next round over a store is due. There is one at a time. A store
// at rest costs an alarm, and no goroutine.
type turn struct {
	alarm   *timers.Alarm // nil: the store is not read, and there are no rounds
	round   func(context.Context) outcome
	failing bool // the store could not be looked at the last time; of the rounds only

	mu       sync.Mutex
	at       time.Time // zero: nobody has asked for one
	begun    time.Time // the last round
	underWay bool      // a round, or the wait for a slot
}

// newTurn makes a turn that is handed to due whenever a round is to be made.
func newTurn(clock *timers.Timers, due chan<- *turn, round func(context.Context) outcome) *turn {
	t := &turn{round: round}
	t.alarm = clock.Alarm(func(time.Time) {
		t.mu.Lock()
		t.underWay = true
		t.mu.Unlock()
		due <- t
	})
	return t
}

// outcome is what a round says of the one that comes next.
type outcome struct {
	next    time.Duration // when it is due
	failing bool          // the store could not be looked at
	gone    bool          // there is none
}

// ask has a round made in a while, at the latest, and not before the given time
// since the last one began.
func (t *turn) ask(in, since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := time.Now().Add(in)
	if first := t.begun.Add(since); at.Before(first) {
		at = first
	}
	if t.alarm == nil || !t.at.IsZero() && !at.Before(t.at) {
		return
	}
	t.at = at
	if !t.underWay {
		t.alarm.Set(at)
	}
}

// serve makes the round that is due, and has the next one made in its time.
func (t *turn) serve(ctx context.Context, free slots) {
	slot := free.healthy
	if t.failing {
		slot = free.failing
	}
	if slot.Acquire(ctx, 1) != nil {
		return
	}
	t.begin()
	done := t.round(ctx)
	slot.Release(1)
	t.failing = done.failing
	if !done.gone {
		t.end()
		t.ask(done.next, 0)
	}
}

// begin begins a round: what is asked for from now on is another one.
func (t *turn) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.begun = time.Time{}, time.Now()
}

// end ends it. What was asked for meanwhile is due at its time.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.underWay = false
	if !t.at.IsZero() {
		t.alarm.Set(t.at)
	}
}
