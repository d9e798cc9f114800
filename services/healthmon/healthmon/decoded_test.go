package healthmon

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

func TestEachRevisionOfAnEntryIsReadOnce(t *testing.T) {
	t.Parallel()
	var read []string
	d := decoded[string]{read: func(e subscription.Entry) string {
		read = append(read, e.Key)
		return string(e.Value)
	}}
	then := time.Now()
	entry := func(key string, revision uint64, created time.Time, value string) mirror.Entry {
		return mirror.Entry{Key: key, Revision: revision, Created: created, Value: []byte(value)}
	}
	for _, tt := range []struct {
		what       string
		live       []mirror.Entry
		want, read []string
	}{
		{"what is new is read, but for what is no name", []mirror.Entry{
			entry("a", 1, then, "a1"), entry("b", 2, then, "b2"), entry("b.x", 9, then, ""), entry("d", 3, then, "d3"),
		}, []string{"a1", "b2", "d3"}, []string{"a", "b", "d"}},
		{"what has not changed is not", []mirror.Entry{
			entry("a", 1, then, "a1"), entry("b", 2, then, "b2"), entry("d", 3, then, "d3"),
		}, []string{"a1", "b2", "d3"}, nil},
		{"what has changed is, beside one that is new and one that is gone", []mirror.Entry{
			entry("a", 4, then, "a4"), entry("c", 5, then, "c5"), entry("d", 3, then, "d3"),
		}, []string{"a4", "c5", "d3"}, []string{"a", "c"}},
		{"the same revision of another bucket is", []mirror.Entry{
			entry("c", 5, then, "c5"), entry("d", 3, then.Add(1), "other"),
		}, []string{"c5", "other"}, []string{"d"}},
	} {
		read = nil
		if got := d.of(tt.live); !slices.Equal(got, tt.want) || !slices.Equal(read, tt.read) {
			t.Errorf("%s: got %q, want %q; read %q, want %q", tt.what, got, tt.want, read, tt.read)
		}
		if got := len(d.entries); got != len(tt.want) {
			t.Errorf("%s: %d entries are held, want %d", tt.what, got, len(tt.want))
		}
	}
}

// What two looks have in common was decoded once.
func TestALookDecodesOnlyWhatHasChanged(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		copyOf := func() (*buckettest.KV, *mirror.Mirror) {
			kv := buckettest.New(0)
			m := mirror.New(kv, mirror.Options{})
			running.Go(func() { _ = m.Run(ctx) })
			return kv, m
		}
		src := &source{ns: ns}
		var subs, pools *buckettest.KV
		subs, src.subs = copyOf()
		pools, src.pools = copyOf()
		spec := subscription.Default()
		spec.Store, spec.Deliver.Subject, spec.Selector.ByStream = "GITHUB", "to.a", wire.StringList{wire.AllStreams}
		if _, err := subscription.NewStore(subs, ns).Create(ctx, subscription.NewRecord("a", "u", spec, subscription.Start{Sequence: 1, StoreCreated: time.Now()}, time.Now())); err != nil {
			t.Fatal(err)
		}
		pool := &wire.Pool{Schema: 1, Name: "a", UID: "u", Epoch: 1, State: wire.PoolLive, UpdatedAt: time.Now()}
		var revision uint64
		look := func() check.Snapshot {
			var err error
			if revision, err = subscription.NewPools(pools).Write(ctx, pool, revision); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			var snap check.Snapshot
			src.copies(&snap)
			if len(snap.Records) != 1 || len(snap.Pools) != 1 || snap.Records[0].Record == nil || snap.Pools[0].Pool == nil {
				t.Fatalf("seen: %+v", snap)
			}
			return snap
		}
		one := look()
		pool.Checkpoint.Floor = 7
		two := look()
		if one.Records[0].Record != two.Records[0].Record {
			t.Error("a record that has not changed was decoded again")
		}
		if got := two.Pools[0].Pool.Checkpoint.Floor; got != 7 {
			t.Errorf("floor = %d, want that of the entry as it is now", got)
		}
	})
}
