package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/breaker"
	"github.com/sluicehq/sluice/pkg/clocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// fail makes n calls that fail.
func fail(t *testing.T, b *breaker.Breaker, n int) {
	t.Helper()
	for range n {
		done, err := b.Allow()
		if err != nil {
			t.Fatalf("Allow = %v, want nil", err)
		}
		done(false)
	}
}

func wantState(t *testing.T, b *breaker.Breaker, want breaker.State) {
	t.Helper()
	if got := b.State(); got != want {
		t.Errorf("state = %s, want %s", got, want)
	}
}

func wantOpen(t *testing.T, b *breaker.Breaker) {
	t.Helper()
	if done, err := b.Allow(); !errors.Is(err, breaker.ErrOpen) || done != nil {
		t.Errorf("Allow = %v, want ErrOpen", err)
	}
}

func TestConsecutiveFailuresOpenIt(t *testing.T) {
	t.Parallel()
	b := breaker.New(breaker.Config{Failures: 3, OpenFor: time.Minute})
	fail(t, b, 2)
	if err := b.Do(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	fail(t, b, 2)
	wantState(t, b, breaker.Closed) // the success in between counts
	fail(t, b, 1)
	wantState(t, b, breaker.Open)
	wantOpen(t, b)
}

func TestTheZeroConfigHasTheDefaults(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{})
		fail(t, b, breaker.DefaultFailures-1)
		wantState(t, b, breaker.Closed)
		fail(t, b, 1)
		wantState(t, b, breaker.Open)
		if got, want := b.RetryIn().Round(time.Microsecond), breaker.DefaultOpenFor; got != want {
			t.Errorf("RetryIn = %s, want %s", got, want)
		}
	})
}

func TestOneProbePassesAfterOpenForAndDecides(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		success bool
		want    breaker.State
	}{
		{"a success closes it", true, breaker.Closed},
		{"a failure opens it for as long again", false, breaker.Open},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				b := breaker.New(breaker.Config{Failures: 1, OpenFor: time.Minute})
				fail(t, b, 1)
				<-time.After(time.Minute - 1)
				wantOpen(t, b)
				<-time.After(b.RetryIn())
				if got := b.RetryIn(); got != 0 {
					t.Errorf("RetryIn when it is over = %s, want 0", got)
				}
				wantState(t, b, breaker.HalfOpen)
				done, err := b.Allow()
				if err != nil {
					t.Fatalf("the probe: Allow = %v, want nil", err)
				}
				wantOpen(t, b) // for everybody but the probe
				done(tt.success)
				wantState(t, b, tt.want)
				if tt.want == breaker.Open {
					<-time.After(time.Minute - 1)
					wantState(t, b, breaker.Open)
				}
			})
		})
	}
}

func TestACancelledCallCountsNeitherWay(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Failures: 2, OpenFor: time.Minute})
		cancelled := fmt.Errorf("call: %w", context.Canceled)
		fail(t, b, 1)
		for range 10 {
			if err := b.Do(func() error { return cancelled }); !errors.Is(err, cancelled) {
				t.Fatalf("Do = %v, want the call's error", err)
			}
		}
		wantState(t, b, breaker.Closed)
		fail(t, b, 1) // the second in a row, the cancelled ones left out
		wantState(t, b, breaker.Open)

		<-time.After(b.RetryIn())
		_ = b.Do(func() error { return cancelled })
		wantState(t, b, breaker.HalfOpen)
		if err := b.Do(func() error { return nil }); err != nil {
			t.Errorf("after a cancelled probe: Do = %v, want another probe to pass", err)
		}
		wantState(t, b, breaker.Closed)
	})
}

func TestADeadlineIsAFailure(t *testing.T) {
	t.Parallel()
	b := breaker.New(breaker.Config{Failures: 1})
	_ = b.Do(func() error { return context.DeadlineExceeded })
	wantState(t, b, breaker.Open)
}

func TestAPanicIsAFailure(t *testing.T) {
	t.Parallel()
	b := breaker.New(breaker.Config{Failures: 1})
	func() {
		defer func() { _ = recover() }()
		_ = b.Do(func() error { panic("on purpose") })
	}()
	wantState(t, b, breaker.Open)
}

func TestOnlyTheFirstOutcomeOfACallCounts(t *testing.T) {
	t.Parallel()
	b := breaker.New(breaker.Config{Failures: 2})
	done, err := b.Begin()
	if err != nil {
		t.Fatal(err)
	}
	done(errBroken)
	done(errBroken)
	wantState(t, b, breaker.Closed)
}

func TestAnOutcomeFromBeforeAnOpeningDoesNotCount(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Failures: 1, OpenFor: time.Minute})
		slow, err := b.Begin()
		if err != nil {
			t.Fatal(err)
		}
		fail(t, b, 1)
		<-time.After(b.RetryIn())
		wantState(t, b, breaker.HalfOpen)
		slow(errBroken)
		wantState(t, b, breaker.HalfOpen)
	})
}

func TestChangesAreToldInOrderAndTheListenerMayAsk(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		var got []string
		var b *breaker.Breaker
		b = breaker.New(breaker.Config{
			Name: "kv", Failures: 1, OpenFor: time.Minute,
			OnChange: func(name string, from, to breaker.State) {
				got = append(got, fmt.Sprintf("%s: %s to %s, now %s", name, from, to, b.State()))
			},
		})
		fail(t, b, 1)
		<-time.After(b.RetryIn())
		if err := b.Do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"kv: closed to open, now open", "kv: open to half_open, now half_open",
			"kv: half_open to closed, now closed",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestManyCallersAtOnceSeeOneOpeningAndOneProbe(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		var opened int // OnChange is called one at a time
		b := breaker.New(breaker.Config{Failures: 5, OpenFor: time.Minute, OnChange: func(_ string, _, to breaker.State) {
			if to == breaker.Open {
				opened++
			}
		}})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { _ = b.Do(func() error { <-time.After(time.Second); return errBroken }) })
		}
		wg.Wait()
		if opened != 1 {
			t.Errorf("opened %d times, want once", opened)
		}
		<-time.After(b.RetryIn())
		var mu sync.Mutex
		var passed int
		for range 50 {
			wg.Go(func() {
				_ = b.Do(func() error { mu.Lock(); passed++; mu.Unlock(); <-time.After(time.Second); return nil })
			})
		}
		wg.Wait()
		if passed != 1 {
			t.Errorf("%d calls passed a half-open breaker at once, want 1", passed)
		}
	})
}
