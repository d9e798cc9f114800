package emitter

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestWhatPoolsSayFirstAfterTheirClaimsWaitsForNoRate(t *testing.T) {
	t.Parallel()
	const pools, rate = 2000, 10
	checkpointing(t, pools, rate, func(_ *Service, hs []*holding, w *writes) {
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

// written is how often anything was written into the pools' bucket.
func (b *bed) written() uint64 {
	b.t.Helper()
	stream, err := b.js.Stream(b.t.Context(), "KV_"+wire.DefaultNamespace.BucketPools())
	if err != nil {
		b.t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

func TestATakeoverIsNotPacedByTheRateOfCheckpointsAndWritesEachEntryOnceWhereItIsAtTheEnd(t *testing.T) {
	t.Parallel()
	const events, pools = 20, 300
	for _, tt := range []struct {
		name   string
		floor  uint64
		writes uint64 // for each pool, by its next owner
	}{
		{"at the end of the store", events, 1},
		{"behind it", events - 5, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			if _, err := b.js.Conn().Subscribe("to.>", func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
				t.Fatal(err)
			}
			for range events {
				if _, err := b.js.Publish(t.Context(), "e.made", nil); err != nil {
					t.Fatal(err)
				}
			}
			s := b.emitter(time.Second)
			s.cfg.CheckpointRate = 10
			b.run(s, nil)
			b.orphan("first", events)
			b.live("first") // from now on the store is known
			before := b.written()
			var names []string
			for i := range pools {
				names = append(names, fmt.Sprintf("s%d", i))
				b.orphan(names[i], tt.floor)
			}
			begin := time.Now()
			b.live(names...)
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("all were live after %s", took)
			}
			if n := b.written() - before - pools; n > tt.writes*pools+pools/4 { // checkpoints too
				t.Errorf("%d writes for %d pools, want %d each", n, pools, tt.writes)
			}
		})
	}
}
