package main

import (
	"math"
	"strings"
	"testing"
)

// played runs the scenario whose name begins so.
func played(t *testing.T, name string) []point {
	t.Helper()
	for _, s := range scenarios() {
		if strings.HasPrefix(s.name, name) {
			return s.run()
		}
	}
	t.Fatalf("no scenario %q", name)
	return nil
}

// between returns the points from one second to another.
func between(ps []point, from, to float64) []point {
	var in []point
	for _, p := range ps {
		if p.Seconds >= from && p.Seconds <= to {
			in = append(in, p)
		}
	}
	return in
}

// limits returns the lowest and the highest limit.
func limits(ps []point) (lo, hi int) {
	lo = math.MaxInt
	for _, p := range ps {
		lo, hi = min(lo, p.Limit), max(hi, p.Limit)
	}
	return lo, hi
}

func TestAFastSubscriberWithABacklogGetsTheMostAndKeepsIt(t *testing.T) {
	t.Parallel()
	lo, _ := limits(between(played(t, "fast"), 1, 10))
	if lo != maximum {
		t.Errorf("the limit fell to %d, want %d throughout", lo, maximum)
	}
}

func TestASubscriberThatWorksInParallelIsKeptBusyWithoutOscillation(t *testing.T) {
	t.Parallel()
	ps := between(played(t, "parallel"), 15, 60)
	lo, hi := limits(ps)
	if float64(hi) > 1.2*float64(lo) || lo < 100 {
		t.Errorf("the limit went from %d to %d: want it steady and above the 100 at work", lo, hi)
	}
	var rate float64
	for _, p := range ps {
		rate += p.Rate / float64(len(ps))
	}
	if rate < 1900 { // 100 workers, 50 ms
		t.Errorf("%.0f answers a second, want about 2000", rate)
	}
}

func TestASubscriberThatBecomesSlowGetsLessAndThenMoreAgain(t *testing.T) {
	t.Parallel()
	ps := played(t, "slow")
	if _, hi := limits(between(ps, 24, 30)); hi > 2*minimum {
		t.Errorf("slow: the limit is %d, want about %d", hi, minimum)
	}
	for _, p := range between(ps, 24, 29) {
		if p.WaitMS > 200 {
			t.Errorf("slow: an event waits for %.0f ms at %.1f s", p.WaitMS, p.Seconds)
		}
	}
	if lo, _ := limits(between(ps, 48, 50)); lo < maximum/2 {
		t.Errorf("fast again: the limit is %d, want it on its way to %d", lo, maximum)
	}
}

func TestASubscriberThatFailsGetsLessAndThenMoreAgain(t *testing.T) {
	t.Parallel()
	ps := played(t, "failing")
	if _, hi := limits(between(ps, 16, 20)); hi > 4*minimum {
		t.Errorf("failing: the limit is %d", hi)
	}
	if lo, _ := limits(between(ps, 38, 40)); lo < maximum/2 {
		t.Errorf("well again: the limit is %d, want it on its way to %d", lo, maximum)
	}
}
