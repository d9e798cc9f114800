package mirror_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/mirror"
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
	m.Each(func(e mirror.Entry) { vs[e.Key] = string(e.Value) })
	return vs
}

func TestListingsThatTakeLongAreMadeSeldom(t *testing.T) {
	t.Parallel()
	for takes, want := range map[time.Duration]time.Duration{
		100 * time.Millisecond: time.Minute,
		2 * time.Second:        200 * time.Second,
	} {
		clocktest.Run(t, func(t *testing.T) {
			kv := buckettest.New(0)
			var listings []time.Time
			kv.Before = func(_ context.Context, op, _ string) error {
				if op == "follow" {
					listings = append(listings, time.Now())
					<-time.After(takes)
				}
				return nil
			}
			start(t, mirror.New(kv, mirror.Options{Resync: time.Minute}))
			<-time.After(time.Hour)
			synctest.Wait()
			if len(listings) < 2 {
				t.Fatalf("%d listings in an hour", len(listings))
			}
			if got := listings[1].Sub(listings[0]) - takes; got != want {
				t.Errorf("a listing that takes %s is made again after %s, want %s", takes, got, want)
			}
		})
	}
}

// TestMirrorEqualsBucketAfterAnyHistory runs random writes against random
// mishaps; once a listing is complete the copy is the bucket, and
// a user who re-read each key that OnChange named has the same.
func TestMirrorEqualsBucketAfterAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		ops := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 60).Draw(rt, "ops")
		keys := rapid.SliceOfN(rapid.IntRange(0, 4), len(ops), len(ops)).Draw(rt, "keys")
		clocktest.Run(t, func(t *testing.T) {
			ctx, kv, want := t.Context(), buckettest.New(0), map[string]string{}
			user := map[string]string{}
			var mu sync.Mutex
			last := map[string]uint64{} // in this bucket
			var m *mirror.Mirror
			m = mirror.New(kv, mirror.Options{Resync: time.Minute, OnChange: func(key string) {
				e, _ := m.Get(key)
				mu.Lock()
				defer mu.Unlock()
				if e.Revision < last[key] && e.Revision > 0 { // else of another bucket
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
					kv.Renew()
					clear(want)
					mu.Lock()
					clear(last)
					mu.Unlock()
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
			if got, want := keysOf(m.Live()), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
				rt.Errorf("Keys = %q, want %q", got, want)
			}
		})
	})
}

func put(ctx context.Context, t *testing.T, kv *buckettest.KV, key, value string) {
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
	clocktest.Run(t, func(t *testing.T) {
		ctx, kv := t.Context(), buckettest.New(0)
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

// A listing from a server that is behind, or that was overtaken by writes, does
// not show keys that live: the leader is asked before anybody hears that one
// is gone.
func TestOnlyTheLeaderMakesAKeyAbsent(t *testing.T) {
	t.Parallel()
	v := func(rev uint64, value string) mirror.Entry {
		return mirror.Entry{Key: "k", Revision: rev, Value: []byte(value)}
	}
	for _, tt := range []struct {
		name  string
		write func(ctx context.Context, t *testing.T, kv *lagging)
		down  bool // the leader does not answer
		want  mirror.Entry
		told  int
	}{
		{name: "it has not changed", write: func(context.Context, *testing.T, *lagging) {}, want: v(2, "v")},
		{name: "it was written", write: func(ctx context.Context, t *testing.T, kv *lagging) {
			put(ctx, t, kv.KV, "k", "w")
		}, want: v(3, "w"), told: 1},
		{name: "it was deleted", write: func(ctx context.Context, t *testing.T, kv *lagging) {
			if err := kv.Delete(ctx, "k"); err != nil {
				t.Fatal(err)
			}
		}, want: mirror.Entry{Key: "k", Revision: 3, Deleted: true}, told: 1},
		{name: "it is gone", write: func(_ context.Context, _ *testing.T, kv *lagging) {
			kv.Erase("k")
		}, want: mirror.Entry{Key: "k", Revision: 2, Deleted: true, Absent: true}, told: 1},
		{name: "it is gone, and nobody can be asked", write: func(_ context.Context, _ *testing.T, kv *lagging) {
			kv.Erase("k")
		}, down: true, want: v(2, "v")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clocktest.Run(t, func(t *testing.T) {
				ctx, kv := t.Context(), &lagging{KV: buckettest.New(0)}
				kv.Before = func(_ context.Context, op, _ string) error {
					if op == "get" && kv.down.Load() {
						return context.DeadlineExceeded
					}
					return nil
				}
				put(ctx, t, kv.KV, "old", "v")
				put(ctx, t, kv.KV, "k", "v")
				told := 0
				m := mirror.New(kv, mirror.Options{OnChange: func(string) { told++ }})
				start(t, m)
				synctest.Wait()
				told = 0
				kv.Deafen(true)
				tt.write(ctx, t, kv)
				kv.hidden.Store(true)
				kv.down.Store(tt.down)
				m.Kick()
				synctest.Wait()
				got, _ := m.Get("k")
				if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(mirror.Entry{}, "Created")); diff != "" || told != tt.told {
					t.Errorf("told %d times, want %d (-want +got):\n%s", told, tt.told, diff)
				}
				if e, ok := m.Get("old"); !ok || e.Deleted {
					t.Errorf("the other key is %+v", e)
				}
				before := kv.listings.Load()
				<-time.After(2 * time.Second) // fake time
				synctest.Wait()
				if again := kv.listings.Load() > before; again != tt.down {
					t.Errorf("listed again within two seconds: %v, want %v", again, tt.down)
				}
			})
		})
	}
}

// lagging can hide the key k from those who follow it, and be down for reads.
type lagging struct {
	*buckettest.KV
	hidden, down atomic.Bool
	listings     atomic.Int64
}

func (l *lagging) Follow(ctx context.Context, f bucket.Following) error {
	l.listings.Add(1)
	entry := f.Entry
	f.Entry = func(e jetstream.KeyValueEntry) {
		if e.Key() != "k" || !l.hidden.Load() {
			entry(e)
		}
	}
	return l.KV.Follow(ctx, f)
}

func TestABucketThatIsAnotherOneReplacesTheCopyAtOnce(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		ctx, kv := t.Context(), buckettest.New(0)
		for i := range 10 {
			put(ctx, t, kv, "a", fmt.Sprint(i))
		}
		var m *mirror.Mirror
		var told []mirror.Entry
		m = mirror.New(kv, mirror.Options{Resync: time.Hour, OnChange: func(k string) {
			e, _ := m.Get(k)
			told = append(told, e)
		}})
		start(t, m)
		told = nil
		kv.Renew()
		synctest.Wait()
		if len(told) != 1 || !told[0].Absent || told[0].Revision != 0 || m.Last() != 0 {
			t.Errorf("of the bucket before it told %+v, and has revision %d", told, m.Last())
		}
		put(ctx, t, kv, "a", "new")
		synctest.Wait()
		if e, _ := m.Get("a"); e.Revision != 1 || string(e.Value) != "new" {
			t.Errorf("of the new bucket it has %+v", e)
		}
	})
}

func TestWhatVanishedIsKeptWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		ctx, kv := t.Context(), buckettest.New(0)
		for _, k := range []string{"erased", "deleted", "other"} {
			put(ctx, t, kv, k, "v")
		}
		m := mirror.New(kv, mirror.Options{Resync: time.Minute, KeepAbsent: true})
		start(t, m)
		if err := kv.Delete(ctx, "deleted"); err != nil {
			t.Fatal(err)
		}
		kv.Erase("erased")
		check := func(when string, keys ...string) {
			t.Helper()
			for _, k := range keys {
				if e, ok := m.Get(k); !ok || !e.Absent || !e.Deleted || string(e.Value) != "v" {
					t.Errorf("%s: %s is %+v, %v", when, k, e, ok)
				}
			}
			if e, _ := m.Get("deleted"); e.Value != nil {
				t.Errorf("%s: what was deleted is %+v", when, e)
			}
		}
		<-time.After(3 * time.Minute) // fake time: some listings
		check("after an erasure", "erased")
		kv.Renew()
		<-time.After(3 * time.Minute)
		check("in a new bucket", "erased", "other")
		put(ctx, t, kv, "erased", "w")
		<-time.After(3 * time.Minute)
		if e, _ := m.Get("erased"); e.Absent || string(e.Value) != "w" {
			t.Errorf("what was written again is %+v", e)
		}
		if err := kv.Delete(ctx, "other"); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * time.Minute)
		if e, _ := m.Get("other"); e.Value != nil {
			t.Errorf("what was deleted in the new bucket is %+v", e)
		}
	})
}

// A bucket that was restored from a copy, or whose server lost what it had not
// written to disk, has the same time of creation and fewer revisions.
func TestABucketThatWasSetBackReplacesTheCopy(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		ctx, kv := t.Context(), buckettest.New(0)
		for i := range 10 {
			put(ctx, t, kv, "a", fmt.Sprint(i))
		}
		m := mirror.New(kv, mirror.Options{Resync: time.Hour})
		start(t, m)
		kv.SetBack()
		put(ctx, t, kv, "a", "restored")
		synctest.Wait()
		if e, _ := m.Get("a"); e.Revision != 10 || m.Last() != 10 {
			t.Errorf("after one look it has %+v, and revision %d; want what it had", e, m.Last())
		}
		<-time.After(3 * time.Second) // fake time
		synctest.Wait()
		if e, _ := m.Get("a"); e.Revision != 1 || string(e.Value) != "restored" {
			t.Errorf("after two looks it has %+v", e)
		}
	})
}

// A server that lost its last write takes others in its place before anybody looks:
// the bucket ends no earlier than the copy, and yet the copy has what is no more.
func TestAWriteThatItsServerLostIsForgotten(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		ctx, kv := t.Context(), buckettest.New(0)
		put(ctx, t, kv, "k", "v")
		put(ctx, t, kv, "k", "lost")
		var told atomic.Int64
		m := mirror.New(kv, mirror.Options{Resync: time.Minute, OnChange: func(string) { told.Add(1) }})
		start(t, m)
		kv.LoseLast("k", "v", 1)
		put(ctx, t, kv, "other", "v")
		put(ctx, t, kv, "other", "w")
		synctest.Wait()
		told.Store(0)
		<-time.After(2 * time.Minute) // fake time: a listing
		synctest.Wait()
		if e, _ := m.Get("k"); e.Revision != 1 || string(e.Value) != "v" || told.Load() != 1 {
			t.Errorf("told %d times, and has %+v; want revision 1", told.Load(), e)
		}
	})
}

func keysOf(entries []mirror.Entry) (keys []string) {
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}
