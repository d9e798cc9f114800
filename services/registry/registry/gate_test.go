package registry

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/clocktest"
)

func TestTheGateProbesAtGrowingIntervalsAndOpensAgain(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		g := newGate(zerolog.Nop())
		var calls []time.Time
		fail := func(context.Context) error {
			calls = append(calls, time.Now())
			return nats.ErrNoResponders
		}
		const step = 10 * time.Millisecond
		for range int(time.Minute / step) { // a request every 10 ms for a minute
			if err := g.do(t.Context(), fail); !errors.Is(err, errAway) || !errors.Is(err, bucket.ErrNotSent) {
				t.Fatalf("err = %v", err)
			}
			<-time.After(step)
		}
		if n := len(calls); n < 10 || n > 40 {
			t.Errorf("%d of 6000 calls got through, want 10 to 40", n)
		}
		early, late := calls[gateFailures].Sub(calls[gateFailures-1]), calls[len(calls)-1].Sub(calls[len(calls)-2])
		if early > time.Second || late < 2*time.Second || late > 8*time.Second {
			t.Errorf("probes %v apart at first and %v in the end", early, late)
		}
		g.hurry()
		<-time.After(minProbeWait) // the breaker's own pause
		if err := g.do(t.Context(), func(context.Context) error { return nil }); err != nil {
			t.Errorf("probe after a reconnect: %v", err)
		}
		if err := g.do(t.Context(), func(context.Context) error { return jetstream.ErrStreamNotFound }); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("open gate: %v", err)
		}
	})
}

func TestTheGateCutsCallsShort(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		g := newGate(zerolog.Nop())
		began := time.Now()
		err := g.do(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if took := time.Since(began); took != callTimeout || !errors.Is(err, errAway) || errors.Is(err, bucket.ErrNotSent) {
			t.Errorf("%v after %v, want an unknown outcome after %v", err, took, callTimeout)
		}
		// Callers with hardly any time left, or that gave up, prove nothing.
		for range 10 * gateFailures {
			ctx, cancel := context.WithTimeout(t.Context(), fairTimeout/2)
			_ = g.do(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			cancel()
			_ = g.do(t.Context(), func(context.Context) error { return context.Canceled })
		}
		if err := g.do(t.Context(), func(context.Context) error { return nil }); err != nil {
			t.Errorf("the gate shut without a reason: %v", err)
		}
		if err := g.do(t.Context(), func(context.Context) error { return jetstream.ErrKeyNotFound }); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Errorf("answers count as failures: %v", err)
		}
	})
}

