package limit_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/services/internal/limit"
)

// clock is a time that tests move.
type clock struct{ now time.Time }

func (c *clock) after(d time.Duration) time.Time {
	c.now = c.now.Add(d)
	return c.now
}

// grown returns a limit that has reached its maximum of 256.
func grown(t *testing.T, c *clock) *limit.Limit {
	t.Helper()
	l := limit.New(4, 256)
	for range 1000 {
		l.Answered(c.after(time.Millisecond), time.Millisecond, l.Value())
	}
	if l.Value() != 256 {
		t.Fatalf("limit = %d, want 256", l.Value())
	}
	return &l
}

func TestTheLimitGrowsOnlyWhileItHoldsDeliveriesBack(t *testing.T) {
	t.Parallel()
	c := &clock{}
	l := limit.New(4, 256)
	for range 1000 {
		l.Answered(c.after(time.Millisecond), time.Millisecond, 3)
	}
	if l.Value() != 4 {
		t.Errorf("limit = %d although no more than 3 were in flight, want 4", l.Value())
	}
}

func TestOneEventThatAlwaysFailsDoesNotCutTheLimit(t *testing.T) {
	t.Parallel()
	c := &clock{}
	l := grown(t, c)
	for i := range 10_000 {
		if i%50 == 0 {
			l.Failed(c.after(0))
		}
		l.Answered(c.after(time.Millisecond), time.Millisecond, l.Value())
	}
	if l.Value() != 256 {
		t.Errorf("limit = %d, want 256", l.Value())
	}
}

func TestABurstOfFailuresCutsTheLimitOnce(t *testing.T) {
	t.Parallel()
	c := &clock{}
	l := grown(t, c)
	for range 256 {
		l.Failed(c.after(0))
	}
	if l.Value() != 128 {
		t.Errorf("limit = %d, want 128", l.Value())
	}
	for range 10 {
		c.after(time.Second)
		for range 256 {
			l.Failed(c.now)
		}
	}
	if l.Value() != 4 {
		t.Errorf("limit = %d after ten more, want the minimum of 4", l.Value())
	}
}

func TestAnswersThatStayLateWhenTheLimitIsLowerAreTakenForWork(t *testing.T) {
	t.Parallel()
	c := &clock{}
	l := grown(t, c)
	late := func(n int) (lowest int) {
		lowest = l.Value()
		for range n {
			l.Answered(c.after(10*time.Millisecond), limit.Target*3, l.Value())
			lowest = min(lowest, l.Value())
		}
		return lowest
	}
	if v := late(200); v > 8 {
		t.Errorf("limit = %d when answers become late by three times the target", v)
	}
	late(1000)
	if l.Value() != 256 {
		t.Errorf("limit = %d after a slowdown that made no difference, want 256", l.Value())
	}
}

func TestASlowdownComesOnceAMinuteAndOnlyWhileDeliveriesAreHeldBack(t *testing.T) {
	t.Parallel()
	c := &clock{}
	l := grown(t, c)
	dips := func(inFlight int) (n int) {
		for range 10 * 60 * 100 { // ten minutes
			before := l.Value()
			l.Answered(c.after(10*time.Millisecond), time.Millisecond, inFlight)
			if l.Value() < before {
				n++
			}
		}
		return n
	}
	if n := dips(3); n != 0 {
		t.Errorf("%d slowdowns in ten minutes although no more than 3 were in flight", n)
	}
	if n := dips(256); n != 10 {
		t.Errorf("%d slowdowns in ten minutes, want 10", n)
	}
}

func TestASlowdownIsOverOnceWhatWasInFlightIsAnsweredAndARoundMore(t *testing.T) {
	t.Parallel()
	c := &clock{}
	l := grown(t, c)
	const inFlight = 30 // of 256: nothing is held back
	for n := 0; l.Value() == 256 && n < 200; n++ {
		l.Answered(c.after(time.Millisecond), limit.Target, inFlight)
	}
	low := l.Value()
	if low != 4 {
		t.Fatalf("limit = %d after late answers ended slow start, want the minimum of 4", low)
	}
	for range inFlight + low + 16 { // and by 16 the limit moves
		l.Answered(c.after(time.Millisecond), time.Millisecond, low)
	}
	if l.Value() == low {
		t.Error("the slowdown goes on")
	}
}

func TestSlowdownsTakeATenthOfTheTimeAtMost(t *testing.T) {
	t.Parallel()
	c := &clock{}
	l := limit.New(4, 64)
	const takes = 20 * time.Second
	const n = 100_000
	low := 0
	for range n {
		l.Answered(c.after(takes/64), takes, l.Value())
		if l.Value() < 64 {
			low++
		}
	}
	if share := float64(low) / n; share > 0.15 { // with the way back
		t.Errorf("the limit is lowered for %.0f %% of the time", share*100)
	}
}

func TestTheLimitStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.IntRange(1, 100).Draw(t, "min")
		hi := rapid.IntRange(lo, 2000).Draw(t, "max")
		l, c := limit.New(lo, hi), &clock{}
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			at := c.after(time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "pause")))
			if rapid.Bool().Draw(t, "failed") {
				l.Failed(at)
			} else {
				took := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "took"))
				l.Answered(at, took, rapid.IntRange(1, 2*hi).Draw(t, "in flight"))
			}
			if v := l.Value(); v < lo || v > hi {
				t.Fatalf("limit = %d, want %d to %d", v, lo, hi)
			}
		}
	})
}
