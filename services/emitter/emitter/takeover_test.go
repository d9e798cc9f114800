package emitter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

func TestWhatPoolsSayFirstAfterTheirClaimsWaitsForNoRate(t *testing.T) {
	t.Parallel()
	const pools, rate = 2000, 10
	checkpointing(t, pools, rate, func(_ *checkpointer, hs []*holding, w *writes) {
		for _, h := range hs {
			h.fresh.Store(true)
			h.pool.SkipTo(1)
		}
		<-time.After(250 * time.Millisecond)
		synctest.Wait()
		if n := len(w.all()); n != pools {
			t.Errorf("%d pools were written within 250 ms of their claims, want %d", n, pools)
		}
		const seconds = 20
		for _, h := range hs {
			h.pool.SkipTo(2)
		}
		<-time.After(seconds * time.Second)
		synctest.Wait()
		if n := len(w.all()) - pools; n < rate*(seconds-1) || n > rate*seconds+maxWrites {
			t.Errorf("%d writes in the %d s that followed, want about %d a second", n, seconds, rate)
		}
	})
}

// orphan makes a subscription whose pool has lost its owner at a floor.
func (b *bed) orphan(name string, floor uint64) {
	b.t.Helper()
	entry := wire.Pool{
		Schema: wire.SchemaVersion, Name: name, UID: "uid-" + name, Owner: "emitter-gone", Epoch: 1,
		Checkpoint: wire.Checkpoint{Floor: floor}, State: wire.PoolLive, ClaimedAt: time.Now(), UpdatedAt: time.Now(),
		Holes: &wire.Holes{To: floor},
	}
	if _, err := subscription.NewPools(b.bucket(wire.DefaultNamespace.BucketPools())).Write(b.t.Context(), &entry, 0); err != nil {
		b.t.Fatal(err)
	}
	b.subscribe(name)
}

// live waits until the entries say that pools are live.
func (b *bed) live(names ...string) {
	b.t.Helper()
	pools := subscription.NewPools(b.bucket(wire.DefaultNamespace.BucketPools()))
	natstest.Await(b.t, "pools to be live", func() error {
		for _, name := range names {
			p, _, err := pools.Get(b.t.Context(), name)
			switch {
			case err != nil:
				return err
			case p.State != wire.PoolLive || p.Owner == "emitter-gone":
				return fmt.Errorf("%s is %s with %s", name, p.State, p.Owner)
			}
		}
		return nil
	})
}

// told is a bucket that notes what was written for each epoch of each pool.
type told struct {
	bucket.KeyValue
	mu     sync.Mutex
	states map[string][]wire.PoolState // by name and epoch
}

func (d *told) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	var p wire.Pool
	if err := json.Unmarshal(value, &p); err == nil {
		d.mu.Lock()
		at := fmt.Sprintf("%s at epoch %d", key, p.Epoch)
		d.states[at] = append(d.states[at], p.State)
		d.mu.Unlock()
	}
	return d.KeyValue.Update(ctx, key, value, rev)
}

// most is how often a pool was written in one epoch, at most.
func (d *told) most(prefix string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, states := range d.states {
		if strings.HasPrefix(at, prefix) {
			n = max(n, len(states))
		}
	}
	return n
}

func TestAClaimOfAPoolAtTheEndOfItsStoreSaysLiveAndNeedsNoSecondWrite(t *testing.T) {
	t.Parallel()
	const events, pools = 20, 30
	b := newBed(t)
	for range events {
		if _, err := b.js.Publish(t.Context(), "e.made", nil); err != nil {
			t.Fatal(err)
		}
	}
	s, writes := b.emitter(time.Second), &told{states: map[string][]wire.PoolState{}}
	b.run(s, func(kv bucket.KeyValue) bucket.KeyValue {
		writes.KeyValue = kv
		return writes
	})
	b.orphan("first", events)
	b.live("first") // from now on the store is known
	var names []string
	for i := range pools {
		names = append(names, fmt.Sprintf("s%d", i))
		b.orphan(names[i], events)
	}
	b.orphan("behind", events-5)
	b.live(names...)
	natstest.Await(t, "the second write of the one that is behind, and of others before it", func() error {
		if n := writes.most("behind "); n < 2 {
			return fmt.Errorf("it was written %d times", n)
		}
		return nil
	})
	writes.mu.Lock()
	defer writes.mu.Unlock()
	once := 0
	for at, states := range writes.states { // a slow machine may lose its session, and claim again
		switch {
		case strings.HasPrefix(at, "behind ") && states[0] != wire.PoolCatchingUp:
			t.Errorf("%s was claimed as %s", at, states[0])
		case states[0] == wire.PoolLive && len(states) == 1:
			once++
		}
	}
	if once < pools/2 {
		t.Errorf("%d of %d pools were claimed as live and written once: %v", once, pools, writes.states)
	}
}

// Its entry is read although it names whom it should: that is how a claim is noticed.
func TestAnInstanceThatWasPassedOverIsForgivenWhenItClaims(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.emitter(0)
	b.run(s, nil)
	w := &viewer{ // beside that of s, which looks at the pool too
		me: s.instance, ns: s.ns, copies: s.view.copies, peers: s.peers, holdings: s.holdings, contests: &claim.Contests{},
		idle: claim.NewIdle(s.instance, time.Second, s.view.owned),
	}
	for _, after := range []time.Duration{0, time.Hour} {
		w.idle.Waits("x", []string{"other"}, time.Now().Add(after))
	}
	if !w.idle.Suspects("other") {
		t.Fatal("it is not suspected")
	}
	now := time.Now().UTC()
	entry := wire.Pool{Schema: 1, Name: "x", UID: "u", Owner: "other", Epoch: 1, State: wire.PoolCatchingUp, ClaimedAt: now, UpdatedAt: now}
	if _, err := s.claims.pools.Write(t.Context(), &entry, 0); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the entry to be seen", func() error {
		if _, ok := s.view.copies.pools.Get("x"); !ok {
			return errors.New("not yet")
		}
		return nil
	})
	if w.waits("x", "other") || w.idle.Suspects("other") {
		t.Error("it is suspected although it has claimed")
	}
}
