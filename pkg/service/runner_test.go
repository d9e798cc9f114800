package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/clocktest"
)

// record keeps what happened, in order.
type record struct {
	mu     sync.Mutex
	events []string
}

func (r *record) add(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

func (r *record) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// until returns a Runner that runs until it is stopped, takes drain to end, and
// records its end.
func (r *record) until(name string, drain time.Duration) Runner {
	return RunnerFunc(name, func(ctx context.Context) error {
		<-ctx.Done()
		<-time.After(drain)
		r.add(name + " ended")
		return nil
	})
}

func ends(name string, after time.Duration, err error) Runner {
	return RunnerFunc(name, func(ctx context.Context) error {
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
		return err
	})
}

var errBroken = errors.New("broken")

func TestRunAllIsNilAfterAStopThatWasAskedFor(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		var rec record
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := RunAll(ctx, rec.until("a", 2*time.Second), rec.until("b", time.Second)); err != nil {
			t.Errorf("RunAll = %v, want nil", err)
		}
		if got, want := rec.all(), []string{"b ended", "a ended"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestRunAllFailsWhenOneEndsEarlyAndWaitsForTheRest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"with an error", errBroken, errBroken},
		{"with nil", nil, ErrStoppedEarly},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				var rec record
				err := RunAll(t.Context(), rec.until("rest", time.Hour), ends("first", time.Second, tt.err))
				if !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), "first: ") {
					t.Errorf("RunAll = %v, want %v of first", err, tt.want)
				}
				if got, want := rec.all(), []string{"rest ended"}; !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		})
	}
}

func TestAtopStopsTheTopBeforeTheBase(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		var rec record
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := Atop(rec.until("base", 0), rec.until("a", time.Hour), rec.until("b", time.Minute)).Run(ctx)
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if got, want := rec.all(), []string{"b ended", "a ended", "base ended"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestAtopFailsWithWhateverEndsFirst(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		base   func(*record) Runner
		top    func(*record) Runner
		prefix string
		want   []string
	}{
		{
			"the base", func(*record) Runner { return ends("base", time.Second, errBroken) },
			func(r *record) Runner { return r.until("top", time.Second) }, "base: ",
			[]string{"top ended"},
		},
		{
			"the top", func(r *record) Runner { return r.until("base", time.Second) },
			func(*record) Runner { return ends("top", time.Second, errBroken) }, "top: ",
			[]string{"base ended"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				var rec record
				err := Atop(tt.base(&rec), tt.top(&rec)).Run(t.Context())
				if !errors.Is(err, errBroken) || !strings.HasPrefix(err.Error(), tt.prefix) {
					t.Errorf("Run = %v, want %q%v", err, tt.prefix, errBroken)
				}
				if got := rec.all(); !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
}
