package subscription_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// The epoch of a name grows over every end that its entry may find: a claim,
// a deletion, and the loss of the whole bucket.
func TestNextEpoch_GrowsOverDeletionAndOverALostBucket(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	var last uint64
	for range 3 { // buckets
		b, err := bus.Ensure(t.Context(), js, bus.Layout{}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		pools := subscription.NewPools(b.Pools)
		for range 3 { // lives
			for range 3 { // claims
				old, rev, err := pools.Get(t.Context(), "a")
				if err != nil {
					old = nil
				}
				epoch, err := pools.NextEpoch(t.Context(), old, rev)
				if err != nil || epoch <= last {
					t.Fatalf("epoch %d after %d (%v)", epoch, last, err)
				}
				last = epoch
				p := wire.Pool{Schema: wire.SchemaVersion, Name: "a", UID: "u", Epoch: epoch, State: wire.PoolReleased, UpdatedAt: time.Now()}
				if rev, err = pools.Write(t.Context(), &p, rev); err != nil || rev < epoch {
					t.Fatalf("revision %d of epoch %d (%v)", rev, epoch, err)
				}
			}
			_, rev, err := pools.Get(t.Context(), "a")
			if err == nil {
				err = pools.Delete(t.Context(), "a", rev)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := js.DeleteStream(t.Context(), "KV_sluice_pools"); err != nil {
			t.Fatal(err)
		}
	}
}

// A name of which nothing is left goes on with higher epochs all the same.
func TestNextEpoch_GrowsOverAForgottenTombstone(t *testing.T) {
	t.Parallel()
	b, err := bus.Ensure(t.Context(), natstest.Start(t).JetStream(), bus.Layout{}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	pools := subscription.NewPools(b.Pools)
	var last uint64
	for range 3 {
		epoch, err := pools.NextEpoch(t.Context(), nil, 0)
		if err != nil || epoch <= last {
			t.Fatalf("epoch %d after %d (%v)", epoch, last, err)
		}
		last = epoch
		p := wire.Pool{Schema: wire.SchemaVersion, Name: "a", UID: "u", Epoch: epoch, State: wire.PoolReleased, UpdatedAt: time.Now()}
		rev, err := pools.Write(t.Context(), &p, 0)
		if err != nil || rev < epoch {
			t.Fatalf("revision %d of epoch %d (%v)", rev, epoch, err)
		}
		if err := pools.Delete(t.Context(), "a", rev); err != nil {
			t.Fatal(err)
		}
		_, rev, _ = pools.Get(t.Context(), "a") // of the tombstone
		if err := b.Pools.Forget(t.Context(), "a", rev); err != nil {
			t.Fatal(err)
		}
		if _, rev, err := pools.Get(t.Context(), "a"); !errors.Is(err, subscription.ErrNotFound) || rev != 0 {
			t.Fatalf("a tombstone at revision %d is left (%v)", rev, err)
		}
	}
}
