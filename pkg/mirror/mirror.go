package mirror

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
)

// Bucket is the part of a bucket.KeyValue that a Mirror needs.
type Bucket interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Follow(ctx context.Context, f bucket.Following) error
}

// Entry is a key as the copy shows it.
type Entry struct {
	Key      string
	Value    []byte // not to be changed; nil once deleted, but see Options.KeepAbsent
	Revision uint64 // the revision of the value, or else of the tombstone
	// Created is when the server stored that revision, by its clock.
	Created time.Time
	Deleted bool
	// Absent goes with Deleted where the key is gone but no tombstone was
	// seen: it expired, somebody removed it, or the bucket is another one.
	// Revision is then the last one known. But see Options.Tombstones.
	Absent bool
}

// Options of a Mirror.
type Options struct {
	// Keys is the filter over keys, with the wildcards of subjects. Defaults
	// to ">", all.
	Keys string
	// Resync is the period of full listings, or more where one takes so long
	// that it would be at it for over a hundredth of the time. Defaults to 30s.
	Resync time.Duration
	// KeepAbsent keeps the last value of keys that are absent, until they are
	// written or deleted: for a bucket from which nothing goes without a
	// tombstone but by mistake. Otherwise they are forgotten soon.
	KeepAbsent bool
	// Tombstones is how long the bucket keeps tombstones at least; 0 is for ever.
	// A key that went during a longer silence counts as deleted, not as absent:
	// it may have had a tombstone that is gone by now.
	Tombstones time.Duration
	// OnChange is called after the copy of key changed. It must not block; it
	// may read the Mirror. Optional.
	OnChange func(key string)
	// Same reports whether two live entries of a key differ in nothing that
	// OnChange is to be told of. The copy has the later one all the same. It must
	// not use the Mirror. Optional.
	Same func(was, now Entry) bool
	// OnForget is OnChange for a key that was gone, and of which the copy knows
	// nothing any more. Optional.
	OnForget func(key string)
	// Log gets warnings. The zero value drops them.
	Log zerolog.Logger
}

const (
	defaultResync = 30 * time.Second
	// readTimeout bounds a read of a key that a listing did not have.
	readTimeout = 2 * time.Second
	// recheck is how soon the bucket is listed again where that left a doubt.
	recheck = time.Second
	// listingShare is how many times as long as a listing took the next one
	// waits at least: of 10,000 keys it costs some hundred milliseconds of
	// processor time here and in the server.
	listingShare = 100
)

// Mirror is a local copy of a bucket. Its methods may be called from any
// goroutine, at any time.
type Mirror struct {
	kv     Bucket
	opts   Options
	kick   chan struct{} // cap 1: asks coalesce
	synced chan struct{}

	mu      sync.RWMutex
	entries map[string]Entry
	last    uint64
	created time.Time // when the bucket was made

	// Owned by Run.
	behind bool      // at the last look the bucket ended before the copy
	whole  time.Time // when the last listing began that left no doubt
	once   sync.Once // closes synced
}

// New returns a Mirror of kv that is empty until Run.
func New(kv Bucket, opts Options) *Mirror {
	if opts.Keys == "" {
		opts.Keys = jetstream.AllKeys
	}
	if opts.Resync <= 0 {
		opts.Resync = defaultResync
	}
	if opts.OnChange == nil {
		opts.OnChange = func(string) {}
	}
	if opts.Same == nil {
		opts.Same = func(Entry, Entry) bool { return false }
	}
	if opts.OnForget == nil {
		opts.OnForget = func(string) {}
	}
	return &Mirror{
		kv: kv, opts: opts,
		kick: make(chan struct{}, 1), synced: make(chan struct{}),
		entries: make(map[string]Entry),
	}
}

// Kick asks for a full listing now, e.g. after a reconnect. It does not wait.
func (m *Mirror) Kick() {
	select {
	case m.kick <- struct{}{}:
	default: // one is due already
	}
}

// Synced is closed once the first listing is complete.
func (m *Mirror) Synced() <-chan struct{} { return m.synced }

// Get returns the copy of key. It returns false for a key that was never seen
// and for one whose tombstone is gone from the bucket.
func (m *Mirror) Get(key string) (Entry, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.entries[key]
	return e, ok
}

// Each calls f with every entry that is not deleted, in no order: for whoever goes
// through a large bucket often. The copy does not change meanwhile, so f must be
// quick, and must not use the Mirror.
func (m *Mirror) Each(f func(Entry)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, e := range m.entries {
		if !e.Deleted {
			f(e)
		}
	}
}

// Live returns the entries that are not deleted, sorted by key.
func (m *Mirror) Live() []Entry {
	m.mu.RLock()
	live := make([]Entry, 0, len(m.entries))
	m.mu.RUnlock()
	m.Each(func(e Entry) { live = append(live, e) })
	slices.SortFunc(live, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return live
}

// Absent returns the keys that are absent and whose value was kept, sorted.
func (m *Mirror) Absent() []string {
	m.mu.RLock()
	var keys []string
	for k, e := range m.entries {
		if e.Absent && e.Value != nil {
			keys = append(keys, k)
		}
	}
	m.mu.RUnlock()
	slices.Sort(keys)
	return keys
}

// Created is when the bucket was made that the copy shows, by the server's clock;
// zero before the first listing.
func (m *Mirror) Created() time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.created
}

// Last is the highest revision seen, tombstones included.
func (m *Mirror) Last() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.last
}
