package replayer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/history"
)

const (
	// callTimeout bounds one request to JetStream.
	callTimeout = 5 * time.Second
	// readTimeout bounds one reading of the history.
	readTimeout = time.Minute
	// contextNames is how many names the history before the window is read
	// for one by one; for more it is cheaper to read all of it.
	contextNames = 256
)

// journal is the subscriptions bucket as a history.
type journal struct {
	kv   jetstream.KeyValue
	js   feed.JetStream
	feed feed.Config // who reads, and what for
	ns   wire.Namespace
	log  zerolog.Logger
	// warned is the highest revision whose entry was reported as unreadable.
	warned uint64
}

// barrier is the value under wire.BarrierKey.
type barrier struct {
	Instance string    `json:"instance"`
	ID       string    `json:"id"` // tells whose write it was when an answer was lost
	At       time.Time `json:"at"`
}

// putBarrier writes a barrier and returns its revision: whatever was
// acknowledged before has a lower one, whatever is begun after, a higher one.
func (j *journal) putBarrier(ctx context.Context, instance string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	b := barrier{Instance: instance, ID: nuid.Next(), At: time.Now().UTC()}
	rev, err := bucket.Change(ctx, j.kv, wire.BarrierKey, func(bucket.Seen) (*bucket.Write, error) {
		return bucket.Put(b)
	})
	if err != nil {
		return 0, fmt.Errorf("write barrier: %w", err)
	}
	return rev, nil
}

// incarnation is when the bucket was created: a bucket of the same name but
// another incarnation has another history.
func (j *journal) incarnation(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	st, err := j.kv.Status(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("look at the subscriptions bucket: %w", err)
	}
	bs, ok := st.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return time.Time{}, fmt.Errorf("look at the subscriptions bucket: no stream behind it, but %s", st.BackingStore())
	}
	return bs.StreamInfo().Created.UTC(), nil
}

// chains reads and folds what happened from revision from up to the barrier.
func (j *journal) chains(ctx context.Context, from, barrier uint64) ([]history.Chain, error) {
	entries, err := j.read(ctx, []string{jetstream.AllKeys}, from, barrier)
	if err != nil {
		return nil, err
	}
	chains := history.Fold(entries, from)
	if from <= 1 || len(chains) == 0 {
		return chains, nil
	}
	// What was there before tells an update from a new life, and what a
	// tombstone ended.
	keys := []string{jetstream.AllKeys}
	if len(chains) <= contextNames {
		keys = []string{wire.BarrierKey}
		for _, c := range chains {
			keys = append(keys, c.Name)
		}
	}
	entries, err = j.read(ctx, keys, 1, barrier)
	if err != nil {
		return nil, err
	}
	return history.Fold(entries, from), nil
}

// read returns the entries of keys from revision from up to the barrier, which
// keys must include: the reading ends there, so that it is complete even when
// the server that is read from lags.
func (j *journal) read(ctx context.Context, keys []string, from, barrier uint64) ([]history.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	prefix := "$KV." + j.kv.Bucket() + "."
	cfg := j.feed
	cfg.Stream, cfg.After = "KV_"+j.kv.Bucket(), max(from, 1)-1
	for _, key := range keys {
		cfg.Filters = append(cfg.Filters, prefix+key)
	}
	var why error
	cfg.OnState = func(s feed.State) { why = s.Err }
	var entries []history.Entry
	var last uint64
	reading, done := context.WithCancel(ctx)
	defer done()
	_ = feed.New(j.js, cfg).Run(reading, func(m feed.Msg) { // no error without a look
		if last = m.Sequence; last >= barrier {
			done()
			return
		}
		entries = j.add(entries, strings.TrimPrefix(m.Subject, prefix), m)
	})
	if last < barrier {
		return nil, fmt.Errorf("read the history from revision %d: reached %d of %d: %w", from, last, barrier,
			errors.Join(context.Cause(ctx), why))
	}
	return entries, nil
}

// add appends the entry of a key, unless it is no subscription or nobody can
// read it.
func (j *journal) add(entries []history.Entry, key string, m feed.Msg) []history.Entry {
	if !wire.ValidName(key) {
		return entries
	}
	if bucket.Operation(m.Header) != jetstream.KeyValuePut {
		return append(entries, history.Entry{Name: key, Revision: m.Sequence, Deleted: true})
	}
	r, err := subscription.DecodeRecord(subscription.Entry{Key: key, Value: m.Data, Revision: m.Sequence, Created: m.Time}, j.ns)
	if err != nil {
		if m.Sequence > j.warned {
			j.warned = m.Sequence
			j.log.Warn().Err(err).Str("key", key).Uint64("revision", m.Sequence).Msg("history entry skipped")
		}
		return entries
	}
	return append(entries, history.Entry{Name: key, Revision: m.Sequence, UID: r.UID, Generation: r.Generation})
}
