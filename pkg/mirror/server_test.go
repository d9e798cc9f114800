package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/natstest"
)

// create makes the bucket.
func create(t *testing.T, js jetstream.JetStream) bucket.KeyValue {
	t.Helper()
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", History: 5}); err != nil {
		t.Fatal(err)
	}
	return open(t, js)
}

func open(t *testing.T, js jetstream.JetStream) bucket.KeyValue {
	t.Helper()
	kv, err := bucket.Open(t.Context(), js, "b", feed.Owner{Namespace: "sluice", Service: "emitter", Instance: "emitter-1"})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// awaitValues waits until the copy is want.
func awaitValues(t *testing.T, m *mirror.Mirror, want map[string]string) {
	t.Helper()
	natstest.Await(t, "the copy to equal the bucket", func() error {
		if diff := cmp.Diff(want, values(m)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

func TestPurgedMarkersAreNoticedByAListing(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	kv := create(t, s.JetStream())
	want := map[string]string{}
	for i := range 600 { // more than one request brings
		k := fmt.Sprintf("k%d", i)
		if _, err := kv.PutString(t.Context(), k, "v"); err != nil {
			t.Fatal(err)
		}
		want[k] = "v"
	}
	nc := s.Conn()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	m := mirror.New(open(t, js), mirror.Options{Resync: time.Hour})
	start(t, m)
	awaitValues(t, m, want)

	// The server goes, and comes back with a marker that was purged before
	// the mirror's connection could see it.
	s.Restart()
	other := s.JetStream()
	kv2, err := other.KeyValue(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if err := kv2.Delete(t.Context(), "k7"); err != nil {
		t.Fatal(err)
	}
	if err := kv2.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1)); err != nil {
		t.Fatal(err)
	}
	delete(want, "k7")
	natstest.Await(t, "the reconnect", func() error {
		if !nc.IsConnected() {
			return errors.New(nc.Status().String())
		}
		return nil
	})
	m.Kick()
	awaitValues(t, m, want)
	if _, err := kv2.PutString(t.Context(), "k7", "again"); err != nil {
		t.Fatal(err)
	}
	want["k7"] = "again"
	awaitValues(t, m, want)
}

func TestBucketCreatedAnewReplacesTheCopy(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	kv := create(t, js)
	for i := range 10 {
		if _, err := kv.PutString(t.Context(), fmt.Sprintf("k%d", i%3), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	m := mirror.New(kv, mirror.Options{Resync: time.Hour})
	start(t, m)
	awaitValues(t, m, map[string]string{"k0": "9", "k1": "7", "k2": "8"})

	if err := js.DeleteKeyValue(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	kv = create(t, js)
	if _, err := kv.PutString(t.Context(), "k1", "new"); err != nil { // revision 1
		t.Fatal(err)
	}
	awaitValues(t, m, map[string]string{"k1": "new"})
	if e, _ := m.Get("k1"); e.Revision != 1 {
		t.Errorf("revision of k1 = %d, want 1, of the new bucket", e.Revision)
	}
}

func TestRunEndsPromptlyWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	kv := create(t, s.JetStream())
	m := mirror.New(kv, mirror.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	<-m.Synced()
	s.Stop()
	m.Kick()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Run has not returned 10s after its context ended")
	}
}

// counted counts the listings of a bucket.
type counted struct {
	bucket.KeyValue
	listings atomic.Int64
}

func (c *counted) Follow(ctx context.Context, f bucket.Following) error {
	c.listings.Add(1)
	return c.KeyValue.Follow(ctx, f)
}

// Each listing is overtaken by writes: no key may seem to be gone meanwhile.
func TestKeysThatAreWrittenWhileTheyAreListedAreNeverAbsent(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	kv := &counted{KeyValue: create(t, s.JetStream())}
	const keys = 50
	write := func(ctx context.Context, i int) error {
		_, err := kv.PutString(ctx, fmt.Sprintf("k%d", i%keys), fmt.Sprint(i))
		return err
	}
	for i := range keys {
		if err := write(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	var m *mirror.Mirror
	var absent atomic.Int64
	m = mirror.New(kv, mirror.Options{OnChange: func(k string) {
		if e, _ := m.Get(k); e.Deleted {
			absent.Add(1)
		}
	}})
	start(t, m)
	ctx, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	for w := range 4 {
		g.Go(func() error {
			for i := w; ctx.Err() == nil; i++ {
				if err := write(ctx, i); err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	natstest.AwaitWithin(t, "some listings", 10*time.Millisecond, time.Minute, func() error {
		m.Kick()
		if n := kv.listings.Load(); n < 100 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if n := absent.Load(); n > 0 {
		t.Errorf("%d times a key was absent that lives", n)
	}
}

// What entries say in their headers never steers those who read the bucket.
func TestHeadersOfEntriesSteerNobody(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	kv := create(t, js)
	headers := []nats.Header{
		{"Status": {"503"}},
		{"Status": {"408"}},
		{"Status": {"100"}},
		{"Status": {"active"}},
		{"Status": {"409"}, "Description": {"Consumer Deleted"}},
		{"Nats-Pin-Id": {"x"}},
		{"Nats-Last-Consumer": {"9"}},
		{"Nats-Pending-Messages": {"0"}},
		{"Nats-Consumer-Stalled": {"$JS.FC.x"}},
	}
	want := map[string]string{}
	put := func(when string) {
		for i, h := range headers {
			for _, value := range []string{"", when} {
				key := fmt.Sprintf("%s-%d-%d", when, i, len(value))
				if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "$KV.b." + key, Header: h, Data: []byte(value)}); err != nil {
					t.Fatal(err)
				}
				want[key] = value
			}
		}
	}
	put("before")
	m := mirror.New(kv, mirror.Options{Resync: time.Hour})
	start(t, m)
	awaitValues(t, m, want)
	put("after")
	awaitValues(t, m, want)
}
