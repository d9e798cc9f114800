package limit_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/services/emitter/internal/limit"
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

func TestAWaitBeyondTheTargetShrinksTheLimitUntilItIsForgotten(t *testing.T) {
	t.Parallel()
	c := &clock{}
	l := grown(t, c)
	for range 1000 {
		l.Answered(c.after(10*time.Millisecond), limit.Target*3, l.Value())
	}
	if l.Value() > 8 {
		t.Errorf("limit = %d while events wait for three times the target", l.Value())
	}
	for range 20_000 { // more than two minutes: this is how fast the subscriber is now
		l.Answered(c.after(10*time.Millisecond), limit.Target*3, l.Value())
	}
	if l.Value() < 100 {
		t.Errorf("limit = %d, want it to have grown again", l.Value())
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
