package buckettest

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
)

// KV is a bucket in memory, for tests of timing in a testing/synctest bubble.
// It has Get, Create, Update, Delete, Forget and Follow; any other method panics. Entries
// expire TTL after they were written, without a marker, as in a bucket of the real
// server.
type KV struct {
	bucket.KeyValue // nil: panics on what is not here

	// TTL of entries; 0 is for ever.
	TTL time.Duration
	// Before is called before an operation ("get", "create", "update",
	// "delete", "forget", "follow") takes effect, and After after it did. Either may
	// block, and an error is what the caller gets instead of an answer. To be
	// set before use; optional.
	Before, After func(ctx context.Context, op, key string) error

	mu        sync.Mutex
	seq       uint64
	entries   map[string]kvEntry
	made      time.Time
	followers map[*follower]struct{}
	deaf      bool
}

// New returns an empty bucket.
func New(ttl time.Duration) *KV {
	return &KV{TTL: ttl, made: time.Now(), entries: make(map[string]kvEntry), followers: make(map[*follower]struct{})}
}

type kvEntry struct {
	key     string
	value   []byte
	rev     uint64
	created time.Time
	op      jetstream.KeyValueOp
}

func (e kvEntry) Bucket() string                  { return "fake" }
func (e kvEntry) Key() string                     { return e.key }
func (e kvEntry) Value() []byte                   { return e.value }
func (e kvEntry) Revision() uint64                { return e.rev }
func (e kvEntry) Created() time.Time              { return e.created }
func (e kvEntry) Delta() uint64                   { return 0 }
func (e kvEntry) Operation() jetstream.KeyValueOp { return e.op }

// do runs one operation between the hooks.
func (k *KV) do(ctx context.Context, op, key string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.Before != nil {
		if err := k.Before(ctx, op, key); err != nil {
			return err
		}
	}
	k.mu.Lock()
	err := f()
	k.mu.Unlock()
	if k.After != nil {
		if aerr := k.After(ctx, op, key); aerr != nil {
			return aerr
		}
	}
	return err
}

// last returns the entry of key, if it has not expired. Under mu.
func (k *KV) last(key string) (kvEntry, bool) {
	e, ok := k.entries[key]
	if ok && k.TTL > 0 && time.Since(e.created) >= k.TTL {
		delete(k.entries, key)
		return kvEntry{}, false
	}
	return e, ok
}

// write stores an entry and tells the followers. Under mu.
func (k *KV) write(key string, value []byte, op jetstream.KeyValueOp) uint64 {
	k.seq++
	e := kvEntry{key: key, value: slices.Clone(value), rev: k.seq, created: time.Now(), op: op}
	k.entries[key] = e
	if !k.deaf {
		for f := range k.followers {
			if f.matches(key) {
				f.push(e)
			}
		}
	}
	return e.rev
}

// Get returns the live entry of key.
func (k *KV) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	var found kvEntry
	err := k.do(ctx, "get", key, func() error {
		e, ok := k.last(key)
		switch {
		case !ok:
			return jetstream.ErrKeyNotFound
		case e.op != jetstream.KeyValuePut:
			return &bucket.DeletedError{Key: key, Revision: e.rev, Created: e.created}
		}
		found = e
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Create writes key if it is not there.
func (k *KV) Create(ctx context.Context, key string, value []byte, _ ...jetstream.KVCreateOpt) (uint64, error) {
	var rev uint64
	err := k.do(ctx, "create", key, func() error {
		if e, ok := k.last(key); ok && e.op == jetstream.KeyValuePut {
			return jetstream.ErrKeyExists
		}
		rev = k.write(key, value, jetstream.KeyValuePut)
		return nil
	})
	return rev, err
}

// Update writes key if it is at revision.
func (k *KV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return k.replace(ctx, bucket.Write{Key: key, Value: value, Revision: revision})
}

// replace makes one write, an "update" or a "delete".
func (k *KV) replace(ctx context.Context, w bucket.Write) (rev uint64, err error) {
	op, kind := "update", jetstream.KeyValuePut
	if w.Delete {
		op, kind = "delete", jetstream.KeyValueDelete
	}
	err = k.do(ctx, op, w.Key, func() error {
		if e, _ := k.last(w.Key); e.rev != w.Revision {
			return jetstream.ErrKeyRevisionMismatch
		}
		rev = k.write(w.Key, w.Value, kind)
		return nil
	})
	return rev, err
}

// Delete leaves a tombstone, if key is at the revision that an option names.
func (k *KV) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	return k.do(ctx, "delete", key, func() error {
		for _, o := range opts {
			if e, _ := k.last(key); lastRevision(o) != 0 && lastRevision(o) != e.rev {
				return jetstream.ErrKeyRevisionMismatch
			}
		}
		k.write(key, nil, jetstream.KeyValueDelete)
		return nil
	})
}

// Forget removes key if it is at the revision, or at an earlier one.
func (k *KV) Forget(ctx context.Context, key string, revision uint64) error {
	return k.do(ctx, "forget", key, func() error {
		if e, ok := k.last(key); ok && e.rev <= revision {
			delete(k.entries, key)
		}
		return nil
	})
}

// lastRevision is the revision in jetstream.LastRevision, 0 in any other
// option. The client library hides it: an option is a function over a struct
// that is not exported.
func lastRevision(o jetstream.KVDeleteOpt) uint64 {
	f := reflect.ValueOf(o)
	if f.Kind() != reflect.Func {
		return 0
	}
	into := reflect.New(f.Type().In(0).Elem())
	f.Call([]reflect.Value{into})
	return into.Elem().FieldByName("revision").Uint()
}

// Erase removes a key without a trace, as the purge of a tombstone does.
func (k *KV) Erase(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.entries, key)
}

