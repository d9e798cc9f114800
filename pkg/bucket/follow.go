package bucket

import (
	"cmp"
	"context"
	"iter"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/feed"
)

// KeyValue is a bucket: the client library's, but for the reads.
type KeyValue interface {
	// Of its methods those that list or watch keys are not to be used: entries
	// with certain headers stop them. Follow is.
	jetstream.KeyValue

	// Follow hands over the last entry of each key, and then what follows, in the
	// order of the revisions, until ctx ends (nil) or Following.Look says so. No
	// entry is left out that the bucket still has. While the server is away, or
	// the bucket is, it goes on trying.
	Follow(ctx context.Context, f Following) error

	// List hands over the last entry of each key and returns. Of f it uses neither
	// Listed nor Look. The error, where ctx ends first, says why they were not read.
	List(ctx context.Context, f Following) error

	// Forget removes what the bucket has of key up to a revision, that one
	// included: a tombstone, with all that was before it. What is written
	// meanwhile stays. Nobody who follows the bucket is told.
	Forget(ctx context.Context, key string, revision uint64) error

	// WriteAll makes the writes, of different keys, at most Window of them at once,
	// and tells what became of each that was begun, from this goroutine. It returns
	// the error with which Told, or ctx, ended it.
	WriteAll(ctx context.Context, writes iter.Seq[Write], told Told) error
}

// Following says what Follow tells, and to whom. All functions are called from
// the goroutine of Follow, one after the other; while one blocks, nothing comes.
type Following struct {
	// Keys is the filter over keys, with the wildcards of subjects. Defaults
	// to ">", all.
	Keys string
	// After leaves out the entries up to that revision, and gives all those above
	// it that the bucket has. Defaults to 0: the last one of each key.
	After uint64
	// NoValues leaves the values of entries out.
	NoValues bool
	// Entry is told each entry, tombstones included. Required.
	Entry func(jetstream.KeyValueEntry)
	// Listed is told once when all that the bucket held has been handed over.
	// Optional.
	Listed func()
	// Look is told of the bucket's stream before it is read, and again before
	// it is read on after a disturbance. An error ends Follow with it. Optional.
	Look func(*jetstream.StreamInfo) error
	// Purpose is the consumers' description. Defaults to "follows a bucket".
	Purpose string
	// Log gets warnings. The zero value drops them.
	Log zerolog.Logger
}

func (b *bucket) Follow(ctx context.Context, f Following) error {
	cfg := b.feed(f)
	cfg.Look = f.Look
	listed := false
	cfg.OnListed = func() {
		if !listed && f.Listed != nil {
			f.Listed()
		}
		listed = true
	}
	return feed.New(b.js, cfg).Run(ctx, b.told(f))
}

func (b *bucket) List(ctx context.Context, f Following) error {
	return feed.Read(ctx, b.js, b.feed(f), b.told(f))
}

// feed is what reads the last entry of each key.
func (b *bucket) feed(f Following) feed.Config {
	return feed.Config{
		Stream: b.stream, Filters: []string{b.prefix + cmp.Or(f.Keys, jetstream.AllKeys)}, After: f.After, LastPerSubject: f.After == 0,
		HeadersOnly: f.NoValues, Owner: b.owner, Purpose: cmp.Or(f.Purpose, "follows a bucket"), Log: f.Log,
	}
}

// told makes entries of the messages of the bucket's stream.
func (b *bucket) told(f Following) func(feed.Msg) {
	return func(m feed.Msg) {
		f.Entry(&entry{
			bucket: b.Bucket(), key: strings.TrimPrefix(m.Subject, b.prefix), value: m.Data,
			revision: m.Sequence, created: m.Time, op: Operation(m.Header),
		})
	}
}
