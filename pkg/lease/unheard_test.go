package lease

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// unheard is a bucket whose answers get lost while deaf is on; what is asked for
// happens all the same. A write that its caller gives up while slow is on happens
// just after the next read.
type unheard struct {
	*buckettest.KV
	deaf, slow atomic.Bool
	late       atomic.Pointer[func()]
}

func (u *unheard) lost(ctx context.Context) error {
	if !u.deaf.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (u *unheard) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	e, err := u.KV.Get(ctx, key)
	if late := u.late.Swap(nil); late != nil {
		(*late)()
	}
	if lost := u.lost(ctx); lost != nil {
		return nil, lost // whatever it was
	}
	return e, err
}

func (u *unheard) Create(ctx context.Context, key string, value []byte, _ ...jetstream.KVCreateOpt) (uint64, error) {
	rev, err := u.KV.Create(ctx, key, value)
	return rev, errors.Join(err, u.lost(ctx))
}

func (u *unheard) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if u.slow.Load() {
		<-ctx.Done()
		write := func() { _, _ = u.KV.Update(context.WithoutCancel(ctx), key, value, rev) }
		u.late.Store(&write)
		return 0, ctx.Err()
	}
	next, err := u.KV.Update(ctx, key, value, rev)
	return next, errors.Join(err, u.lost(ctx))
}

func startUnheard(t *testing.T) (u *unheard, stop func()) {
	t.Helper()
	u = &unheard{KV: buckettest.New(ttl)}
	s, err := newSession(nil, u, SessionConfig{Namespace: "sluice", Service: "emitter", Instance: "e1", TTL: ttl}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return u, runUntilStopped(t, s.Run)
}

// moments are when a fault begins, counted from a renewal.
func moments() []time.Duration {
	return []time.Duration{time.Millisecond, ttl / 6, ttl/renewPart - time.Millisecond, ttl/renewPart + time.Millisecond}
}

func TestASessionWhoseRenewalsAreNotAnsweredIsDeadWithinTheTTLAndASecond(t *testing.T) {
	t.Parallel()
	for _, moment := range moments() {
		t.Run(fmt.Sprint("deaf from ", moment), func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				u, _ := startUnheard(t)
				p, _ := startPeers(t, u.KV)
				after(2*ttl + moment)
				u.deaf.Store(true)
				after(ttl - ttl/renewPart - time.Second)
				if !p.Alive("e1") {
					t.Error("dead before its TTL")
				}
				after(ttl/renewPart + 2*time.Second)
				if p.Alive("e1") {
					t.Error("alive a TTL and a second after it was last answered")
				}
			})
		})
	}
}

func TestALeaseWhoseRenewalsAreNotAnsweredIsTakenWithinTheTTLAndASecond(t *testing.T) {
	t.Parallel()
	for _, moment := range moments() {
		t.Run(fmt.Sprint("deaf from ", moment), func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				u := &unheard{KV: buckettest.New(ttl)}
				l, err := NewLeader(u, nil, LeaderConfig{Namespace: "sluice", Role: "r", Instance: "a", TTL: ttl}, zerolog.Nop())
				if err != nil {
					t.Fatal(err)
				}
				runLeader(t, l)
				after(time.Second)
				standby, err := NewLeader(u.KV, nil, LeaderConfig{Namespace: "sluice", Role: "r", Instance: "b", TTL: ttl}, zerolog.Nop())
				if err != nil {
					t.Fatal(err)
				}
				runLeader(t, standby)
				after(2*ttl - time.Second + moment)
				if !l.Leading() {
					t.Fatal("the first does not lead")
				}
				u.deaf.Store(true)
				after(ttl + time.Second)
				if l.Leading() || !standby.Leading() {
					t.Errorf("leading: first %v, standby %v", l.Leading(), standby.Leading())
				}
			})
		})
	}
}

func runLeader(t *testing.T, l *Leader) {
	t.Helper()
	runUntilStopped(t, func(ctx context.Context) error {
		return l.Run(ctx, func(ctx context.Context, _ wire.Lease) error { <-ctx.Done(); return nil })
	})
}

func TestARenewalThatTheEndCutShortDoesNotKeepTheKey(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		u, stop := startUnheard(t)
		after(time.Second)
		u.slow.Store(true)
		after(ttl / renewPart) // a renewal is under way
		stop()
		if _, err := u.Get(t.Context(), "emitter.e1"); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Errorf("Get after the end: %v, want %v", err, jetstream.ErrKeyNotFound)
		}
	})
	clocktest.Run(t, func(t *testing.T) {
		u := &unheard{KV: buckettest.New(ttl)}
		s := &slot{kv: u, key: "leader.r", role: "r", instance: "a", ttl: ttl}
		if _, err := s.acquire(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		u.slow.Store(true)
		cut, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.renew(cut, ttl); err == nil {
			t.Fatal("the renewal was not cut short")
		}
		if err := s.release(t.Context()); err != nil {
			t.Errorf("release = %v", err)
		}
	})
}
