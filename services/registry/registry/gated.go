package registry

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
)

// gated is a bucket whose calls go through the gate, with the errors of gate.do.
type gated struct {
	kv   keyValue
	gate *gate
}

// keyValue is what the registry uses of a bucket.
type keyValue interface {
	bucket.Cell
	Status(ctx context.Context) (jetstream.KeyValueStatus, error)
}

// Get is part of keyValue.
func (b gated) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	return through(ctx, b.gate, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return b.kv.Get(ctx, key) })
}

// Update is part of keyValue.
func (b gated) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return through(ctx, b.gate, func(ctx context.Context) (uint64, error) { return b.kv.Update(ctx, key, value, revision) })
}

// Delete is part of keyValue.
func (b gated) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	return b.gate.do(ctx, func(ctx context.Context) error { return b.kv.Delete(ctx, key, opts...) })
}

// Status is part of keyValue.
func (b gated) Status(ctx context.Context) (jetstream.KeyValueStatus, error) {
	return through(ctx, b.gate, b.kv.Status)
}
