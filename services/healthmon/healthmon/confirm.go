package healthmon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// confirmFor is how long a sweep reads again what looks wrong. What it does not come
// to has its turn at the next one.
const confirmFor = time.Second

// doubts are what is known, from one look to the next, of what looks wrong in the
// local copies. They are the leader's loop's own.
type doubts struct {
	// hold is how long it may take until a change is through everywhere: for so long
	// what is new needs no second look, since it proves nothing yet.
	hold time.Duration
	// gone are the owners that do not live, with when that was first seen.
	gone map[string]time.Time
	// read is what the server said of names that still look the same.
	read map[string]reading
}

// reading is what the server said of a name, with the revisions that the local copies
// had then. It holds while they are current and have the same.
type reading struct {
	record, pool uint64
	r            *check.Record
	p            *check.Pool
}

// doubt is a name of which something looks wrong.
type doubt struct {
	name string
	r    *check.Record
	p    *check.Pool
}

// confirm reads again from the server whatever looks wrong in the local copies, so
// that their lag is not taken for a fault. What looks wrong since a moment only, or is
// too much for one sweep, is left as it is and named in snap.Unconfirmed.
func (s *source) confirm(ctx context.Context, snap *check.Snapshot, level bool) error {
	s.noteGone(snap)
	var again []doubt
	before := s.doubts.read
	s.doubts.read, snap.Unconfirmed = map[string]reading{}, map[string]bool{}
	said := map[string]reading{}
	for _, d := range wrong(snap) {
		was, known := before[d.name]
		switch record, pool := s.revisions(d.name); {
		case level && known && was.record == record && was.pool == pool:
			s.doubts.read[d.name], said[d.name] = was, was
		case s.held(d):
			snap.Unconfirmed[d.name] = true
		default:
			again = append(again, d)
		}
	}
	if err := s.readAgain(ctx, snap, again, said); err != nil {
		return fmt.Errorf("read again what looks wrong: %w", err)
	}
	if len(said) > 0 {
		snap.Records = replaced(snap.Records, said, recordKey, func(r reading) *check.Record { return r.r })
		snap.Pools = replaced(snap.Pools, said, poolKey, func(r reading) *check.Pool { return r.p })
	}
	return nil
}

func recordKey(r check.Record) string { return r.Key }
func poolKey(p check.Pool) string     { return p.Key }

// readAgain reads names from the server, into said, for as long as there is time.
func (s *source) readAgain(ctx context.Context, snap *check.Snapshot, again []doubt, said map[string]reading) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	start := time.Now()
	for _, d := range again {
		if time.Since(start) > confirmFor {
			mu.Lock()
			snap.Unconfirmed[d.name] = true
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			record, pool := s.revisions(d.name)
			r, p, err := s.fresh(gctx, d.name)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			now := reading{record, pool, r, p}
			said[d.name] = now
			if same(d, now) {
				s.doubts.read[d.name] = now
			}
			return nil
		})
	}
	return g.Wait()
}

// same reports whether the server has what the local copies show.
func same(d doubt, now reading) bool {
	if (d.r == nil) != (now.r == nil) || (d.p == nil) != (now.p == nil) {
		return false
	}
	return (d.r == nil || d.r.Revision == now.r.Revision) && (d.p == nil || d.p.Revision == now.p.Revision)
}

// revisions are those of the local copies, of tombstones too; 0 where there is nothing.
func (s *source) revisions(name string) (record, pool uint64) {
	r, _ := s.subs.Get(name)
	p, _ := s.pools.Get(name)
	return r.Revision, p.Revision
}

// noteGone notes which owners of pools do not live.
func (s *source) noteGone(snap *check.Snapshot) {
	gone, now := map[string]time.Time{}, s.clock.now()
	for _, p := range snap.Pools {
		if p.Pool == nil || p.Pool.Owner == "" || snap.Emitters[p.Pool.Owner] {
			continue
		}
		if since, ok := s.doubts.gone[p.Pool.Owner]; ok {
			gone[p.Pool.Owner] = since
		} else if gone[p.Pool.Owner].IsZero() {
			gone[p.Pool.Owner] = now
		}
	}
	s.doubts.gone = gone
}

