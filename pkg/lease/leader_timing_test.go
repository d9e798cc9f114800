package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// client is a KV as one process reaches it: before may keep an operation from
// the bucket, lost its answer from the caller.
type client struct {
	*buckettest.KV
	before, lost hooks
}

func (c *client) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	if err := c.before.call(ctx, "get", key); err != nil {
		return nil, err
	}
	return c.KV.Get(ctx, key)
}

func (c *client) Create(ctx context.Context, key string, v []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	return c.write(ctx, "create", key, func() (uint64, error) { return c.KV.Create(ctx, key, v, opts...) })
}

func (c *client) Update(ctx context.Context, key string, v []byte, rev uint64) (uint64, error) {
	return c.write(ctx, "update", key, func() (uint64, error) { return c.KV.Update(ctx, key, v, rev) })
}

func (c *client) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	_, err := c.write(ctx, "delete", key, func() (uint64, error) { return 0, c.KV.Delete(ctx, key, opts...) })
	return err
}

func (c *client) write(ctx context.Context, op, key string, do func() (uint64, error)) (uint64, error) {
	if err := c.before.call(ctx, op, key); err != nil {
		return 0, err
	}
	rev, err := do()
	if err := c.lost.call(ctx, op, key); err != nil {
		return 0, err
	}
	return rev, err
}

// advice is an Advisor that keeps what it is told.
type advice struct {
	mu   sync.Mutex
	told []string
}

func (a *advice) Advise(what, name, _ string, data map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, fmt.Sprintf("%s %s %v", what, name, data["leader"]))
}

func newCandidate(t *testing.T, kv *buckettest.KV, name string, adv Advisor) (*Leader, *client) {
	t.Helper()
	c := &client{KV: kv}
	l, err := NewLeader(c, adv, LeaderConfig{Namespace: "sluice", Role: "monitor", Instance: name, TTL: ttl}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

// untilDone is work that runs for as long as it may.
func untilDone(ctx context.Context, _ wire.Lease) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestSlowSuccessfulRenewalDoesNotExtendLeadersTrust(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		l, c := newCandidate(t, buckettest.New(ttl), "a", nil)
		runUntilStopped(t, func(ctx context.Context) error { return l.Run(ctx, untilDone) })
		synctest.Wait()
		if !l.Leading() {
			t.Fatal("a free role was not taken at once")
		}
		// The renewal at 2s takes 1.5s; then no other succeeds.
		c.lost.set(slow("update", 1500*time.Millisecond))
		after(ttl/renewPart + 1500*time.Millisecond + time.Millisecond)
		c.before.set(away)
		after(7500*time.Millisecond - 10*time.Millisecond)
		if !l.Leading() {
			t.Error("trust ended before 9s from sending the renewal")
		}
		after(20 * time.Millisecond)
		if l.Leading() {
			t.Error("trust counted from the answer")
		}
	})
}

func TestLostLeaseCancelsWorkAndWaitsForItBeforeRelease(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv, adv := buckettest.New(0), &advice{} // no expiry: only a release frees the key at once
		l, c := newCandidate(t, kv, "a", adv)
		var cause error
		var deletedAt, finishedAt time.Time
		kv.After = func(_ context.Context, op, _ string) error {
			if op == "delete" {
				deletedAt = time.Now()
			}
			return nil
		}
		c.before.set(func(_ context.Context, op string) error { // renewals fail, a release does not
			if op == "update" && l.Leading() {
				return errAway
			}
			return nil
		})
		stop := runUntilStopped(t, func(ctx context.Context) error {
			return l.Run(ctx, func(ctx context.Context, _ wire.Lease) error {
				<-ctx.Done()
				if cause == nil {
					cause = context.Cause(ctx)
					if l.Leading() {
						t.Error("leading while work is told to end")
					}
					<-time.After(5 * time.Second) // work is slow to end
					finishedAt = time.Now()
				}
				return ctx.Err()
			})
		})
		begin := time.Now()
		after(14*time.Second + 500*time.Millisecond)
		if !errors.Is(cause, ErrLost) || !errors.Is(cause, errAway) {
			t.Errorf("cause %v, want it to wrap %v and the last real error", cause, ErrLost)
		}
		if got := finishedAt.Sub(begin); got != 14*time.Second {
			t.Errorf("work ended after %v, want 9s of trust and its own 5s", got)
		}
		if deletedAt.Before(finishedAt) || deletedAt.IsZero() {
			t.Errorf("released at %v, work ended at %v", deletedAt, finishedAt)
		}
		stop()
		if want := "leader.elected monitor a"; adv.told[0] != want {
			t.Errorf("first advisory %q, want %q", adv.told[0], want)
		}
		if want := "leader.lost monitor a"; adv.told[1] != want {
			t.Errorf("second advisory %q, want %q", adv.told[1], want)
		}
	})
}

