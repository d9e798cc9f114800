package simulate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
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

// rate returns the answers a second.
func rate(ps []point) (rate float64) {
	for _, p := range ps {
		rate += p.Rate / float64(len(ps))
	}
	return rate
}

func TestAFastSubscriberWithABacklogGetsTheMostAndKeepsIt(t *testing.T) {
	t.Parallel()
	ps := between(played(t, "fast"), 1, 90)
	if lo, _ := limits(between(ps, 1, 55)); lo != maximum {
		t.Errorf("the limit fell to %d, want %d throughout", lo, maximum)
	}
	if r := rate(ps); r < 19_950 { // 50 µs, and slowdowns
		t.Errorf("%.0f answers a second, want about 20,000", r)
	}
}

func TestAQueueThatLastsIsNotTakenForWorkHoweverLongItLasts(t *testing.T) {
	t.Parallel()
	s := scenario{lasts: 30 * time.Minute, workers: 20, takes: constant(50 * time.Millisecond)}
	ps := between(s.run(), 60, 30*60)
	if _, hi := limits(ps); hi > 80 { // at work, and 100 ms more
		t.Errorf("the limit went up to %d for 20 at work", hi)
	}
	if r := rate(ps); r < 395 {
		t.Errorf("%.0f answers a second, want about 400", r)
	}
	for _, p := range ps {
		if p.WaitMS > 200 {
			t.Fatalf("an event waits for %.0f ms at %.0f s", p.WaitMS, p.Seconds)
		}
	}
}

func TestASlowSubscriberThatWorksInParallelIsKeptBusy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		takes   time.Duration
		workers int
	}{
		{300 * time.Millisecond, 1000},
		{time.Second, 1000},
		{2 * time.Second, 100},
		{10 * time.Second, 100},
	} {
		t.Run(fmt.Sprintf("%v, %d at once", tt.takes, tt.workers), func(t *testing.T) {
			t.Parallel()
			begin, end := 30*tt.takes, 200*tt.takes
			s := scenario{lasts: end, workers: tt.workers, takes: constant(tt.takes)}
			ps := between(s.run(), begin.Seconds(), end.Seconds())
			most := float64(tt.workers) / tt.takes.Seconds()
			if r := rate(ps); r < 0.9*most {
				t.Errorf("%.0f answers a second, want about %.0f", r, most)
			}
		})
	}
}

func TestASlowSubscriberThatWorksOnOneAfterTheOtherIsGivenFew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		takes time.Duration
		most  int // the minimum, what is worked off in the wait aimed at, and some for the spread
	}{
		{5 * time.Millisecond, 3 * minimum},
		{50 * time.Millisecond, 2*minimum + 8},
		{time.Second, minimum + 8},
		{3 * time.Second, minimum + 4},
	} {
		t.Run(tt.takes.String(), func(t *testing.T) {
			t.Parallel()
			ps := scenario{lasts: 30 * time.Minute, workers: 1, takes: constant(tt.takes)}.run()
			if _, hi := limits(ps); hi > tt.most {
				t.Errorf("the limit went up to %d, want at most %d", hi, tt.most)
			}
		})
	}
}

func TestASubscriberThatWorksInParallelIsKeptBusyWithoutOscillation(t *testing.T) {
	t.Parallel()
	ps := played(t, "parallel")
	lo, hi := limits(between(ps, 15, 55)) // between two slowdowns
	if float64(hi) > 1.2*float64(lo) || lo < 100 {
		t.Errorf("the limit went from %d to %d: want it steady and above the 100 at work", lo, hi)
	}
	if r := rate(between(ps, 15, 90)); r < 1900 { // 100 workers, 50 ms
		t.Errorf("%.0f answers a second, want about 2000", r)
	}
}

func TestASubscriberThatBecomesSlowGetsLessAndThenMoreAgain(t *testing.T) {
	t.Parallel()
	ps := played(t, "slower")
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

// TestTheScenariosCanBePlotted writes all points, one JSON object a line, into
// the file that POINTS names: see make plots.
func TestTheScenariosCanBePlotted(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, s := range scenarios() {
		ps := s.run()
		if last := ps[len(ps)-1].Seconds; last < s.lasts.Seconds()-0.1 {
			t.Errorf("%s: the last point is at %.1f s of %v", s.name, last, s.lasts)
		}
		for _, p := range ps {
			if err := enc.Encode(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if file := os.Getenv("POINTS"); file != "" {
		if err := os.WriteFile(file, lines.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