// Deafen makes running Follows miss what is written while on.
func (k *KV) Deafen(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deaf = on
}

// Renew makes the bucket anew: it is empty, and its revisions start over.
func (k *KV) Renew() {
	k.mu.Lock()
	k.made = k.made.Add(max(time.Since(k.made), 0) + 1)
	k.mu.Unlock()
	k.SetBack()
}

// SetBack takes from the bucket all that it ever held, as if a copy of it had
// been restored that was made when it was empty.
func (k *KV) SetBack() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.entries)
	k.seq = 0
	for f := range k.followers {
		f.again = true
		f.notify()
	}
}

// LoseLast takes back the last write, as a server does that lost what it had not
// written to disk: the key is as it was at an earlier write, with that value. Nobody
// is told.
func (k *KV) LoseLast(key, was string, rev uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[key]
	e.value, e.rev = []byte(was), rev
	k.entries[key] = e
	k.seq--
}

// Follow is part of bucket.KeyValue. What is written while the KV is deaf is not
// told.
func (k *KV) Follow(ctx context.Context, to bucket.Following) error {
	f := &follower{Following: to, more: make(chan struct{}, 1)}
	defer func() {
		k.mu.Lock()
		delete(k.followers, f)
		k.mu.Unlock()
	}()
	for begin := true; ctx.Err() == nil; {
		if begin {
			if err := k.list(ctx, f); err != nil {
				return err
			}
		}
		k.mu.Lock()
		queue := f.queue
		f.queue, begin, f.again = nil, f.again, false
		k.mu.Unlock()
		if begin {
			continue
		}
		for _, tell := range queue {
			if ctx.Err() == nil {
				tell()
			}
		}
		select {
		case <-f.more:
		case <-ctx.Done():
		}
	}
	return nil
}

// list queues what the bucket holds. It blocks as long as the hook before it
// does, and goes on trying while that fails.
func (k *KV) list(ctx context.Context, f *follower) error {
	k.mu.Lock()
	info := &jetstream.StreamInfo{Created: k.made, State: jetstream.StreamState{LastSeq: k.seq}}
	k.mu.Unlock()
	if f.Look != nil {
		if err := f.Look(info); err != nil {
			return err
		}
	}
	for k.Before != nil && k.Before(ctx, "follow", f.Keys) != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var found []kvEntry
	for key := range k.entries {
		if e, ok := k.last(key); ok && f.matches(key) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b kvEntry) int { return int(a.rev) - int(b.rev) })
	for _, e := range found {
		f.push(e)
	}
	if f.Listed != nil {
		f.queue = append(f.queue, f.Listed)
	}
	k.followers[f] = struct{}{}
	return nil
}

// follower is a running Follow. Its fields are under the KV's mu.
type follower struct {
	bucket.Following
	more  chan struct{} // cap 1
	queue []func()      // as long as the test's writes
	again bool          // the bucket is another one
}

func (f *follower) matches(key string) bool {
	switch prefix, ok := strings.CutSuffix(f.Keys, "*"); {
	case f.Keys == jetstream.AllKeys, f.Keys == "":
		return true
	case ok:
		return strings.HasPrefix(key, prefix) && !strings.Contains(key[len(prefix):], ".")
	default:
		return key == f.Keys
	}
}

func (f *follower) push(e kvEntry) {
	f.queue = append(f.queue, func() { f.Entry(e) })
	f.notify()
}

func (f *follower) notify() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}
