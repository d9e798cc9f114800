package buckettest_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
)

func TestDeletesByCompareAndSwap(t *testing.T) {
	t.Parallel()
	kv := buckettest.New(0)
	rev, err := kv.Create(t.Context(), "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), "k", jetstream.LastRevision(rev+1)); !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		t.Errorf("Delete at a wrong revision = %v, want %v", err, jetstream.ErrKeyRevisionMismatch)
	}
	if err := kv.Delete(t.Context(), "k", jetstream.LastRevision(rev)); err != nil {
		t.Errorf("Delete at the right revision = %v", err)
	}
}

var _ bucket.KeyValue = (*buckettest.KV)(nil)
