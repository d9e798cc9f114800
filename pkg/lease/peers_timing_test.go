package lease

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
)

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
	clocktest.Run(t, func(t *testing.T) {
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
	clocktest.Run(t, func(t *testing.T) {
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
	clocktest.Run(t, func(t *testing.T) {
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
	clocktest.Run(t, func(t *testing.T) {
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
			clocktest.Run(t, func(t *testing.T) { outage(t, reads) })
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
	clocktest.Run(t, func(t *testing.T) {
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
