package lease

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// The tests of this file run on a fake clock: waits in them take no time.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ttl = 10 * time.Second

var errAway = errors.New("server is away")

func TestTermRemaining(t *testing.T) {
	t.Parallel()
	sent := time.Now()
	tm := newTerm(sent, ttl)
	for _, tt := range []struct {
		name string
		now  time.Time
		want time.Duration
	}{
		{"just sent", sent, 9 * time.Second},
		{"at the margin", sent.Add(9 * time.Second), 0},
		{"long expired", sent.Add(time.Hour), 0},
		{"the machine slept: only the wall clock has moved", sent.Round(0).Add(time.Minute), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tm.remaining(tt.now); got != tt.want {
				t.Errorf("remaining = %v, want %v", got, tt.want)
			}
		})
	}
	if (term{}).valid(sent) {
		t.Error("the zero term is valid")
	}
}

// hooks are a KV's hook that can be changed while it runs.
type hooks struct {
	f atomic.Pointer[func(ctx context.Context, op string) error]
}

func (h *hooks) set(f func(ctx context.Context, op string) error) { h.f.Store(&f) }

func (h *hooks) call(ctx context.Context, op, _ string) error {
	if f := h.f.Load(); f != nil && *f != nil {
		return (*f)(ctx, op)
	}
	return nil
}

// slow answers op after d, or fails with ctx.
func slow(want string, d time.Duration) func(context.Context, string) error {
	return func(ctx context.Context, op string) error {
		if op != want {
			return nil
		}
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// away fails everything at once.
func away(context.Context, string) error { return errAway }

// startSession runs a session on kv until the test ends or stop is called.
func startSession(t *testing.T, kv *buckettest.KV) (s *Session, stop func()) {
	t.Helper()
	s, err := newSession(nil, kv, SessionConfig{
		Namespace: "sluice", Service: "emitter", Instance: "e1", TTL: ttl,
		Load: func() wire.Session { return wire.Session{Pools: 3} },
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return s, runUntilStopped(t, s.Run)
}

func runUntilStopped(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// after lets d of fake time pass and everything that it starts happen.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestSessionIsRenewedShownAndDeletedAtTheEnd(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv := buckettest.New(ttl)
		s, stop := startSession(t, kv)
		if s.Valid() {
			t.Error("valid before it was created")
		}
		synctest.Wait()
		<-s.Changes()
		for range 10 {
			after(ttl / 3)
			if !s.Valid() {
				t.Fatal("not valid while it is renewed")
			}
		}
		e, err := kv.Get(t.Context(), "emitter.e1")
		if err != nil {
			t.Fatal(err)
		}
		var c wire.Session
		if err := json.Unmarshal(e.Value(), &c); err != nil || c.Instance != "e1" || c.Pools != 3 || c.StartedAt.IsZero() {
			t.Errorf("session %s, %v", e.Value(), err)
		}
		if e.Revision() < 10 {
			t.Errorf("revision %d after ten periods", e.Revision())
		}
		stop()
		if _, err := kv.Get(t.Context(), "emitter.e1"); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Errorf("Get after the end: %v, want %v", err, jetstream.ErrKeyNotFound)
		}
		if s.Valid() {
			t.Error("valid after the end")
		}
	})
}

func TestSessionOutlivesTheWorkItIsAround(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv := buckettest.New(ttl)
		s, err := newSession(nil, kv, SessionConfig{Namespace: "sluice", Service: "emitter", Instance: "e1", TTL: ttl}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		finish := make(chan struct{})
		stop := runUntilStopped(t, func(ctx context.Context) error {
			return s.RunAround(ctx, func(ctx context.Context) error {
				<-ctx.Done()
				<-finish
				return nil
			})
		})
		synctest.Wait()
		go stop()
		after(2 * ttl)
		if !s.Valid() {
			t.Error("not valid while work goes on")
		}
		close(finish)
		synctest.Wait()
		if _, err := kv.Get(t.Context(), "emitter.e1"); !errors.Is(err, jetstream.ErrKeyNotFound) || s.Valid() {
			t.Errorf("after the work: valid %v, Get %v", s.Valid(), err)
		}
	})
}

func TestSessionTrustEndsAMarginBeforeTheTTLAndComesBack(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv, h := buckettest.New(ttl), &hooks{}
		kv.Before = h.call
		s, _ := startSession(t, kv)
		synctest.Wait()
		<-s.Changes()
		h.set(away)
		after(9*time.Second - time.Millisecond)
		if !s.Valid() {
			t.Error("not valid before the margin")
		}
		after(2 * time.Millisecond)
		if s.Valid() {
			t.Error("valid within the margin")
		}
		select {
		case <-s.Changes():
		default:
			t.Error("the end of trust was not signalled when it came")
		}
		h.set(nil)
		after(2 * time.Second)
		<-s.Changes()
		if !s.Valid() {
			t.Error("not valid though the server is back")
		}
	})
}

func TestASessionOutlivesAnElectionWheneverItBegins(t *testing.T) {
	t.Parallel()
	for begin := time.Duration(0); begin < ttl/2; begin += 100 * time.Millisecond {
		clocktest.Run(t, func(t *testing.T) {
			kv, h := buckettest.New(ttl), &hooks{}
			kv.Before = h.call
			s, _ := startSession(t, kv)
			after(begin + time.Millisecond)
			// What is asked while there is no leader is never answered.
			elected := time.Now().Add(5500 * time.Millisecond)
			h.set(func(ctx context.Context, _ string) error {
				if !time.Now().Before(elected) {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			})
			for range 10 {
				after(time.Second)
				if !s.Valid() {
					t.Fatalf("an election that began %v after the start took the session", begin)
				}
			}
		})
	}
}

func TestSlowRenewalDoesNotExtendTrust(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv, h := buckettest.New(ttl), &hooks{}
		kv.After = h.call
		h.set(slow("create", 1500*time.Millisecond))
		s, _ := startSession(t, kv)
		after(1500*time.Millisecond + time.Millisecond)
		if got, want := s.ValidFor(), 7500*time.Millisecond-time.Millisecond; got != want {
			t.Errorf("trust is left for %v, want %v: counted from before the request", got, want)
		}
	})
}

func TestRenewalWhoseAnswerIsLostIsAdopted(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv, h := buckettest.New(ttl), &hooks{}
		kv.After = h.call
		s, _ := startSession(t, kv)
		synctest.Wait()
		var lost atomic.Int32
		h.set(func(ctx context.Context, op string) error {
			if op == "update" && lost.Add(1)%2 == 1 { // every second one was carried out all the same
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		for range 100 {
			after(time.Second)
			if !s.Valid() {
				t.Fatalf("not valid after %d lost answers", lost.Load())
			}
		}
		if lost.Load() < 10 {
			t.Errorf("only %d renewals in 100s", lost.Load())
		}
	})
}

func TestSessionDeletedByOthersIsCreatedAgain(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv := buckettest.New(ttl)
		s, _ := startSession(t, kv)
		synctest.Wait()
		<-s.Changes()
		if err := kv.Delete(t.Context(), "emitter.e1"); err != nil {
			t.Fatal(err)
		}
		after(ttl / 2)
		if _, err := kv.Get(t.Context(), "emitter.e1"); err != nil || !s.Valid() {
			t.Errorf("valid %v, Get: %v; want it created again", s.Valid(), err)
		}
		select {
		case <-s.Changes():
		default:
			t.Error("that it was gone for a while was not signalled")
		}
	})
}
