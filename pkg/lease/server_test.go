package lease_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

const ns wire.Namespace = "sluice"

// process is what one service process has: a connection and the bucket over it.
type process struct {
	nc *nats.Conn
	kv bucket.KeyValue
}

func newProcess(t *testing.T, s *natstest.Server, ttl time.Duration) process {
	t.Helper()
	nc := s.Conn()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Ensure(t.Context(), js, bus.Layout{Namespace: ns, SessionTTL: ttl}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return process{nc, b.Sessions}
}

// run runs f until the test ends or stop is called.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func session(t *testing.T, p process, name string, ttl time.Duration) *lease.Session {
	t.Helper()
	s, err := lease.NewSession(p.nc, p.kv, lease.SessionConfig{Namespace: ns, Service: "emitter", Instance: name, TTL: ttl}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func peers(t *testing.T, p process, own *lease.Session, ttl time.Duration) *lease.Peers {
	t.Helper()
	ps, err := lease.NewPeers(p.nc, p.kv, lease.PeersConfig{
		Namespace: ns, Service: "emitter", TTL: ttl, ProbeEvery: 100 * time.Millisecond, Own: own,
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	run(t, ps.Run)
	return ps
}

// awaitAlive waits until ps says want of name and returns how long it took.
func awaitAlive(t *testing.T, ps *lease.Peers, name string, want bool) time.Duration {
	t.Helper()
	begin := time.Now()
	natstest.Await(t, fmt.Sprintf("%s alive = %v", name, want), func() error {
		if ps.Alive(name) != want {
			return fmt.Errorf("live: %+v", ps.Live())
		}
		return nil
	})
	return time.Since(begin)
}

func TestKilledPeerIsNoticedLongBeforeItsTTL(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	own := session(t, a, "a", ttl)
	run(t, own.Run)
	run(t, session(t, b, "b", ttl).Run)
	ps := peers(t, a, own, ttl)
	awaitAlive(t, ps, "b", true)
	awaitAlive(t, ps, "a", true)
	if live := ps.Live(); len(live) != 2 || live[0].Instance != "a" || live[1].Instance != "b" {
		t.Errorf("Live = %+v, want a and b", live)
	}
	b.nc.Close() // what a SIGKILL does to the server
	if took := awaitAlive(t, ps, "b", false); took > time.Second {
		t.Errorf("noticed after %v, want less than a second", took)
	}
	if !ps.Alive("a") {
		t.Error("a takes itself for dead")
	}
}

func TestStoppedPeerThatStaysConnectedIsDeadOnlyAfterItsTTL(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	// A stopped process: its subscription is there and nobody answers.
	if _, err := b.nc.SubscribeSync(ns.Session("emitter", "b")); err != nil {
		t.Fatal(err)
	}
	ps := peers(t, a, nil, ttl)
	<-ps.Synced()
	body, err := json.Marshal(wire.Session{Service: "emitter", Instance: "b"})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := b.kv.Create(t.Context(), wire.SessionKey("emitter", "b"), body); err != nil {
		t.Fatal(err)
	}
	awaitAlive(t, ps, "b", true)
	awaitAlive(t, ps, "b", false)
	if took := time.Since(begin); took < ttl || took > ttl+2*time.Second {
		t.Errorf("dead %v after its last renewal, want %v and little more", took, ttl)
	}
}

func TestProofOfDeathIsForgottenWhenThePeerRenews(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	ps := peers(t, a, nil, ttl)
	// The key is there before anybody answers, as after a partition.
	body, err := json.Marshal(wire.Session{Service: "emitter", Instance: "b"})
	if err != nil {
		t.Fatal(err)
	}
	key := wire.SessionKey("emitter", "b")
	rev, err := b.kv.Create(t.Context(), key, body)
	if err != nil {
		t.Fatal(err)
	}
	awaitAlive(t, ps, "b", true)
	awaitAlive(t, ps, "b", false)
	if _, err := b.nc.Subscribe(ns.Session("emitter", "b"), func(m *nats.Msg) { _ = m.Respond([]byte("b")) }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.kv.Update(t.Context(), key, body, rev); err != nil {
		t.Fatal(err)
	}
	awaitAlive(t, ps, "b", true)
}

func TestASessionInABucketMadeAnewIsBelievedAtOnce(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	for range 50 { // revisions that the new bucket will not reach for long
		if _, err := a.kv.Put(t.Context(), "other", nil); err != nil {
			t.Fatal(err)
		}
	}
	run(t, session(t, b, "b", ttl).Run)
	ps := peers(t, a, nil, ttl)
	awaitAlive(t, ps, "b", true)
	js := s.JetStream()
	if err := js.DeleteKeyValue(t.Context(), ns.BucketSessions()); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Ensure(t.Context(), js, bus.Layout{Namespace: ns, SessionTTL: ttl}, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	var first uint64
	natstest.Await(t, "b to be renewed for three TTLs in the new bucket, and alive", func() error {
		if !ps.Alive("b") {
			t.Fatal("b is taken for dead")
		}
		e, err := a.kv.Get(t.Context(), wire.SessionKey("emitter", "b"))
		switch {
		case err != nil:
			return err
		case first == 0:
			first = e.Revision()
		}
		if n := e.Revision() - first; n < 9 {
			return fmt.Errorf("%d renewals", n)
		}
		return nil
	})
}

func TestServerRestartKillsNobody(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	sa, sb := session(t, a, "a", ttl), session(t, b, "b", ttl)
	run(t, sa.Run)
	run(t, sb.Run)
	ps := peers(t, a, sa, ttl)
	awaitAlive(t, ps, "b", true)
	l, epochs := candidate(t, a, "a", ttl)
	natstest.Await(t, "a to lead", leads(l))
	before := <-epochs

	natstest.Await(t, "b's session", func() error {
		if !sb.Valid() {
			return errors.New("not valid")
		}
		return nil
	})

	s.Restart()
	restarted := time.Now()
	renewed := func(s *lease.Session) bool { // since the restart
		return time.Now().Add(s.ValidFor() - ttl*9/10).After(restarted)
	}
	natstest.Await(t, "renewals after the restart", func() error {
		if !sa.Valid() || !sb.Valid() || !l.Leading() || !ps.Alive("b") {
			t.Fatalf("a valid %v, b valid %v, leading %v, b alive %v", sa.Valid(), sb.Valid(), l.Leading(), ps.Alive("b"))
		}
		if !renewed(sa) || !renewed(sb) {
			return errors.New("not renewed yet")
		}
		switch got, ok := l.Current(t.Context()); {
		case !ok:
			return errors.New("lease not readable")
		case got.Epoch != before:
			t.Fatalf("lease after the restart %+v, want epoch %d still", got, before)
		}
		return nil
	})
}

// candidate runs a candidate whose terms' epochs can be read from the channel.
func candidate(t *testing.T, p process, name string, ttl time.Duration, edits ...func(*lease.LeaderConfig)) (*lease.Leader, <-chan uint64) {
	t.Helper()
	cfg := lease.LeaderConfig{Namespace: ns, Role: "monitor", Instance: name, TTL: ttl}
	for _, edit := range edits {
		edit(&cfg)
	}
	l, err := lease.NewLeader(p.kv, nil, cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	epochs := make(chan uint64, 16)
	run(t, func(ctx context.Context) error {
		return l.Run(ctx, func(ctx context.Context, held wire.Lease) error {
			epochs <- held.Epoch
			<-ctx.Done()
			return ctx.Err()
		})
	})
	return l, epochs
}

func leads(l *lease.Leader) func() error {
	return func() error {
		if !l.Leading() {
			return errors.New("not leading")
		}
		return nil
	}
}

func TestStandbyTakesOverFromAKilledLeaderAfterTheTTLAndNotBefore(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	la, ea := candidate(t, a, "a", ttl)
	natstest.Await(t, "a to lead", leads(la))
	lb, eb := candidate(t, b, "b", ttl)

	a.nc.Close()
	died := time.Now()
	natstest.Await(t, "b to lead", func() error {
		if la.Leading() && lb.Leading() {
			t.Fatal("both lead")
		}
		return leads(lb)()
	})
	if took := time.Since(died); took > ttl+3*time.Second/2 {
		t.Errorf("taken over after %v, want about a second after the TTL of %v", took, ttl)
	}
	if first, second := <-ea, <-eb; second <= first {
		t.Errorf("epoch went from %d to %d over an expiry", first, second)
	}
}

func TestReleasedLeaseIsTakenWithinASecond(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	la, err := lease.NewLeader(a.kv, nil, lease.LeaderConfig{Namespace: ns, Role: "monitor", Instance: "a", TTL: ttl}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, func(ctx context.Context) error {
		return la.Run(ctx, func(ctx context.Context, _ wire.Lease) error { <-ctx.Done(); return nil })
	})
	natstest.Await(t, "a to lead", leads(la))
	lb, _ := candidate(t, b, "b", ttl)
	natstest.Await(t, "b to see a", func() error {
		if l, ok := lb.Current(t.Context()); !ok || l.Instance != "a" {
			return fmt.Errorf("current: %+v, %v", l, ok)
		}
		return nil
	})
	stop()
	begin := time.Now()
	natstest.Await(t, "b to lead", leads(lb))
	if took := time.Since(begin); took > time.Second+time.Second/2 {
		t.Errorf("taken after %v, want about a second at most", took)
	}
}

// probing makes a candidate ask whether the leader's process is there.
func probing(p process) func(*lease.LeaderConfig) {
	return func(c *lease.LeaderConfig) { c.NATS, c.Service = p.nc, "emitter" }
}

func TestStandbyThatProbesTakesOverFromAKilledLeaderWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	run(t, session(t, a, "a", ttl).Run)
	la, ea := candidate(t, a, "a", ttl, probing(a))
	natstest.Await(t, "a to lead", leads(la))
	lb, eb := candidate(t, b, "b", ttl, probing(b))
	still := time.NewTimer(2 * time.Second)
	defer still.Stop()
	<-still.C
	if !la.Leading() || lb.Leading() {
		t.Fatal("the leader was not left alone while it answered")
	}
	a.nc.Close() // what a SIGKILL does to the server
	died := time.Now()
	natstest.Await(t, "b to lead", leads(lb))
	if took := time.Since(died); took > 2*time.Second {
		t.Errorf("taken over after %v", took)
	}
	if first, second := <-ea, <-eb; second <= first {
		t.Errorf("epoch went from %d to %d", first, second)
	}
}

func TestALeaderThatWasTakenForGoneStopsAtOnce(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	la, _ := candidate(t, a, "a", ttl) // lives, but has no session that answers
	natstest.Await(t, "a to lead", leads(la))
	lb, _ := candidate(t, b, "b", ttl, probing(b))
	natstest.Await(t, "b to lead", leads(lb))
	begin := time.Now()
	natstest.Await(t, "a to stop", func() error {
		if la.Leading() {
			return errors.New("still leading")
		}
		return nil
	})
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("stopped only after %v", took)
	}
}

func TestStandbyThatProbesWaitsTheTTLForALeaderThatIsSilent(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	s := natstest.Start(t)
	a, b := newProcess(t, s, ttl), newProcess(t, s, ttl)
	for name, lease := range map[string]string{
		"a":             `{"role":"monitor","instance":"a","epoch":1}`,
		"wildcard":      `{"role":"monitor","instance":"*","epoch":1}`,
		"no instance":   `{"role":"monitor","epoch":1}`,
		"half acquired": `{"role":"monitor","instance":"nobody","epoch":0}`,
		"no JSON":       `{`,
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a" { // a stopped process: its subscription is there and nobody answers
				if _, err := a.nc.SubscribeSync(ns.Session("emitter", "a")); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := a.kv.Put(t.Context(), wire.LeaderKey("monitor"), []byte(lease)); err != nil {
				t.Fatal(err)
			}
			written := time.Now()
			lb, _ := candidate(t, b, "b", ttl, probing(b))
			natstest.Await(t, "b to lead", leads(lb))
			if took := time.Since(written); took < ttl {
				t.Errorf("taken over after %v, want %v", took, ttl)
			}
		})
	}
}