// held reports whether what looks wrong is so new that it may still come right by
// itself: an entry that was just written or deleted, an owner that has just gone. What
// cannot be read is wrong from the first moment on.
func (s *source) held(d doubt) bool {
	if d.r != nil && d.r.Record == nil || d.p != nil && d.p.Pool == nil {
		return false
	}
	r, _ := s.subs.Get(d.name)
	p, _ := s.pools.Get(d.name)
	newest := r.Created
	for _, at := range []time.Time{p.Created, s.goneSince(d)} {
		if at.After(newest) {
			newest = at
		}
	}
	return s.clock.now().Sub(newest) < s.doubts.hold
}

func (s *source) goneSince(d doubt) time.Time {
	if d.p == nil {
		return time.Time{}
	}
	return s.doubts.gone[d.p.Pool.Owner]
}

// wrong returns what does not fit together in the records and pools of snap, both in
// the order of their keys.
func wrong(snap *check.Snapshot) []doubt {
	var out []doubt
	records, pools := snap.Records, snap.Pools
	for len(records) > 0 || len(pools) > 0 {
		var d doubt
		order := -1 // the record comes first
		switch {
		case len(records) == 0:
			order = 1
		case len(pools) > 0:
			order = cmp.Compare(records[0].Key, pools[0].Key)
		}
		if order <= 0 {
			d.r, d.name, records = &records[0], records[0].Key, records[1:]
		}
		if order >= 0 {
			d.p, d.name, pools = &pools[0], pools[0].Key, pools[1:]
		}
		if d.r == nil || d.p == nil || !fits(*d.r, *d.p, snap.Emitters) {
			out = append(out, d)
		}
	}
	return out
}

// fits reports whether a record and its pool need no second look.
func fits(r check.Record, p check.Pool, emitters map[string]bool) bool {
	return r.Record != nil && p.Pool != nil && r.Record.UID == p.Pool.UID &&
		(r.Record.Paused || emitters[p.Pool.Owner]) && p.Pool.ObservedGeneration >= r.Record.Generation
}

// replaced puts what was said in the place of what has the same key, in that order.
func replaced[V any](all []V, said map[string]reading, key func(V) string, of func(reading) *V) []V {
	out := slices.DeleteFunc(all, func(v V) bool { _, ok := said[key(v)]; return ok })
	for _, r := range said {
		if v := of(r); v != nil {
			out = append(out, *v)
		}
	}
	slices.SortFunc(out, func(a, b V) int { return cmp.Compare(key(a), key(b)) })
	return out
}

// fresh reads record and pool of name from the server; nil where there is none.
func (s *source) fresh(ctx context.Context, name string) (*check.Record, *check.Pool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var r *check.Record
	var p *check.Pool
	// The pool first: one that is gone by then has not been made anew for a
	// record that is read after it.
	pe, err := s.poolsKV.Get(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
	case err != nil:
		return nil, nil, fmt.Errorf("read pool %q: %w", name, err)
	default:
		v := s.pool(subscription.EntryOf(pe))
		p = &v
	}
	re, err := s.subsKV.Get(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		if p != nil && p.Pool != nil && p.Pool.ObservedRevision > 0 {
			p.Vanished = !deleted(err)
		}
	case err != nil:
		return nil, nil, fmt.Errorf("read subscription %q: %w", name, err)
	default:
		v := s.record(subscription.EntryOf(re))
		r = &v
	}
	return r, p, nil
}

// deleted reports whether the error of a read says that the key was deleted, and
// not only that it is not there.
func deleted(err error) bool {
	var tombstone *bucket.DeletedError
	return errors.As(err, &tombstone)
}
