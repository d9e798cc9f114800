package natstest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRestartKeepsPortAndStore(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	url := s.URL()
	nc := s.Conn()
	js := s.JetStream()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}

	s.Stop()
	natstest.Await(t, "the loss of the connection", func() error {
		if nc.IsConnected() {
			return errors.New("still connected")
		}
		return nil
	})
	s.Restart()
	if got := s.URL(); got != url {
		t.Errorf("URL after restart = %s, want %s", got, url)
	}
	natstest.Await(t, "the value to be readable", func() error {
		e, err := kv.Get(ctx, "k")
		if err == nil && string(e.Value()) != "v" {
			t.Fatalf("value after restart = %q, want %q", e.Value(), "v")
		}
		return err
	})
}

func TestServersOfTwoTestsAreApart(t *testing.T) {
	t.Parallel()
	a, b := natstest.Start(t), natstest.Start(t)
	if a.URL() == b.URL() {
		t.Fatalf("both servers are at %s", a.URL())
	}
	ctx := t.Context()
	if _, err := a.JetStream().CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().KeyValue(ctx, "b"); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("bucket of a seen from b: %v, want %v", err, jetstream.ErrBucketNotFound)
	}
}
