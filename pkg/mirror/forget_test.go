package mirror_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/mirror"
)

// forget deletes key and removes the tombstone.
func forget(t *testing.T, kv *buckettest.KV, key string) {
	t.Helper()
	if err := kv.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	var gone *bucket.DeletedError
	if _, err := kv.Get(t.Context(), key); !errors.As(err, &gone) {
		t.Fatalf("Get = %v, want a tombstone", err)
	}
	if err := kv.Forget(t.Context(), key, gone.Revision); err != nil {
		t.Fatal(err)
	}
}

// A copy that heard nothing for longer than tombstones are kept cannot tell a
// name that was deleted from one that vanished: the former is what happens.
func TestAKeyThatWentDuringALongSilenceCountsAsDeleted(t *testing.T) {
	t.Parallel()
	for silence, absent := range map[time.Duration]bool{30 * time.Minute: true, 90 * time.Minute: false} {
		clocktest.Run(t, func(t *testing.T) {
			kv := buckettest.New(0)
			var away atomic.Bool
			kv.Before = func(_ context.Context, op, _ string) error {
				if op == "follow" && away.Load() {
					return context.DeadlineExceeded
				}
				return nil
			}
			put(t.Context(), t, kv, "k", "v")
			m := mirror.New(kv, mirror.Options{Resync: time.Minute, Tombstones: time.Hour, KeepAbsent: true})
			start(t, m)
			away.Store(true)
			kv.Deafen(true)
			forget(t, kv, "k")
			<-time.After(silence)
			away.Store(false)
			kv.Deafen(false)
			<-time.After(10 * time.Second) // fake time
			synctest.Wait()
			if e, ok := m.Get("k"); !ok || !e.Deleted || e.Absent != absent || (e.Value != nil) != absent {
				t.Errorf("after a silence of %v it has %+v (%v), want absent %v", silence, e, ok, absent)
			}
		})
	}
}

// The last tombstone of a bucket is followed by nothing that could prove that a
// listing is new enough to show it.
func TestACopyForgetsTombstonesThatTheBucketHasForgotten(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv := buckettest.New(0)
		for _, k := range []string{"forgotten", "deleted"} {
			put(t.Context(), t, kv, k, "v")
		}
		gone := map[string]int{}
		m := mirror.New(kv, mirror.Options{Resync: time.Minute, Tombstones: time.Hour, OnForget: func(k string) { gone[k]++ }})
		start(t, m)
		if err := kv.Delete(t.Context(), "deleted"); err != nil {
			t.Fatal(err)
		}
		forget(t, kv, "forgotten")
		<-time.After(30 * time.Minute)
		synctest.Wait()
		if e, ok := m.Get("forgotten"); !ok || !e.Deleted || e.Absent {
			t.Errorf("before its time it has %+v (%v)", e, ok)
		}
		<-time.After(45 * time.Minute)
		synctest.Wait()
		if _, ok := m.Get("forgotten"); ok || gone["forgotten"] != 1 {
			t.Errorf("the copy still has it: %v; told %d times that it has not", ok, gone["forgotten"])
		}
		if e, ok := m.Get("deleted"); !ok || !e.Deleted || e.Absent {
			t.Errorf("of the tombstone that the bucket has the copy has %+v (%v)", e, ok)
		}
	})
}
