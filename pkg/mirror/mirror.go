package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Bucket is the part of jetstream.KeyValue that a Mirror needs.
type Bucket interface {
	Watch(ctx context.Context, keys string, opts ...jetstream.WatchOpt) (jetstream.KeyWatcher, error)
	Status(ctx context.Context) (jetstream.KeyValueStatus, error)
}

// Entry is a key as the copy shows it.
type Entry struct {
	Key      string
	Value    []byte // not to be changed; nil once deleted
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
	// OnChange is called after the copy of key changed. It must not block; it
	// may read the Mirror. Optional.
	OnChange func(key string)
	// Log gets warnings. The zero value drops them.
	Log zerolog.Logger
}

const (
	defaultResync = 30 * time.Second
	// openTimeout bounds the requests that open a watch.
	openTimeout = 5 * time.Second
	// stopTimeout bounds the wait for a watch to let go of its channel.
	stopTimeout = 2 * time.Second
	minRetry    = 100 * time.Millisecond
	maxRetry    = 2 * time.Second
	// recheck is how soon a key is looked for again that a listing did not
	// have, where the listing may only have been older than the copy.
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
	created  time.Time           // of the bucket
	suspects map[string]struct{} // missed by the last listing, not yet believed
	once     sync.Once           // closes synced
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
		entries: make(map[string]Entry), suspects: make(map[string]struct{}),
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
	slices.SortFunc(live, func(a, b Entry) int {
		if a.Key < b.Key {
			return -1
		}
		return 1 // keys are unique
	})
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
	wait := minRetry
	for ctx.Err() == nil {
		listed, err := m.follow(ctx)
		if listed {
			wait = minRetry
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		m.opts.Log.Warn().Err(err).Int64("retry_ms", wait.Milliseconds()).Msg("bucket watch ended")
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxRetry)
	}
	return nil
}

var (
	errWatchClosed  = errors.New("watch closed by the client library")
	errWatchStalled = errors.New("listing did not finish")
)

// follow lives through one watch: a listing and what comes after it. It
// returns nil when the next listing is due.
func (m *Mirror) follow(ctx context.Context) (listed bool, err error) {
	select { // this listing is the one asked for
	case <-m.kick:
	default:
	}
	if err := m.checkBucket(ctx); err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := time.Now()
	w, err := m.open(ctx, cancel)
	if err != nil {
		return false, err
	}
	defer stop(w)

	due := time.NewTimer(m.opts.Resync)
	defer due.Stop()
	seen := make(map[string]struct{})
	var newest uint64
	for {
		select {
		case <-ctx.Done():
			return listed, nil
		case <-due.C:
			if !listed {
				return false, errWatchStalled
			}
			return true, nil
		case <-m.whenListed(listed):
			return true, nil
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return listed, errWatchClosed
			case e != nil:
				m.apply(e)
				if !listed {
					seen[e.Key()] = struct{}{}
					newest = max(newest, e.Revision())
				}
			case !listed: // a nil entry ends the listing
				listed = true
				next := max(m.opts.Resync, listingShare*time.Since(begun))
				if m.settle(seen, newest) {
					next = min(recheck, m.opts.Resync)
				}
				due.Reset(next)
				seen = nil
			}
		}
	}
}

// whenListed is the kick channel once the listing is done: a kick that comes
// during a listing asks for another one.
func (m *Mirror) whenListed(listed bool) <-chan struct{} {
	if !listed {
		return nil
	}
	return m.kick
}

// open opens the watch, within openTimeout: the watch itself ends with ctx.
func (m *Mirror) open(ctx context.Context, cancel context.CancelFunc) (jetstream.KeyWatcher, error) {
	late := time.AfterFunc(openTimeout, cancel)
	w, err := m.kv.Watch(ctx, m.opts.Keys)
	inTime := late.Stop()
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", m.opts.Keys, err)
	}
	if !inTime {
		stop(w)
		return nil, fmt.Errorf("watch %q: not open after %v", m.opts.Keys, openTimeout)
	}
	return w, nil
}

// stop ends w and reads it empty: its callback holds a lock while it waits for
// room in the channel, and the channel is closed under the same lock.
func stop(w jetstream.KeyWatcher) {
	_ = w.Stop() // an error means it has ended
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	for {
		select {
		case _, ok := <-w.Updates():
			if !ok {
				return
			}
		case <-late.C:
			return
		}
	}
}

// checkBucket notices a bucket that was created anew: its revisions start
// over, so the copy of the old one says nothing about it.
func (m *Mirror) checkBucket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	st, err := m.kv.Status(ctx)
	if err != nil {
		return fmt.Errorf("look at the bucket: %w", err)
	}
	bs, ok := st.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return nil
	}
	created := bs.StreamInfo().Created
	if !m.created.IsZero() && !created.Equal(m.created) {
		m.opts.Log.Warn().Time("created", created).Msg("bucket was created anew")
		m.forget()
	}
	m.created = created
	return nil
}

// forget makes every key absent at revision 0, so that any entry replaces it.
// Tombstones too: who keeps revisions must start over.
func (m *Mirror) forget() {
	m.mu.Lock()
	m.last = 0
	var gone []string
	for k := range m.entries {
		gone = append(gone, k)
		m.entries[k] = Entry{Key: k, Deleted: true, Absent: true}
	}
	m.mu.Unlock()
	m.report(gone)
}

// apply takes an entry of the watch over into the copy unless it is stale.
func (m *Mirror) apply(e jetstream.KeyValueEntry) {
	next := Entry{
		Key: e.Key(), Revision: e.Revision(), Created: e.Created(), Deleted: e.Operation() != jetstream.KeyValuePut,
	}
	if !next.Deleted {
		next.Value = e.Value()
	}
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

// settle ends a listing that showed the keys of seen, the newest at revision
// newest: live keys that it did not show are gone, tombstones that it did not
// show are forgotten. A listing may come from a replica that lags, so a key
// newer than all it showed must be missed twice; settle reports whether there
// are such keys.
func (m *Mirror) settle(seen map[string]struct{}, newest uint64) (again bool) {
	suspects := make(map[string]struct{})
	var gone []string
	m.mu.Lock()
	for k, e := range m.entries {
		if _, ok := seen[k]; ok {
			continue
		}
		_, missedBefore := m.suspects[k]
		switch {
		case e.Revision > newest && !missedBefore:
			suspects[k] = struct{}{}
		case e.Deleted:
			delete(m.entries, k)
		default:
			m.entries[k] = Entry{Key: k, Revision: e.Revision, Deleted: true, Absent: true}
			gone = append(gone, k)
		}
	}
	m.mu.Unlock()
	m.suspects = suspects
	m.report(gone)
	m.once.Do(func() { close(m.synced) })
	return len(suspects) > 0
}

func (m *Mirror) report(keys []string) {
	slices.Sort(keys)
	for _, k := range keys {
		m.opts.OnChange(k)
	}
}
