package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

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
	Revision uint64 // of the value, or of the tombstone
	// Created is when the server stored that revision, by its clock.
	Created time.Time
	Deleted bool
	// Absent goes with Deleted where the key is gone but no tombstone was
	// seen: it expired, its tombstone was purged, or the bucket is another
	// one. Revision is then the last one known.
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
	// OnChange is called after the copy of key changed. It must not block; it
	// may read the Mirror. Optional.
	OnChange func(key string)
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

	// Owned by Run.
	created time.Time // of the bucket
	behind  bool      // at the last look the bucket ended before the copy
	once    sync.Once // closes synced
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

// Keys returns the keys that are not deleted, sorted.
func (m *Mirror) Keys() []string {
	m.mu.RLock()
	keys := make([]string, 0, len(m.entries))
	for k, e := range m.entries {
		if !e.Deleted {
			keys = append(keys, k)
		}
	}
	m.mu.RUnlock()
	slices.Sort(keys)
	return keys
}

// Live returns the entries that are not deleted, sorted by key.
func (m *Mirror) Live() []Entry {
	m.mu.RLock()
	live := make([]Entry, 0, len(m.entries))
	for _, e := range m.entries {
		if !e.Deleted {
			live = append(live, e)
		}
	}
	m.mu.RUnlock()
	slices.SortFunc(live, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return live
}

// Last is the highest revision seen, tombstones included.
func (m *Mirror) Last() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.last
}

// Run keeps the copy current until ctx ends and then returns nil. It may be
// called once.
func (m *Mirror) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := m.follow(ctx); err != nil && !errors.Is(err, errAnew) {
			m.pause(ctx)
		}
	}
	return nil
}

var (
	errAnew   = errors.New("the bucket is another one")
	errBehind = errors.New("the bucket ends before the copy")
)

func (m *Mirror) pause(ctx context.Context) {
	t := time.NewTimer(min(recheck, m.opts.Resync))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// follow lives through one listing and what comes after it, until the next
// listing is due. The error is one of look.
func (m *Mirror) follow(ctx context.Context) error {
	select { // this listing is the one asked for
	case <-m.kick:
	default:
	}
	l := &listing{begun: time.Now(), seen: make(map[string]struct{}), done: make(chan time.Duration, 1)}
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g.Go(func() error {
		defer stop()
		m.awaitNext(ctx, l.done)
		return nil
	})
	g.Go(func() error {
		return m.kv.Follow(ctx, bucket.Following{
			Keys: m.opts.Keys, Look: m.look, Log: m.opts.Log,
			Entry:  func(e jetstream.KeyValueEntry) { m.take(l, e) },
			Listed: func() { l.done <- m.settle(ctx, l) },
		})
	})
	return g.Wait()
}

// listing is a listing that is under way.
type listing struct {
	begun  time.Time
	seen   map[string]struct{}
	newest uint64             // revision
	done   chan time.Duration // cap 1: after which time the next one is due
}

// awaitNext waits until the next listing is due, or asked for after this one
// was done: one that was asked for meanwhile must show what is written now.
func (m *Mirror) awaitNext(ctx context.Context, done <-chan time.Duration) {
	var due <-chan time.Time
	var kick <-chan struct{}
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-done:
			t := time.NewTimer(d)
			defer t.Stop()
			due, kick = t.C, m.kick
		case <-due:
			return
		case <-kick:
			return
		}
	}
}

// look notices a bucket that is another one than the copy shows. One that was
// created anew is told by its time of creation, one that was set back by
// its last revision, and only the second time: the server that was asked
// may have been behind the one that was read.
func (m *Mirror) look(info *jetstream.StreamInfo) error {
	if m.created.IsZero() {
		m.created = info.Created
	}
	anew := !info.Created.Equal(m.created)
	behind := info.State.LastSeq < m.Last()
	switch {
	case anew || behind && m.behind:
		m.opts.Log.Warn().Time("created", info.Created).Uint64("last", info.State.LastSeq).Uint64("seen", m.Last()).
			Msg("bucket is another one than before")
		m.created, m.behind = info.Created, false
		m.forget()
		return errAnew
	case behind:
		m.behind = true
		return errBehind
	}
	m.behind = false
	return nil
}