func TestReleasedLeaseIsTakenAtOnceAndAnExpiredOneWithinASecond(t *testing.T) {
	t.Parallel()
	for _, expires := range []bool{false, true} {
		t.Run(fmt.Sprintf("the bucket expires keys: %v", expires), func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				kv := buckettest.New(0)
				if expires {
					kv.TTL = ttl
				}
				a, _ := newCandidate(t, kv, "a", nil)
				b, bc := newCandidate(t, kv, "b", nil)
				c, _ := newCandidate(t, kv, "c", nil)
				stopA := runUntilStopped(t, func(ctx context.Context) error { return a.Run(ctx, untilDone) })
				synctest.Wait()
				runUntilStopped(t, func(ctx context.Context) error { return b.Run(ctx, untilDone) })
				after(time.Minute)
				if !a.Leading() || b.Leading() {
					t.Fatalf("a leads %v, b leads %v", a.Leading(), b.Leading())
				}
				first, ok := b.Current(t.Context())
				if !ok || first.Instance != "a" || first.Epoch == 0 {
					t.Fatalf("Current = %+v, %v", first, ok)
				}
				stopA()
				synctest.Wait()
				if !b.Leading() {
					t.Error("a released lease was not taken at once")
				}
				second, _ := b.Current(t.Context())
				if second.Epoch <= first.Epoch {
					t.Errorf("epoch went from %d to %d", first.Epoch, second.Epoch)
				}

				runUntilStopped(t, func(ctx context.Context) error { return c.Run(ctx, untilDone) })
				synctest.Wait()
				died := time.Now()
				bc.before.set(away)
				for !c.Leading() {
					after(10 * time.Millisecond)
					if b.Leading() && c.Leading() {
						t.Fatal("both lead")
					}
					if time.Since(died) > 2*ttl {
						t.Fatal("the dead leader's lease was never taken")
					}
				}
				if took := time.Since(died); took > ttl+1200*time.Millisecond {
					t.Errorf("taken %v after the last renewal at the most, want about a second after the TTL", took)
				}
				if third, _ := c.Current(t.Context()); third.Epoch <= second.Epoch {
					t.Errorf("epoch went from %d to %d after an expiry", second.Epoch, third.Epoch)
				}
			})
		})
	}
}

func TestFailingWorkGivesTheRoleUpAndStandsAgainLater(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv := buckettest.New(ttl)
		a, _ := newCandidate(t, kv, "a", nil)
		b, _ := newCandidate(t, kv, "b", nil)
		runs := 0
		runUntilStopped(t, func(ctx context.Context) error {
			return a.Run(ctx, func(context.Context, wire.Lease) error {
				runs++
				return errors.New("broken")
			})
		})
		after(time.Minute)
		if runs < 3 || runs > 30 {
			t.Errorf("work was tried %d times in a minute, want a growing backoff", runs)
		}
		runUntilStopped(t, func(ctx context.Context) error { return b.Run(ctx, untilDone) })
		after(31 * time.Second)
		if !b.Leading() {
			t.Error("the healthy standby does not lead")
		}
	})
}

// TestTrustedTermsNeverOverlap runs candidates against random faults: requests
// that do not get through, answers that do not come, slowness. Whatever
// happens at most one trusts its lease, epochs grow, and after the faults
// somebody leads.
func TestTrustedTermsNeverOverlap(t *testing.T) {
	t.Parallel()
	faults := []func(*client){
		func(c *client) { c.before.set(nil); c.lost.set(nil) },
		func(c *client) { c.before.set(away) },
		func(c *client) { c.before.set(slow("update", 4*time.Second)) },
		func(c *client) { c.before.set(slow("get", 2*time.Second)) },
		func(c *client) { c.lost.set(away) },
		func(c *client) { c.lost.set(slow("update", 3*time.Second)) },
		func(c *client) { c.lost.set(slow("create", 5*time.Second)) },
	}
	rapid.Check(t, func(rt *rapid.T) {
		type fault struct{ who, what, seconds int }
		plan := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) fault {
			return fault{
				rapid.IntRange(0, 2).Draw(rt, "who"),
				rapid.IntRange(0, len(faults)-1).Draw(rt, "what"),
				rapid.IntRange(0, 15).Draw(rt, "seconds"),
			}
		}), 1, 15).Draw(rt, "plan")
		expires := rapid.Bool().Draw(rt, "expires")
		var wrong []string // rapid's own goroutine tells them
		clocktest.Run(t, func(t *testing.T) {
			kv := buckettest.New(0)
			if expires {
				kv.TTL = ttl
			}
			var (
				mu      sync.Mutex
				highest uint64
				leaders []*Leader
				clients []*client
			)
			for i := range 3 {
				l, c := newCandidate(t, kv, fmt.Sprintf("i%d", i), nil)
				leaders, clients = append(leaders, l), append(clients, c)
				runUntilStopped(t, func(ctx context.Context) error {
					return l.Run(ctx, func(ctx context.Context, lease wire.Lease) error {
						mu.Lock()
						if lease.Epoch <= highest {
							wrong = append(wrong, fmt.Sprintf("epoch %d after %d", lease.Epoch, highest))
						}
						highest = lease.Epoch
						mu.Unlock()
						return untilDone(ctx, lease)
					})
				})
			}
			leading := func() (n int) {
				for _, l := range leaders {
					if l.Leading() {
						n++
					}
				}
				return n
			}
			wait := func(d time.Duration) {
				for end := time.Now().Add(d); time.Now().Before(end); {
					after(50 * time.Millisecond)
					if n := leading(); n > 1 {
						wrong = append(wrong, fmt.Sprintf("%d leaders at once", n))
					}
				}
			}
			for _, f := range plan {
				faults[f.what](clients[f.who])
				wait(time.Duration(f.seconds) * time.Second)
			}
			for _, c := range clients {
				faults[0](c)
			}
			wait(2*ttl + 5*time.Second)
			if n := leading(); n != 1 {
				wrong = append(wrong, fmt.Sprintf("%d leaders after the faults ended", n))
			}
		})
		if len(wrong) > 0 {
			rt.Errorf("%q", wrong)
		}
	})
}
