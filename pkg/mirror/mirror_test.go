package mirror_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs m until the test ends.
func start(t *testing.T, m *mirror.Mirror) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	<-m.Synced()
}

func values(m *mirror.Mirror) map[string]string {
	vs := make(map[string]string)
	for _, e := range m.Live() {
		vs[e.Key] = string(e.Value)
	}
	return vs
}

func TestListingsThatTakeLongAreMadeSeldom(t *testing.T) {
	t.Parallel()
	for takes, want := range map[time.Duration]time.Duration{
		100 * time.Millisecond: time.Minute,
		2 * time.Second:        200 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			kv := natstest.NewKV(0)
			var watches []time.Time
			kv.Before = func(_ context.Context, op, _ string) error {
				if op == "watch" {
					watches = append(watches, time.Now())
					<-time.After(takes)
				}
				return nil
			}
			start(t, mirror.New(kv, mirror.Options{Resync: time.Minute}))
			<-time.After(time.Hour)
			synctest.Wait()
			if len(watches) < 2 {
				t.Fatalf("%d listings in an hour", len(watches))
			}
			if got := watches[1].Sub(watches[0]) - takes; got != want {
				t.Errorf("a listing that takes %s is made again after %s, want %s", takes, got, want)
			}
		})
	}
}

// TestMirrorEqualsBucketAfterAnyHistory runs random writes against random
// mishaps of the watch; once a listing is complete the copy is the bucket, and
// a user who re-read each key that OnChange named has the same.
func TestMirrorEqualsBucketAfterAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		ops := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 60).Draw(rt, "ops")
		keys := rapid.SliceOfN(rapid.IntRange(0, 4), len(ops), len(ops)).Draw(rt, "keys")
		synctest.Test(t, func(t *testing.T) {
			ctx, kv, want := t.Context(), natstest.NewKV(0), map[string]string{}
			user := map[string]string{}
			last := map[string]uint64{}
			var m *mirror.Mirror
			m = mirror.New(kv, mirror.Options{Resync: time.Minute, OnChange: func(key string) {
				e, _ := m.Get(key)
				if e.Revision < last[key] {
					t.Errorf("%s went from revision %d to %d", key, last[key], e.Revision)
				}
				last[key] = e.Revision
				if e.Deleted {
					delete(user, key)
				} else {
					user[key] = string(e.Value)
				}
			}})
			start(t, m)
			for i, op := range ops {
				key := fmt.Sprintf("k%d", keys[i])
				switch op {
				case 0, 1, 2, 3:
					put(ctx, t, kv, key, fmt.Sprint(i))
					want[key] = fmt.Sprint(i)
				case 4, 5:
					if err := kv.Delete(ctx, key); err != nil {
						t.Fatal(err)
					}
					delete(want, key)
				case 6:
					kv.Erase(key)
					delete(want, key)
				case 7:
					kv.CloseWatches()
				case 8:
					kv.Deafen(i%2 == 0)
				case 9:
					m.Kick()
				}
				if i%3 == 0 {
					synctest.Wait()
				}
			}
			kv.Deafen(false)
			<-time.After(3 * time.Minute) // fake time: the resync period and the recheck
			synctest.Wait()
			if diff := cmp.Diff(want, values(m)); diff != "" {
				rt.Errorf("copy differs from bucket (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, user); diff != "" {
				rt.Errorf("what OnChange told differs from bucket (-want +got):\n%s", diff)
			}
			if got, want := m.Keys(), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
				rt.Errorf("Keys = %q, want %q", got, want)
			}
		})
	})
}

func put(ctx context.Context, t *testing.T, kv *natstest.KV, key, value string) {
	t.Helper()
	e, err := kv.Get(ctx, key)
	if err == nil {
		_, err = kv.Update(ctx, key, []byte(value), e.Revision())
	} else {
		_, err = kv.Create(ctx, key, []byte(value))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTombstoneAndAbsenceAreToldApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, kv := t.Context(), natstest.NewKV(0)
		for _, k := range []string{"deleted", "erased", "kept"} {
			put(ctx, t, kv, k, "v")
		}
		m := mirror.New(kv, mirror.Options{})
		start(t, m)
		if err := kv.Delete(ctx, "deleted"); err != nil {
			t.Fatal(err)
		}
		kv.Erase("erased")
		m.Kick()
		synctest.Wait()
		for key, want := range map[string]mirror.Entry{
			"deleted": {Key: "deleted", Revision: 4, Created: time.Now(), Deleted: true},
			"erased":  {Key: "erased", Revision: 2, Deleted: true, Absent: true},
			"kept":    {Key: "kept", Revision: 3, Created: time.Now(), Value: []byte("v")},
		} {
			got, ok := m.Get(key)
			if diff := cmp.Diff(want, got); diff != "" || !ok {
				t.Errorf("Get(%s) = %v (-want +got):\n%s", key, ok, diff)
			}
		}
		if got := m.Last(); got != 4 {
			t.Errorf("Last = %d, want 4", got)
		}
	})
}

// A listing from a replica that lags misses keys that are newer than all that
// it has; one such listing must not make them vanish.
func TestLaggingListingDoesNotRemoveNewerKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, kv := t.Context(), natstest.NewKV(0)
		put(ctx, t, kv, "old", "v")
		put(ctx, t, kv, "new", "v")
		var told []string
		m := mirror.New(kv, mirror.Options{OnChange: func(k string) { told = append(told, k) }})
		start(t, m)
		synctest.Wait()
		told = nil
		kv.Erase("new")
		m.Kick()
		synctest.Wait()
		if _, ok := m.Get("new"); !ok || len(told) > 0 || len(m.Keys()) != 2 {
			t.Fatalf("after one listing without it: known %v, told %q, keys %q; want it kept", ok, told, m.Keys())
		}
		<-time.After(2 * time.Second) // fake time: the recheck
		synctest.Wait()
		if e, _ := m.Get("new"); !e.Absent || !slices.Equal(told, []string{"new"}) {
			t.Errorf("after two listings without it: %+v, told %q; want it absent", e, told)
		}
	})
}

func TestWatchThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := natstest.NewKV(0)
		tries := 0
		kv.Before = func(_ context.Context, op, _ string) error {
			if op != "watch" {
				return nil
			}
			if tries++; tries < 4 {
				return jetstream.ErrNoHeartbeat
			}
			return nil
		}
		begin := time.Now()
		start(t, mirror.New(kv, mirror.Options{})) // waits until synced
		if took := time.Since(begin); tries != 4 || took < 3*100*time.Millisecond || took > 5*time.Second {
			t.Errorf("synced after %d tries and %v, want 4 and a growing backoff", tries, took)
		}
	})
}
