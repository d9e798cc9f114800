package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/wire"
)

// maxTries bounds how often one change is tried: a conflict is another's write, and
// few write the same key.
const maxTries = 16

// ErrContended is what a change ends with to which others were faster each time.
var ErrContended = errors.New("others wrote the key first, again and again")

// ErrNotSent is in the error of a write that was never sent, where a bucket is
// wrapped in something that may refuse it.
var ErrNotSent = errors.New("nothing was sent")

// Cell is what a change uses of a bucket.
type Cell interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error
}

// Seen is a key as a change sees it.
type Seen struct {
	Key string
	// Entry is the live entry; nil where there is none.
	Entry jetstream.KeyValueEntry
	// Revision is that of the entry, or else of the tombstone; 0 where the bucket
	// has neither.
	Revision uint64
	// Sent is the last write of this change that was not confirmed; nil if there is
	// none. Where the key is still at the revision that it names, it may yet be
	// made. Otherwise it was not made, or somebody has written over it.
	Sent *Write
}

// Plan says what is to be written over a key as it is: a Write with Value or Delete,
// see Put; or nil, if there is nothing to do. It is asked again after a conflict,
// and after a write that was not confirmed. Its error ends the change.
type Plan func(now Seen) (*Write, error)

// Put is the write of a value as JSON.
func Put(value any) (*Write, error) {
	body, err := wire.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return &Write{Value: body}, nil
}

// Change reads key and writes what plan says, by compare-and-swap and as often as it
// takes. It returns the revision of the entry that it wrote, or left; 0 after a
// delete. After a write without an answer it reads the key: what is there tells
// whether the write was made. So no two values that a plan gives for different
// writes may be the same.
//
// An error of plan is returned as it is. In any other is ErrUnanswered if a write
// may have been made, or may still be. If it is not, nothing was written.
func Change(ctx context.Context, kv Cell, key string, plan Plan) (uint64, error) {
	c := change{kv: kv, key: key, plan: plan}
	now, err := c.read(ctx)
	if err != nil {
		return 0, err
	}
	return c.from(ctx, now)
}

// ChangeFrom is Change where the key is known already: the first write is made
// without a read.
func ChangeFrom(ctx context.Context, kv Cell, known Seen, plan Plan) (uint64, error) {
	c := change{kv: kv, key: known.Key, plan: plan}
	return c.from(ctx, known)
}

// change is one that is under way.
type change struct {
	kv   Cell
	key  string
	plan Plan
	sent *Write // the last one that was not confirmed
}

func (c *change) from(ctx context.Context, now Seen) (uint64, error) {
	var last error
	for range maxTries {
		if c.sent.made(now) {
			return now.Live(), nil
		}
		next, err := c.plan(now)
		switch {
		case err != nil:
			return 0, err
		case next == nil || next.Delete && now.Entry == nil:
			return now.Live(), nil
		}
		next.Key, next.Revision = c.key, now.Revision
		rev, err := c.write(ctx, next)
		switch {
		case err == nil:
			return rev, nil
		case Conflict(err):
			last = fmt.Errorf("%w: %w", ErrContended, err)
		case notWritten(err):
			return 0, c.failed(err)
		default:
			c.sent, last = next, err
		}
		if now, err = c.read(ctx); err != nil {
			return 0, c.failed(err)
		}
	}
	return 0, c.failed(last)
}

// failed is err as the end of the change, after which a write may be in doubt.
func (c *change) failed(err error) error {
	if c.sent == nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnanswered, err)
}

func (c *change) read(ctx context.Context) (Seen, error) {
	e, err := c.kv.Get(ctx, c.key)
	var gone *DeletedError
	switch {
	case err == nil:
		return Seen{Key: c.key, Entry: e, Revision: e.Revision(), Sent: c.sent}, nil
	case errors.As(err, &gone):
		return Seen{Key: c.key, Revision: gone.Revision, Sent: c.sent}, nil
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return Seen{Key: c.key, Sent: c.sent}, nil
	}
	return Seen{}, fmt.Errorf("read %q: %w", c.key, err)
}

func (c *change) write(ctx context.Context, w *Write) (rev uint64, err error) {
	if w.Delete {
		err = c.kv.Delete(ctx, c.key, jetstream.LastRevision(w.Revision))
	} else {
		rev, err = c.kv.Update(ctx, c.key, w.Value, w.Revision)
	}
	if err != nil {
		return 0, fmt.Errorf("write %q over revision %d: %w", c.key, w.Revision, err)
	}
	return rev, nil
}

// Live is the revision of the live entry, 0 where there is none.
func (s Seen) Live() uint64 {
	if s.Entry == nil {
		return 0
	}
	return s.Revision
}

// made reports whether a write that was not confirmed is what now lies there.
func (w *Write) made(now Seen) bool {
	switch {
	case w == nil || now.Revision == w.Revision:
		return false
	case now.Entry == nil:
		return w.Delete
	default:
		return !w.Delete && bytes.Equal(now.Entry.Value(), w.Value)
	}
}

// Conflict reports whether a write was refused since the key is at another revision
// than the write named, or exists though it was to be new.
func Conflict(err error) bool {
	return errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyExists)
}

// notWritten reports whether the error of a write proves that it was not made: the
// server has refused it, or it never reached one that could make it.
func notWritten(err error) bool {
	var full *jsapi.FullError
	var api *jetstream.APIError
	if errors.As(err, &full) || errors.As(err, &api) && api.Code != unavailable {
		return true
	}
	for _, target := range []error{
		ErrNotSent, nats.ErrNoResponders, jetstream.ErrNoStreamResponse, nats.ErrMaxPayload, jetstream.ErrInvalidKey,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// unavailable is the server's code for what it cannot do now. It may have begun.
const unavailable = 503