func TestASlowServerIsNotTakenForOneThatIsAway(t *testing.T) {
	t.Parallel()
	slow := func(ctx context.Context) error {
		select {
		case <-time.After(1400 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	clocktest.Run(t, func(t *testing.T) {
		g := newGate(zerolog.Nop())
		for range 2 * gateFailures {
			ctx, cancel := context.WithTimeout(t.Context(), answerWithin)
			if err := g.do(ctx, slow); err != nil {
				t.Errorf("a slow call: %v", err)
			}
			cancel()
		}
		for _, left := range []time.Duration{answerWithin, time.Second, lookAgain} {
			ctx, cancel := context.WithTimeout(t.Context(), left)
			if err := g.do(ctx, silent); !errors.Is(err, errAway) || errors.Is(err, bucket.ErrNotSent) {
				t.Errorf("a silent call with %v left: %v, want an unknown outcome", left, err)
			}
			if err := g.do(ctx, func(context.Context) error { return nil }); err != nil {
				t.Errorf("with %v left no time remained to look what became of it: %v", left, err)
			}
			cancel()
		}
	})
}

func TestTheGateOpensByItselfWithoutRequests(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		g := newGate(zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		back := time.Now().Add(20 * time.Second)
		told := make(chan bool, 8)
		ended := make(chan error, 1)
		go func() {
			ended <- g.run(ctx, func(context.Context) error {
				if time.Now().Before(back) {
					return nats.ErrNoResponders
				}
				return nil
			}, func(open bool) { told <- open })
		}()
		for range gateFailures {
			_ = g.do(ctx, func(context.Context) error { return nats.ErrNoResponders })
		}
		if <-told {
			t.Error("told of opening first")
		}
		if !<-told {
			t.Error("told of shutting twice")
		}
		if late := time.Since(back); late > 2*maxProbeWait {
			t.Errorf("open %v after it could have been", late)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Three of a kind, one after the other, or beside calls that are answered.
func TestTheGateShutsForWhatProvesThatJetStreamIsAway(t *testing.T) {
	t.Parallel()
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	says := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	for _, tt := range []struct {
		name  string
		call  func(context.Context) error
		busy  bool // another call is answered every 100 ms
		shuts bool
	}{
		{"nobody takes it", says(nats.ErrNoResponders), false, true},
		{"nobody takes it, though others are answered before", says(nats.ErrNoResponders), true, true},
		{"JetStream is off", says(jetstream.ErrJetStreamNotEnabled), false, true},
		{"it is refused for the moment", says(&jetstream.APIError{Code: 503}), false, true},
		{"the connection is away", says(nats.ErrConnectionReconnecting), false, true},
		{"nothing is answered", silent, false, true},
		{"others are answered meanwhile", silent, true, false},
		{"the caller gives up", says(context.Canceled), false, false},
		{"an answer", says(jetstream.ErrStreamNotFound), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				g := newGate(zerolog.Nop())
				ctx, cancel := context.WithCancel(t.Context())
				var others sync.WaitGroup
				if tt.busy {
					others.Go(func() {
						for ctx.Err() == nil {
							select {
							case <-ctx.Done():
							case <-time.After(100 * time.Millisecond):
								g.heard()
							}
						}
					})
				}
				for range gateFailures {
					_ = g.do(ctx, tt.call)
				}
				if shut := g.shut(); shut != tt.shuts {
					t.Errorf("it is shut: %v, want %v", shut, tt.shuts)
				}
				cancel()
				others.Wait()
			})
		})
	}
}

func TestACallThatPanicsIsAFailure(t *testing.T) {
	t.Parallel()
	g := newGate(zerolog.Nop())
	for range gateFailures {
		func() {
			defer func() { _ = recover() }()
			_ = g.do(t.Context(), func(context.Context) error { panic("on purpose") })
		}()
	}
	if !g.shut() {
		t.Error("the gate is open")
	}
}

// Many callers at once shut the gate once. When a probe is due one of them makes
// it, and a call from before says nothing of it.
func TestAShutGateLetsOneProbeThrough(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		g := newGate(zerolog.Nop())
		var mu sync.Mutex
		var passed int
		callers := func(took time.Duration, outcome error) {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					_ = g.do(t.Context(), func(context.Context) error {
						mu.Lock()
						passed++
						mu.Unlock()
						<-time.After(took)
						return outcome
					})
				})
			}
			all.Wait()
		}
		old := make(chan struct{})
		go func() {
			defer close(old)
			_ = g.do(t.Context(), func(context.Context) error { <-time.After(maxProbeWait + time.Second); return nil })
		}()
		callers(100*time.Millisecond, nats.ErrNoResponders)
		if !g.shut() || passed != 50 {
			t.Fatalf("shut: %v, after %d calls at once", g.shut(), passed)
		}
		for shut := time.Now(); passed == 50 && time.Since(shut) < 2*minProbeWait; <-time.After(time.Millisecond) {
			callers(10*time.Millisecond, nats.ErrNoResponders)
		}
		if passed != 51 {
			t.Errorf("%d calls passed at the first probe, want 1", passed-50)
		}
		if <-old; !g.shut() {
			t.Error("a call from before the gate was shut has opened it")
		}
	})
}
