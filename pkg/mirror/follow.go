package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
)

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
	l := &listing{begun: time.Now(), seen: make(map[string]bool), done: make(chan time.Duration, 1)}
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
			Keys: m.opts.Keys, Log: m.opts.Log,
			Look: func(info *jetstream.StreamInfo) error {
				if len(l.seen) == 0 {
					l.begun = time.Now() // the bucket may have been away before
				}
				return m.look(info)
			},
			Entry:  func(e jetstream.KeyValueEntry) { m.take(l, e) },
			Listed: func() { l.done <- m.settle(ctx, l) },
		})
	})
	return g.Wait()
}

// listing is a listing that is under way.
type listing struct {
	begun  time.Time
	seen   map[string]bool    // the keys, true where the copy has a later revision
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
	was, last := m.bucket(info)
	anew, behind := !info.Created.Equal(was), info.State.LastSeq < last
	switch {
	case anew || behind && m.behind:
		m.opts.Log.Warn().Time("created", info.Created).Uint64("last", info.State.LastSeq).Uint64("seen", last).
			Msg("bucket is another one than before")
		m.behind = false
		m.forget(info.Created)
		return errAnew
	case behind:
		m.behind = true
		return errBehind
	}
	m.behind = false
	return nil
}

// bucket returns when the bucket was made that the copy shows, and its last
// revision that was seen; at first it is the one of info.
func (m *Mirror) bucket(info *jetstream.StreamInfo) (created time.Time, last uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.created.IsZero() {
		m.created = info.Created
	}
	return m.created, m.last
}

// forget makes every key absent at revision 0, so that any entry replaces it.
// Tombstones too: who keeps revisions must start over.
func (m *Mirror) forget(created time.Time) {
	m.mu.Lock()
	m.last, m.created = 0, created
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
	later := m.apply(next)
	if l.seen != nil {
		l.seen[next.Key] = later
		l.newest = max(l.newest, next.Revision)
	}
}

// apply takes next over into the copy unless it is stale, and reports whether the
// copy has a later revision.
func (m *Mirror) apply(next Entry) (later bool) {
	m.mu.RLock()
	have, known := m.entries[next.Key]
	m.mu.RUnlock()
	switch {
	case known && next.Revision < have.Revision:
		return true
	case known && next.Revision == have.Revision && !have.Absent: // else it was not gone after all
		return false
	}
	m.put(next)
	return false
}

// put takes next over into the copy.
func (m *Mirror) put(next Entry) {
	m.mu.Lock()
	was, known := m.entries[next.Key]
	m.entries[next.Key] = next
	m.last = max(m.last, next.Revision)
	m.mu.Unlock()
	if known && !was.Deleted && !next.Deleted && m.opts.Same(was, next) {
		return
	}
	m.opts.OnChange(next.Key)
}

// settle ends a listing, and returns after which time the next one is due. Live
// keys that the listing did not show, and all that it showed at an earlier revision
// than the copy has, are read from the bucket's leader: they may have been written
// while it was made, or it came from a server that is behind. Tombstones that it
// did not show are forgotten, unless it may have been too old to show them.
func (m *Mirror) settle(ctx context.Context, l *listing) (next time.Duration) {
	next = max(m.opts.Resync, listingShare*time.Since(l.begun))
	missed, forgotten := m.missedBy(l)
	for _, k := range forgotten {
		m.opts.OnForget(k)
	}
	late, seen, whole := m.outlived(), l.seen, true
	l.seen = nil
	for _, e := range missed {
		if ctx.Err() != nil {
			return next
		}
		now, err := m.read(ctx, e, late)
		if err == nil && seen[e.Key] && now.Revision < e.Revision { // the server has lost what the copy has
			m.put(now)
			next = min(recheck, m.opts.Resync) // unless the leader is behind too
		}
		if err != nil {
			m.opts.Log.Warn().Err(err).Str("key", e.Key).Int("keys", len(missed)).Msg("not known whether keys are gone")
			next, whole = min(recheck, m.opts.Resync), false
			break
		}
	}
	if whole {
		m.whole = l.begun
	}
	m.once.Do(func() { close(m.synced) })
	return next
}

// outlived reports whether a key may have been deleted since the listing before,
// and its tombstone be gone. The clock on the wall counts too: the other one
// stands still while a machine sleeps.
func (m *Mirror) outlived() bool {
	if m.opts.Tombstones <= 0 || m.whole.IsZero() {
		return false
	}
	now := time.Now()
	silence := max(now.Sub(m.whole), now.Round(0).Sub(m.whole.Round(0)))
	return silence >= m.opts.Tombstones
}

// missedBy returns the live entries that a listing did not show, and those that it
// showed at an earlier revision, sorted by key. It forgets the tombstones that the
// listing would have shown, and those that the bucket no longer has to keep.
func (m *Mirror) missedBy(l *listing) (missed []Entry, forgotten []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.entries {
		later, seen := l.seen[k]
		switch {
		case seen && !later:
		case seen, !e.Deleted:
			missed = append(missed, e)
		case e.Absent && m.opts.KeepAbsent && e.Value != nil:
		case e.Revision <= l.newest, m.opts.Tombstones > 0 && time.Since(e.Created) >= m.opts.Tombstones:
			delete(m.entries, k)
			forgotten = append(forgotten, k)
		}
	}
	slices.SortFunc(missed, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return missed, forgotten
}

// read takes over what the bucket's leader says of the key of have, unless that is
// older, and returns it. Late says that no tombstone proves nothing.
func (m *Mirror) read(ctx context.Context, have Entry, late bool) (now Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	e, err := m.kv.Get(ctx, have.Key)
	var tombstone *bucket.DeletedError
	switch {
	case err == nil:
		now = Entry{Key: have.Key, Value: e.Value(), Revision: e.Revision(), Created: e.Created()}
	case errors.As(err, &tombstone):
		now = Entry{Key: have.Key, Revision: tombstone.Revision, Created: tombstone.Created, Deleted: true}
	case errors.Is(err, jetstream.ErrKeyNotFound) && late:
		now = Entry{Key: have.Key, Revision: have.Revision, Deleted: true}
		m.put(now)
		return now, nil
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrInvalidKey):
		now = m.absent(have)
		m.put(now)
		return now, nil
	default:
		return Entry{}, fmt.Errorf("read key %q: %w", have.Key, err)
	}
	m.apply(now)
	return now, nil
}

// absent is what takes the place of have.
func (m *Mirror) absent(have Entry) Entry {
	next := Entry{Key: have.Key, Revision: have.Revision, Deleted: true, Absent: true}
	if m.opts.KeepAbsent {
		next.Value, next.Created = have.Value, have.Created
	}
	return next
}
