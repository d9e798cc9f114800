package natstest

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
// It has Get, Create, Update, Delete, Watch and Status; any other method
// panics. Entries expire TTL after they were written, without a marker, as in
// a bucket of the real server.
type KV struct {
	jetstream.KeyValue // nil: panics on what is not here

	// TTL of entries; 0 is for ever.
	TTL time.Duration
	// Before is called before an operation ("get", "create", "update",
	// "delete", "watch") takes effect, and After after it did. Either may
	// block, and an error is what the caller gets instead of an answer. To be
	// set before use; optional.
	Before, After func(ctx context.Context, op, key string) error

	mu       sync.Mutex
	seq      uint64
	entries  map[string]kvEntry
	watchers map[*kvWatcher]struct{}
	deaf     bool
}

// NewKV returns an empty bucket.
func NewKV(ttl time.Duration) *KV {
	return &KV{TTL: ttl, entries: make(map[string]kvEntry), watchers: make(map[*kvWatcher]struct{})}
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

// write stores an entry and tells the watchers. Under mu.
func (k *KV) write(key string, value []byte, op jetstream.KeyValueOp) uint64 {
	k.seq++
	e := kvEntry{key: key, value: slices.Clone(value), rev: k.seq, created: time.Now(), op: op}
	k.entries[key] = e
	if !k.deaf {
		for w := range k.watchers {
			if w.matches(key) {
				w.push(e)
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
			return &bucket.DeletedError{Key: key, Revision: e.rev}
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
	var rev uint64
	err := k.do(ctx, "update", key, func() error {
		if e, _ := k.last(key); e.rev != revision {
			return jetstream.ErrKeyRevisionMismatch
		}
		rev = k.write(key, value, jetstream.KeyValuePut)
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

// Status knows nothing.
func (k *KV) Status(context.Context) (jetstream.KeyValueStatus, error) { return nil, nil }

// Erase removes a key without a trace, as the purge of a tombstone does.
func (k *KV) Erase(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.entries, key)
}

// Deafen makes running and new watches miss what is written while on.
func (k *KV) Deafen(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deaf = on
}

// CloseWatches closes the channel of every watch, as the client library does
// when it cannot go on.
func (k *KV) CloseWatches() {
	k.mu.Lock()
	ws := make([]*kvWatcher, 0, len(k.watchers))
	for w := range k.watchers {
		ws = append(ws, w)
	}
	k.mu.Unlock()
	for _, w := range ws {
		_ = w.Stop() // returns nil
	}
}

// Watch delivers the last entries of the keys that match, nil, and what comes.
func (k *KV) Watch(ctx context.Context, keys string, _ ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	w := &kvWatcher{
		kv: k, keys: keys, out: make(chan jetstream.KeyValueEntry),
		more: make(chan struct{}, 1), done: make(chan struct{}),
	}
	err := k.do(ctx, "watch", keys, func() error {
		var found []kvEntry
		for key := range k.entries {
			if e, ok := k.last(key); ok && w.matches(key) {
				found = append(found, e)
			}
		}
		slices.SortFunc(found, func(a, b kvEntry) int { return int(a.rev) - int(b.rev) })
		for _, e := range found {
			w.push(e)
		}
		w.push(nil)
		k.watchers[w] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	go w.pump(ctx)
	return w, nil
}

type kvWatcher struct {
	kv   *KV
	keys string
	out  chan jetstream.KeyValueEntry
	more chan struct{} // cap 1
	done chan struct{}
	once sync.Once

	mu    sync.Mutex
	queue []jetstream.KeyValueEntry // as long as the test's writes
}

func (w *kvWatcher) matches(key string) bool {
	switch prefix, ok := strings.CutSuffix(w.keys, "*"); {
	case w.keys == jetstream.AllKeys:
		return true
	case ok:
		return strings.HasPrefix(key, prefix) && !strings.Contains(key[len(prefix):], ".")
	default:
		return key == w.keys
	}
}

func (w *kvWatcher) push(e jetstream.KeyValueEntry) {
	w.mu.Lock()
	w.queue = append(w.queue, e)
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *kvWatcher) pump(ctx context.Context) {
	defer close(w.out)
	for {
		w.mu.Lock()
		queue := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, e := range queue {
			select {
			case w.out <- e:
			case <-w.done:
				return
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-w.more:
		case <-w.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (w *kvWatcher) Updates() <-chan jetstream.KeyValueEntry { return w.out }

func (w *kvWatcher) Stop() error {
	w.once.Do(func() {
		close(w.done)
		w.kv.mu.Lock()
		defer w.kv.mu.Unlock()
		delete(w.kv.watchers, w)
	})
	return nil
}
