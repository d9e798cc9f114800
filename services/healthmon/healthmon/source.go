package healthmon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/presence"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
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
	clock           *clock
	seen            bucketState // at the last look; the leader's loop's own
	prober          *presence.Prober
	log             zerolog.Logger

	// records and poolEntries are the local copies, read; the leader's loop's own.
	records     decoded[check.Record]
	poolEntries decoded[check.Pool]
	doubts      doubts
}

func (s *source) store() *subscription.Store { return subscription.NewStore(s.subsKV, s.ns) }

// all gathers everything, with what became of the subscriptions that were known
// before. It fails only where the buckets themselves cannot be reached; whatever
// else cannot be learnt is left unknown.
func (s *source) all(ctx context.Context, known []string) (check.Snapshot, error) {
	b, err := s.buckets(ctx)
	if err != nil {
		return check.Snapshot{}, err
	}
	snap := check.Snapshot{Emitters: map[string]bool{}, Buckets: check.Buckets{
		Missing: b.missing, Unasked: b.unasked, Blind: s.blind(b), Rooms: b.rooms, Parked: s.ns.StreamParked(),
	}}
	for _, e := range s.emitters() {
		snap.Emitters[e.Instance] = true
	}
	if snap.Buckets.Blind {
		snap.At = s.clock.now()
		return snap, ctx.Err()
	}
	level, err := s.level(ctx, b)
	if err != nil {
		return check.Snapshot{}, err
	}
	s.copies(&snap)
	if err := s.confirm(ctx, &snap, level); err != nil {
		return check.Snapshot{}, err
	}
	if snap.Gone, err = s.gone(ctx, &snap, s.alsoAbsent(known)); err != nil {
		return check.Snapshot{}, err
	}
	return snap, s.fill(ctx, &snap)
}

// copies adds what the local copies of the buckets show. Of an entry that has not
// changed since the look before it is what was read then.
func (s *source) copies(snap *check.Snapshot) {
	s.records.read, s.poolEntries.read = s.record, s.pool
	snap.Records, snap.Pools = s.records.of(s.subs.Live()), s.poolEntries.of(s.pools.Live())
}

// only gathers what concerns the given name, read from the server. Known says that
// there was a subscription of that name.
func (s *source) only(ctx context.Context, name string, known bool) (check.Snapshot, error) {
	b, err := s.buckets(ctx)
	if err != nil {
		return check.Snapshot{}, err
	}
	if s.blind(b) {
		return check.Snapshot{}, fmt.Errorf("missing: %s", strings.Join(b.missing, ", "))
	}
	snap := check.Snapshot{Emitters: map[string]bool{}}
	for _, e := range s.emitters() {
		snap.Emitters[e.Instance] = true
	}
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
	if known {
		if snap.Gone, err = s.gone(ctx, &snap, []string{name}); err != nil {
			return check.Snapshot{}, err
		}
	}
	return snap, s.fill(ctx, &snap)
}

// fill adds what the stores, the owners and the servers say.
func (s *source) fill(ctx context.Context, snap *check.Snapshot) error {
	g, gctx := errgroup.WithContext(ctx)
	begun := s.clock.now()
	g.Go(func() error { s.statuses(gctx, snap); return nil })
	g.Go(func() error { s.captures(gctx, snap); return nil })
	g.Go(func() error { snap.Stores = s.stores(gctx, snap); return nil })
	g.Go(func() error { snap.Parked, snap.ParkedKnown = s.parked(gctx); return nil })
	g.Go(func() error { snap.Listeners = s.listeners(gctx, snap); return nil })
	_ = g.Wait() // none of them fails
	snap.Began = begun
	s.unread(ctx, snap)
	snap.At = s.clock.now()
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

func (s *source) record(e subscription.Entry) check.Record {
	r := check.Record{Entry: check.Entry{Key: e.Key, Revision: e.Revision, Size: len(e.Value)}, Created: e.Created}
	rec, err := subscription.DecodeRecord(e, s.ns)
	if err != nil {
		r.Reason, r.Newer = err.Error(), errors.Is(err, subscription.ErrNewerSchema)
		return r
	}
	r.Record = rec
	return r
}

func (s *source) pool(e subscription.Entry) check.Pool {
	p := check.Pool{Entry: check.Entry{Key: e.Key, Revision: e.Revision, Size: len(e.Value)}}
	pool, err := subscription.DecodePool(e)
	if err != nil {
		p.Reason, p.Newer = err.Error(), errors.Is(err, subscription.ErrNewerSchema)
		return p
	}
	p.Pool = pool
	return p
}

// gone tells which of the subscriptions that were known have no record any more
// and no mark that they were deleted.
func (s *source) gone(ctx context.Context, snap *check.Snapshot, known []string) ([]check.Gone, error) {
	there := make(map[string]bool, len(snap.Records))
	for _, r := range snap.Records {
		there[r.Key] = true
	}
	var mu sync.Mutex
	var out []check.Gone
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, name := range known {
		if e, ok := s.subs.Get(name); there[name] || ok && e.Deleted && !e.Absent {
			continue
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(gctx, askTimeout)
			defer cancel()
			_, err := s.subsKV.Get(ctx, name)
			switch {
			case err == nil || deleted(err):
				return nil
			case !errors.Is(err, jetstream.ErrKeyNotFound):
				return fmt.Errorf("look for a trace of %q: %w", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, check.Gone{
				Name: name, Detail: "the record is gone from the bucket, and nobody deleted it", Last: s.lastKnown(name),
			})
			return nil
		})
	}
	err := g.Wait()
	return out, err
}

// alsoAbsent adds to the known names those that the copy of the bucket knows: the
// bucket in which the monitor keeps what it knows may have gone too.
func (s *source) alsoAbsent(known []string) []string {
	names := slices.Concat(known, s.subs.Absent())
	slices.Sort(names)
	return slices.Compact(names)
}

// lastKnown is the record that the copy of the bucket shows, or showed last before
// it vanished; nil where it shows none that can be read.
func (s *source) lastKnown(name string) *wire.Record {
	e, ok := s.subs.Get(name)
	if !ok || e.Deleted && !e.Absent {
		return nil
	}
	r := s.record(e)
	return r.Record
}
