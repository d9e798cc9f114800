package bucket

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/jsapi"
)

// DeletedError is what Get returns for a key that was deleted and has left a
// tombstone. It is a jetstream.ErrKeyNotFound too.
type DeletedError struct {
	Key      string
	Revision uint64    // the tombstone's revision: what a write has to replace
	Created  time.Time // when it was stored
}

func (e *DeletedError) Error() string {
	return fmt.Sprintf("key %q was deleted at revision %d", e.Key, e.Revision)
}

// Unwrap makes it an ErrKeyNotFound.
func (e *DeletedError) Unwrap() error { return jetstream.ErrKeyNotFound }

// bucket is a KeyValue. Its Get, Create and History ask the leader, and its writes
// say plainly that there is no room.
type bucket struct {
	jetstream.KeyValue
	js     feed.JetStream
	owner  feed.Owner
	stream string
	prefix string // what the subject of each key begins with
}

// Open opens a bucket that exists, for an owner whose name the consumers have that
// follow it. The error is jetstream.ErrBucketNotFound where it does not exist.
func Open(ctx context.Context, js jetstream.JetStream, name string, owner feed.Owner) (KeyValue, error) {
	kv, err := js.KeyValue(ctx, name)
	if err != nil {
		return nil, err
	}
	return &bucket{KeyValue: kv, js: js, owner: owner, stream: "KV_" + name, prefix: "$KV." + name + "."}, nil
}

var validKey = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)

// subject is where a key lies.
func (b *bucket) subject(key string) (string, error) {
	if !validKey.MatchString(key) || strings.HasPrefix(key, ".") || strings.HasSuffix(key, ".") {
		return "", jetstream.ErrInvalidKey
	}
	return b.prefix + key, nil
}

// Get returns the entry of key. Where there is none the error is
// jetstream.ErrKeyNotFound; it is a *DeletedError if there was one.
func (b *bucket) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	subject, err := b.subject(key)
	if err != nil {
		return nil, err
	}
	m, err := jsapi.GetMsg(ctx, b.js, b.stream, map[string]any{"last_by_subj": subject})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, jetstream.ErrKeyNotFound
	case err != nil:
		return nil, err
	}
	e := b.entry(key, m)
	if e.op != jetstream.KeyValuePut {
		return nil, &DeletedError{Key: key, Revision: e.revision, Created: e.created}
	}
	return e, nil
}

// Create writes key if it has no entry, and returns jetstream.ErrKeyExists if it
// has one.
func (b *bucket) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	if len(opts) > 0 {
		return 0, errors.New("options of Create are not supported")
	}
	rev, err := b.Update(ctx, key, value, 0)
	if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return rev, err
	}
	var gone *DeletedError
	if _, getErr := b.Get(ctx, key); !errors.As(getErr, &gone) {
		return 0, jetstream.ErrKeyExists
	}
	rev, err = b.Update(ctx, key, value, gone.Revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return 0, jetstream.ErrKeyExists
	}
	return rev, err
}

// Update writes key over the given revision. The error is a *jsapi.FullError
// where there is no room.
func (b *bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	rev, err := b.KeyValue.Update(ctx, key, value, revision)
	return rev, b.full(err)
}

// Delete marks key as deleted, which needs room too: the error is a
// *jsapi.FullError where there is none.
func (b *bucket) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	return b.full(b.KeyValue.Delete(ctx, key, opts...))
}

func (b *bucket) full(err error) error { return jsapi.Full("the bucket "+b.Bucket(), err) }

func (b *bucket) Forget(ctx context.Context, key string, revision uint64) error {
	subject, err := b.subject(key)
	if err != nil {
		return err
	}
	if _, err := jsapi.PurgeBelow(ctx, b.js, b.stream, subject, revision+1); err != nil {
		return fmt.Errorf("forget key %q up to revision %d: %w", key, revision, err)
	}
	return nil
}

// History returns all entries of key that the bucket still has, tombstones
// included, from the oldest on, one request each. The error is
// jetstream.ErrKeyNotFound where there is none. Options change nothing.
func (b *bucket) History(ctx context.Context, key string, _ ...jetstream.WatchOpt) ([]jetstream.KeyValueEntry, error) {
	subject, err := b.subject(key)
	if err != nil {
		return nil, err
	}
	var all []jetstream.KeyValueEntry
	for next := uint64(1); ; {
		m, err := jsapi.GetMsg(ctx, b.js, b.stream, map[string]any{"seq": next, "next_by_subj": subject})
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound) && len(all) == 0:
			return nil, jetstream.ErrKeyNotFound
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, b.entry(key, m))
		next = m.Sequence + 1
	}
}

// entry is an entry of a bucket.
type entry struct {
	bucket, key string
	value       []byte
	revision    uint64
	created     time.Time
	op          jetstream.KeyValueOp
}

func (b *bucket) entry(key string, m *jetstream.RawStreamMsg) *entry {
	return &entry{
		bucket: b.Bucket(), key: key, value: m.Data, revision: m.Sequence, created: m.Time, op: Operation(m.Header),
	}
}

// operationHeader marks deletions.
const operationHeader = "KV-Operation"

// Operation is what the headers of an entry say that it is: a value, or the mark
// of a deletion.
func Operation(h nats.Header) jetstream.KeyValueOp {
	switch h.Get(operationHeader) {
	case "DEL":
		return jetstream.KeyValueDelete
	case "PURGE":
		return jetstream.KeyValuePurge
	case "":
	default:
		return jetstream.KeyValuePut
	}
	switch h.Get(jetstream.MarkerReasonHeader) {
	case "MaxAge", "Purge":
		return jetstream.KeyValuePurge
	case "Remove":
		return jetstream.KeyValueDelete
	}
	return jetstream.KeyValuePut
}

func (e *entry) Bucket() string                  { return e.bucket }
func (e *entry) Key() string                     { return e.key }
func (e *entry) Value() []byte                   { return e.value }
func (e *entry) Revision() uint64                { return e.revision }
func (e *entry) Created() time.Time              { return e.created }
func (e *entry) Delta() uint64                   { return 0 }
func (e *entry) Operation() jetstream.KeyValueOp { return e.op }
