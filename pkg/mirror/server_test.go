package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/natstest"
)

func bucket(t *testing.T, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", History: 5})
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
	kv := bucket(t, s.JetStream())
	want := map[string]string{}
	for i := range 600 { // more than the watch's channel holds
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
	view, err := js.KeyValue(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	m := mirror.New(view, mirror.Options{Resync: time.Hour})
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
	kv := bucket(t, js)
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
	kv = bucket(t, js)
	if _, err := kv.PutString(t.Context(), "k1", "new"); err != nil { // revision 1
		t.Fatal(err)
	}
	m.Kick()
	awaitValues(t, m, map[string]string{"k1": "new"})
	if e, _ := m.Get("k1"); e.Revision != 1 {
		t.Errorf("revision of k1 = %d, want 1, of the new bucket", e.Revision)
	}
}

func TestRunEndsPromptlyWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	kv := bucket(t, s.JetStream())
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
