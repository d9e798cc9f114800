package healthmon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// copied is a source over buckets in memory, which counts what is read of them.
type copied struct {
	*source
	t           *testing.T
	subs, pools *buckettest.KV
	reads       atomic.Int64
	takes       time.Duration // one read
}

// newCopied runs the copies of the buckets until the test ends.
func newCopied(t *testing.T) (c *copied, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	c = &copied{t: t, source: &source{
		ns: ns, clock: &clock{local: time.Now}, doubts: doubts{hold: ttl}, log: zerolog.Nop(),
	}}
	copyOf := func(opts mirror.Options) (*buckettest.KV, *mirror.Mirror) {
		kv := buckettest.New(0)
		kv.Before = func(_ context.Context, op, _ string) error {
			if op == "get" {
				c.reads.Add(1)
				<-time.After(c.takes)
			}
			return nil
		}
		m := mirror.New(kv, opts)
		running.Go(func() { _ = m.Run(ctx) })
		return kv, m
	}
	c.subs, c.source.subs = copyOf(mirror.Options{KeepAbsent: true})
	c.pools, c.source.pools = copyOf(mirror.Options{})
	c.subsKV, c.poolsKV = c.subs, c.pools
	return c, func() { cancel(); running.Wait() }
}

func (c *copied) record(name string) {
	c.t.Helper()
	spec := subscription.Default()
	spec.Store, spec.Deliver.Subject, spec.Selector.ByStream = "GITHUB", "to."+name, wire.StringList{wire.AllStreams}
	rec := subscription.NewRecord(name, "uid-"+name, spec, subscription.Start{Sequence: 1, StoreCreated: time.Now()}, time.Now())
	if _, err := subscription.NewStore(c.subs, ns).Create(c.t.Context(), rec); err != nil {
		c.t.Fatal(err)
	}
}

func (c *copied) pool(name, owner string) {
	c.t.Helper()
	p := &wire.Pool{
		Schema: 1, Name: name, UID: "uid-" + name, Owner: owner, Epoch: 1, ObservedGeneration: 1,
		State: wire.PoolLive, UpdatedAt: time.Now(),
	}
	pools := subscription.NewPools(c.pools)
	_, rev, err := pools.Get(c.t.Context(), name)
	if err != nil && !errors.Is(err, subscription.ErrNotFound) {
		c.t.Fatal(err)
	}
	if _, err := pools.Write(c.t.Context(), p, rev); err != nil {
		c.t.Fatal(err)
	}
}

// look reads the copies, and what looks wrong in them again.
func (c *copied) look(alive ...string) (snap check.Snapshot, reads int64) {
	c.t.Helper()
	synctest.Wait()
	c.reads.Store(0)
	snap.Emitters = map[string]bool{}
	for _, e := range alive {
		snap.Emitters[e] = true
	}
	c.copies(&snap)
	if err := c.confirm(c.t.Context(), &snap, true); err != nil {
		c.t.Fatal(err)
	}
	return snap, c.reads.Load()
}

func TestAnOwnerThatHasJustGoneIsWaitedForBeforeItsPoolsAreReadAgain(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		c, stop := newCopied(t)
		defer stop()
		const n = 500
		for i := range n {
			c.record(fmt.Sprint("s", i))
			c.pool(fmt.Sprint("s", i), "emitter-1")
		}
		<-time.After(time.Minute)
		for _, step := range []struct {
			what        string
			wait        time.Duration
			alive       []string
			reads       int64
			unconfirmed int
		}{
			{"its owner lives", 0, []string{"emitter-1"}, 0, 0},
			{"its owner has just gone", 0, nil, 0, n},
			{"and is still waited for", ttl - 1, nil, 0, n},
			{"it has been gone for long", 1, nil, 2 * n, 0},
			{"and nothing has changed since", time.Minute, nil, 0, 0},
			{"it is back", 0, []string{"emitter-1"}, 0, 0},
			{"and has gone again", time.Minute, nil, 0, n},
		} {
			<-time.After(step.wait)
			snap, reads := c.look(step.alive...)
			if reads != step.reads || len(snap.Unconfirmed) != step.unconfirmed {
				t.Errorf("%s: %d reads, %d names unconfirmed, want %d and %d",
					step.what, reads, len(snap.Unconfirmed), step.reads, step.unconfirmed)
			}
			if len(snap.Records) != n || len(snap.Pools) != n {
				t.Errorf("%s: %d records, %d pools, want %d", step.what, len(snap.Records), len(snap.Pools), n)
			}
		}
		<-time.After(time.Minute)
		c.pool("s7", "emitter-2")
		snap, _ := c.look("emitter-2")
		if len(snap.Unconfirmed) != 0 || len(snap.Pools) != n {
			t.Errorf("%d names unconfirmed, %d pools", len(snap.Unconfirmed), len(snap.Pools))
		}
		for _, p := range snap.Pools {
			if want := map[bool]string{true: "emitter-2", false: "emitter-1"}[p.Key == "s7"]; p.Pool.Owner != want {
				t.Errorf("the owner of %s is %s, want %s", p.Key, p.Pool.Owner, want)
			}
		}
	})
}

// What somebody has just written or deleted is on its way; what cannot be read is not.
func TestWhatIsNewIsWaitedForAndWhatCannotBeReadIsNot(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		c, stop := newCopied(t)
		defer stop()
		for _, name := range []string{"deleted", "no-pool", "corrupt"} {
			c.record(name)
		}
		c.pool("deleted", "emitter-1")
		c.pool("corrupt", "emitter-1")
		if e, err := c.subs.Get(t.Context(), "corrupt"); err != nil {
			t.Fatal(err)
		} else if _, err := c.subs.Update(t.Context(), "corrupt", []byte("{"), e.Revision()); err != nil {
			t.Fatal(err)
		}
		if err := c.subs.Delete(t.Context(), "deleted"); err != nil {
			t.Fatal(err)
		}
		snap, reads := c.look("emitter-1")
		if reads != 2 || len(snap.Unconfirmed) != 2 || snap.Unconfirmed["corrupt"] {
			t.Errorf("%d reads, unconfirmed %v, want what cannot be read to be read again, and nothing else", reads, snap.Unconfirmed)
		}
		<-time.After(ttl)
		if snap, reads = c.look("emitter-1"); reads != 4 || len(snap.Unconfirmed) != 0 {
			t.Errorf("later: %d reads, unconfirmed %v, want the others to be read", reads, snap.Unconfirmed)
		}
		if len(snap.Pools) != 2 || snap.Pools[1].Vanished {
			t.Errorf("pools = %+v, want that the record of one was deleted to be known", snap.Pools)
		}
	})
}

func TestWhatLooksWrongIsReadForSoLongAndTheRestAtTheNextLook(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		c, stop := newCopied(t)
		defer stop()
		const n = 1000
		for i := range n {
			c.record(fmt.Sprint("s", i))
		}
		<-time.After(time.Minute)
		c.takes = 10 * time.Millisecond
		left, looks := n, 0
		for left > 0 && looks < 10 {
			start := time.Now()
			snap, reads := c.look()
			if took := time.Since(start); took > confirmFor+4*c.takes {
				t.Fatalf("a look took %s, want little more than %s", took, confirmFor)
			}
			if now := len(snap.Unconfirmed); left-now != int(reads)/2 {
				t.Errorf("%d reads, and %d of %d names are left", reads, now, left)
			}
			left, looks = len(snap.Unconfirmed), looks+1
		}
		if left > 0 || looks < 2 {
			t.Errorf("%d names are left after %d looks, want none after some", left, looks)
		}
	})
}