// forget makes every key absent at revision 0, so that any entry replaces it.
// Tombstones too: who keeps revisions must start over.
func (m *Mirror) forget() {
	m.mu.Lock()
	m.last = 0
	gone := make([]string, 0, len(m.entries))
	for k, e := range m.entries {
		gone = append(gone, k)
		e.Revision = 0
		m.entries[k] = m.absent(e)
	}
	m.mu.Unlock()
	slices.Sort(gone)
	for _, k := range gone {
		m.opts.OnChange(k)
	}
}

// take takes over what Follow hands over.
func (m *Mirror) take(l *listing, e jetstream.KeyValueEntry) {
	next := Entry{
		Key: e.Key(), Revision: e.Revision(), Created: e.Created(), Deleted: e.Operation() != jetstream.KeyValuePut,
	}
	if !next.Deleted {
		next.Value = e.Value()
	}
	if l.seen != nil {
		l.seen[next.Key] = struct{}{}
		l.newest = max(l.newest, next.Revision)
	}
	m.apply(next)
}

// apply takes next over into the copy unless it is stale.
func (m *Mirror) apply(next Entry) {
	m.mu.Lock()
	have, known := m.entries[next.Key]
	stale := known && next.Revision <= have.Revision
	if stale && have.Absent && next.Revision == have.Revision {
		stale = false // it was not gone after all, or here is its tombstone
	}
	if !stale {
		m.entries[next.Key] = next
		m.last = max(m.last, next.Revision)
	}
	m.mu.Unlock()
	if !stale {
		m.opts.OnChange(next.Key)
	}
}

// settle ends a listing, and returns after which time the next one is due. Live
// keys that the listing did not show are read from the bucket's leader:
// they may have been written while it was made, or it came from a server that
// is behind. Tombstones that it did not show are forgotten, unless it may
// have been too old to show them.
func (m *Mirror) settle(ctx context.Context, l *listing) (next time.Duration) {
	next = max(m.opts.Resync, listingShare*time.Since(l.begun))
	missed := m.missedBy(l)
	l.seen = nil
	for _, e := range missed {
		if ctx.Err() != nil {
			return next
		}
		if err := m.read(ctx, e); err != nil {
			m.opts.Log.Warn().Err(err).Str("key", e.Key).Int("keys", len(missed)).Msg("not known whether keys are gone")
			next = min(recheck, m.opts.Resync)
			break
		}
	}
	m.once.Do(func() { close(m.synced) })
	return next
}

// missedBy returns the live entries that a listing did not show, sorted by key,
// and forgets the tombstones that it would have shown.
func (m *Mirror) missedBy(l *listing) (missed []Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.entries {
		_, seen := l.seen[k]
		switch {
		case seen:
		case !e.Deleted:
			missed = append(missed, e)
		case e.Absent && m.opts.KeepAbsent && e.Value != nil:
		case e.Revision <= l.newest:
			delete(m.entries, k)
		}
	}
	slices.SortFunc(missed, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return missed
}

// read takes over what the bucket's leader says of the key of have.
func (m *Mirror) read(ctx context.Context, have Entry) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	e, err := m.kv.Get(ctx, have.Key)
	var tombstone *bucket.DeletedError
	switch {
	case err == nil:
		m.apply(Entry{Key: have.Key, Value: e.Value(), Revision: e.Revision(), Created: e.Created()})
	case errors.As(err, &tombstone):
		m.apply(Entry{Key: have.Key, Revision: tombstone.Revision, Created: tombstone.Created, Deleted: true})
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrInvalidKey):
		m.vanish(have)
	default:
		return fmt.Errorf("read key %q: %w", have.Key, err)
	}
	return nil
}

// absent is what takes the place of have.
func (m *Mirror) absent(have Entry) Entry {
	next := Entry{Key: have.Key, Revision: have.Revision, Deleted: true, Absent: true}
	if m.opts.KeepAbsent {
		next.Value, next.Created = have.Value, have.Created
	}
	return next
}

// vanish makes a key absent.
func (m *Mirror) vanish(have Entry) {
	m.mu.Lock()
	m.entries[have.Key] = m.absent(have)
	m.mu.Unlock()
	m.opts.OnChange(have.Key)
}
