package client

import (
	"fmt"
	"testing"
	"time"
)

func TestEpochsOfADeposedOwnerAreStaleUntilTheyOutliveIt(t *testing.T) {
	t.Parallel()
	e := newEpochs()
	begin := time.Now()
	for i, step := range []struct {
		after time.Duration // since the beginning
		epoch uint64
		stale bool
	}{
		{0, 5, false},
		{time.Second, 4, true},
		{2 * time.Second, 5, false}, // the owner lives: the wait starts anew
		{zombieFor, 4, true},
		{zombieFor + 2*time.Second, 4, true},
		{2 * zombieFor, 3, true},
		{2*zombieFor + time.Nanosecond, 4, false}, // no zombie: epochs started over
		{2*zombieFor + time.Second, 3, true},
		{2*zombieFor + time.Second, 4, false},
		{2*zombieFor + time.Second, 6, false},
		{2*zombieFor + time.Second, 5, true},
	} {
		if got := e.stale("n", step.epoch, begin.Add(step.after)); got != step.stale {
			t.Errorf("step %d, epoch %d after %v: stale = %v, want %v", i, step.epoch, step.after, got, step.stale)
		}
	}
}

func TestEpochsAreKeptForABoundedNumberOfSubscriptions(t *testing.T) {
	t.Parallel()
	e := newEpochs()
	now := time.Now()
	for i := range maxEpochs + 10 {
		if e.stale(fmt.Sprint(i), 2, now) {
			t.Fatalf("subscription %d is stale at once", i)
		}
	}
	if len(e.seen) != maxEpochs {
		t.Errorf("%d subscriptions are kept, want %d", len(e.seen), maxEpochs)
	}
	if !e.stale("0", 1, now) || e.stale(fmt.Sprint(maxEpochs), 1, now) {
		t.Error("those that are kept are not the first ones")
	}
}
