package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
		synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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

// startPeers runs peers without probes.
func startPeers(t *testing.T, kv *buckettest.KV) (p *Peers, changes *atomic.Int32) {
	t.Helper()
	changes = new(atomic.Int32)
	p, err := newPeers(nil, kv, PeersConfig{
		Namespace: "sluice", Service: "emitter", TTL: ttl, OnChange: func() { changes.Add(1) },
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	runUntilStopped(t, p.Run)
	<-p.Synced()
	return p, changes
}

func TestPeerLivesForATTLAfterItsLastRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv, h := buckettest.New(0), &hooks{} // nothing expires: only our clock says so
		kv.Before = h.call
		p, changes := startPeers(t, kv)
		s, _ := startSession(t, kv)
		after(time.Minute)
		if !p.Alive("e1") || !s.Valid() || len(p.Live()) != 1 || p.Live()[0].Pools != 3 {
			t.Fatalf("alive %v, valid %v, live %+v", p.Alive("e1"), s.Valid(), p.Live())
		}
		if n := changes.Load(); n != 1 {
			t.Errorf("%d changes told for one new peer", n)
		}
		h.set(func(_ context.Context, op string) error {
			if op == "update" {
				return errAway
			}
			return nil
		})
		for s.Valid() {
			after(10 * time.Millisecond)
		}
		if !p.Alive("e1") {
			t.Error("dead to its peers while it may have trusted itself a moment ago")
		}
		after(2 * time.Second)
		if p.Alive("e1") || len(p.Live()) != 0 || changes.Load() != 2 {
			t.Errorf("alive %v, live %v, %d changes a TTL after the last renewal", p.Alive("e1"), p.Live(), changes.Load())
		}
		h.set(nil)
		after(2 * time.Second)
		if !p.Alive("e1") || changes.Load() != 3 {
			t.Errorf("alive %v, %d changes after it came back", p.Alive("e1"), changes.Load())
		}
	})
}

func TestDeletedSessionIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := buckettest.New(ttl)
		p, _ := startPeers(t, kv)
		_, stop := startSession(t, kv)
		synctest.Wait()
		if !p.Alive("e1") {
			t.Fatal("not alive")
		}
		stop()
		synctest.Wait()
		if p.Alive("e1") {
			t.Error("alive after its clean end")
		}
	})
}

func TestNobodyDiesOfSilenceWhileTheWatchIsDeafOrTheBucketAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := buckettest.New(0)
		h := &hooks{}
		kv.Before = h.call
		p, changes := startPeers(t, kv)
		startSession(t, kv)
		synctest.Wait()
		kv.Deafen(true)
		after(25 * time.Second)
		if !p.Alive("e1") || changes.Load() != 1 {
			t.Errorf("alive %v, %d changes; the key is renewed though the watch misses it", p.Alive("e1"), changes.Load())
		}
		h.set(away)
		after(time.Minute)
		if !p.Alive("e1") {
			t.Error("dead though the bucket cannot be read")
		}
	})
}

func TestAnAnsweredProbeOutvotesAnAbsentKeyForHalfATTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv, h := buckettest.New(ttl), &hooks{}
		kv.Before = h.call
		p, changes := startPeers(t, kv)
		startSession(t, kv)
		synctest.Wait()
		h.set(func(_ context.Context, op string) error {
			if op == "update" || op == "create" {
				return errAway
			}
			return nil
		})
		answers := func(d time.Duration) {
			for range d / tick {
				p.probed("e1", 0, true)
				after(tick)
			}
		}
		answers(ttl + ttl/2 - time.Second)
		if !p.Alive("e1") {
			t.Error("dead though it answers and had no time to renew")
		}
		answers(2 * time.Second)
		if p.Alive("e1") || changes.Load() != 2 {
			t.Errorf("alive %v, %d changes; it answers, but does not come to renew its session", p.Alive("e1"), changes.Load())
		}
	})
}

func TestAnOutageLongerThanTheTTLKillsNobody(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{false, true} { // whether the bucket can be read meanwhile
		t.Run(fmt.Sprintf("reads %v", reads), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { outage(t, reads) })
		})
	}
}

func outage(t *testing.T, reads bool) {
	kv := buckettest.New(ttl)
	var away, lags atomic.Bool // everything; only the other's writes
	kv.Before = func(_ context.Context, op, key string) error {
		if reads && op == "get" {
			return nil
		}
		if away.Load() || lags.Load() && key == "emitter.e1" && op != "get" {
			return errAway
		}
		return nil
	}
	other, _ := startSession(t, kv)
	own, err := newSession(nil, kv, SessionConfig{Namespace: "sluice", Service: "emitter", Instance: "e2", TTL: ttl}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	runUntilStopped(t, own.Run)
	var changes atomic.Int32
	p, err := newPeers(nil, kv, PeersConfig{
		Namespace: "sluice", Service: "emitter", TTL: ttl, Own: own, OnChange: func() { changes.Add(1) },
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	runUntilStopped(t, p.Run)
	after(time.Second)
	told := changes.Load()
	away.Store(true)
	after(2 * ttl)
	if own.Valid() || other.Valid() {
		t.Fatal("a session outlived the outage")
	}
	lags.Store(true)
	away.Store(false)
	after(time.Second)
	if !own.Valid() || !p.Alive("e1") {
		t.Fatalf("own session valid %v, other alive %v: we are back first", own.Valid(), p.Alive("e1"))
	}
	lags.Store(false)
	after(ttl)
	if !p.Alive("e1") || changes.Load() != told {
		t.Errorf("alive %v, %d changes; nothing but an outage happened", p.Alive("e1"), changes.Load()-told)
	}
}

func TestProbesProveDeathOnlyTwiceInARowAndForOneRevision(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := newPeers(nil, buckettest.New(0), PeersConfig{Namespace: "sluice", Service: "emitter", TTL: ttl}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		p.see("e1", 5, []byte(`{"instance":"e1"}`))
		step := func(what string, do func(), want bool) {
			t.Helper()
			do()
			if got := p.Alive("e1"); got != want {
				t.Errorf("%s: alive = %v, want %v", what, got, want)
			}
		}
		step("one miss", func() { p.probed("e1", 5, false) }, true)
		step("an answer", func() { p.probed("e1", 5, true) }, true)
		step("another miss", func() { p.probed("e1", 5, false) }, true)
		step("a miss of an older revision", func() { p.probed("e1", 4, false) }, true)
		step("the second in a row", func() { p.probed("e1", 5, false) }, false)
		step("the same revision seen again", func() { p.see("e1", 5, []byte(`{"instance":"e1"}`)) }, false)
		step("renewed", func() { p.see("e1", 6, []byte(`{"instance":"e1"}`)) }, true)
		step("unreadable", func() { p.see("e1", 7, []byte(`{`)) }, true)
	})
}
