package healthmon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
	"github.com/sluicehq/sluice/services/healthmon/internal/presence"
)

// Bounds of one sweep's questions.
const (
	parallel     = 16                     // questions under way at once
	askTimeout   = 2 * time.Second        // for one answer
	probeTimeout = 2 * time.Second        // for one window of probes
	confirmAfter = 250 * time.Millisecond // between the two probes of a silent subject
	levelTimeout = 500 * time.Millisecond // for the copies to catch up with the buckets
	levelPoll    = 5 * time.Millisecond
)

// source gathers what a sweep judges.
type source struct {
	ns              wire.Namespace
	nc              *nats.Conn
	js              jetstream.JetStream
	subs, pools     *mirror.Mirror
	subsKV, poolsKV jetstream.KeyValue
	emitters        func() []wire.Session
	prober          *presence.Prober
	log             zerolog.Logger
}

func (s *source) store() *subscription.Store { return subscription.NewStore(s.subsKV, s.ns) }

// all gathers everything. It fails only where the buckets themselves cannot
// be reached; whatever else cannot be learnt is left unknown.
func (s *source) all(ctx context.Context) (check.Snapshot, error) {
	if err := s.level(ctx); err != nil {
		return check.Snapshot{}, err
	}
	snap := check.Snapshot{Emitters: map[string]bool{}}
	for _, e := range s.emitters() {
		snap.Emitters[e.Instance] = true
	}
	for _, e := range s.subs.Live() {
		if wire.ValidName(e.Key) {
			snap.Records = append(snap.Records, s.record(e.Key, e.Value, e.Revision))
		}
	}
	for _, e := range s.pools.Live() {
		if wire.ValidName(e.Key) {
			snap.Pools = append(snap.Pools, s.pool(e.Key, e.Value, e.Revision))
		}
	}
	if err := s.confirm(ctx, &snap); err != nil {
		return check.Snapshot{}, err
	}
	return snap, s.fill(ctx, &snap)
}

// only gathers what concerns the given names, read from the server.
func (s *source) only(ctx context.Context, names ...string) (check.Snapshot, error) {
	snap := check.Snapshot{Emitters: map[string]bool{}}
	for _, e := range s.emitters() {
		snap.Emitters[e.Instance] = true
	}
	for _, name := range names {
		r, p, err := s.fresh(ctx, name)
		if err != nil {
			return check.Snapshot{}, err
		}
		if r != nil {
			snap.Records = append(snap.Records, *r)
		}
		if p != nil {
			snap.Pools = append(snap.Pools, *p)
		}
	}
	return snap, s.fill(ctx, &snap)
}

// fill adds what the stores, the owners and the servers say.
func (s *source) fill(ctx context.Context, snap *check.Snapshot) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { snap.Statuses, snap.Answered = s.statuses(gctx, snap); return nil })
	g.Go(func() error { snap.Stores = s.stores(gctx, snap); return nil })
	g.Go(func() error { snap.Parked, snap.ParkedKnown = s.parked(gctx); return nil })
	g.Go(func() error { snap.Listeners = s.listeners(gctx, snap); return nil })
	_ = g.Wait() // none of them fails
	s.nextAt(ctx, snap)
	snap.At = time.Now()
	return ctx.Err()
}

// level waits until the local copies show what the buckets held when it was
// called, for a moment at most: what looks wrong is read again anyhow.
func (s *source) level(ctx context.Context) error {
	for bucket, m := range map[string]*mirror.Mirror{
		s.ns.BucketSubscriptions(): s.subs, s.ns.BucketPools(): s.pools,
	} {
		st, err := s.js.Stream(ctx, "KV_"+bucket)
		if err != nil {
			return fmt.Errorf("look at bucket %q: %w", bucket, err)
		}
		last := st.CachedInfo().State.LastSeq
		wait, cancel := context.WithTimeout(ctx, levelTimeout)
		reached := poll(wait, func() bool { return m.Last() >= last })
		cancel()
		if !reached && ctx.Err() == nil {
			m.Kick()
			s.log.Debug().Str("bucket", bucket).Uint64("revision", last).Uint64("seen", m.Last()).
				Msg("local copy lags behind its bucket")
		}
	}
	return ctx.Err()
}

// poll waits until cond holds, and returns false if ctx ends first.
func poll(ctx context.Context, cond func() bool) bool {
	t := time.NewTicker(levelPoll)
	defer t.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return true
}

func (s *source) record(key string, value []byte, rev uint64) check.Record {
	r := check.Record{Key: key, Revision: rev, Size: len(value)}
	rec, err := subscription.DecodeRecord(key, value, s.ns)
	if err != nil {
		r.Reason, r.Newer = err.Error(), errors.Is(err, subscription.ErrNewerSchema)
		return r
	}
	r.Record = rec
	return r
}

func (s *source) pool(key string, value []byte, rev uint64) check.Pool {
	p := check.Pool{Key: key, Revision: rev, Size: len(value)}
	pool, err := subscription.DecodePool(key, value)
	if err != nil {
		p.Reason, p.Newer = err.Error(), errors.Is(err, subscription.ErrNewerSchema)
		return p
	}
	p.Pool = pool
	return p
}

// confirm reads again from the server whatever looks wrong in the local
// copies, so that their lag is not taken for a fault.
func (s *source) confirm(ctx context.Context, snap *check.Snapshot) error {
	records, pools := map[string]check.Record{}, map[string]check.Pool{}
	names := map[string]bool{}
	for _, r := range snap.Records {
		records[r.Key], names[r.Key] = r, true
	}
	for _, p := range snap.Pools {
		pools[p.Key], names[p.Key] = p, true
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for name := range names {
		mu.Lock()
		r, hasRecord := records[name]
		p, hasPool := pools[name]
		mu.Unlock()
		if hasRecord && hasPool && fits(r, p, snap.Emitters) {
			continue
		}
		g.Go(func() error {
			fr, fp, err := s.fresh(gctx, name)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			delete(records, name)
			delete(pools, name)
			if fr != nil {
				records[name] = *fr
			}
			if fp != nil {
				pools[name] = *fp
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("read again what looks wrong: %w", err)
	}
	snap.Records, snap.Pools = sorted(records), sorted(pools)
	return nil
}

// fits reports whether a record and its pool need no second look.
func fits(r check.Record, p check.Pool, emitters map[string]bool) bool {
	return r.Record != nil && p.Pool != nil && r.Record.UID == p.Pool.UID &&
		(r.Record.Paused || emitters[p.Pool.Owner]) && p.Pool.ObservedGeneration >= r.Record.Generation
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
		v := s.pool(name, pe.Value(), pe.Revision())
		p = &v
	}
	re, err := s.subsKV.Get(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		if p != nil && p.Pool != nil && p.Pool.ObservedRevision > 0 {
			p.Vanished, err = s.vanished(ctx, name)
			if err != nil {
				return nil, nil, err
			}
		}
	case err != nil:
		return nil, nil, fmt.Errorf("read subscription %q: %w", name, err)
	default:
		v := s.record(name, re.Value(), re.Revision())
		r = &v
	}
	return r, p, nil
}

// vanished reports whether the bucket holds no trace of name, not even that
// it was deleted.
func (s *source) vanished(ctx context.Context, name string) (bool, error) {
	_, err := s.subsKV.Get(ctx, name)
	var deleted *bucket.DeletedError
	switch {
	case err == nil, errors.As(err, &deleted):
		return false, nil
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return true, nil
	}
	return false, fmt.Errorf("look for a trace of %q: %w", name, err)
}
