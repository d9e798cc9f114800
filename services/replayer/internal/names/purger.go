package names

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/pkg/bucket"
)

const (
	// maxMarks bounds the tombstones of one bucket that a pass looks at. The
	// others are left to the next one.
	maxMarks = 20_000
	// perSecond is how many purges a second are sent at most: they cost the server
	// and us less than a tenth of a core together. As many as burst may go at once.
	perSecond = 1000
	burst     = 100
	// parallel bounds the purges under way at once.
	parallel = 8
	// callTimeout bounds one purge, listTimeout one reading of a bucket.
	callTimeout = 5 * time.Second
	listTimeout = time.Minute
	// minInterval and maxInterval bound the time between two passes, maxRest that
	// from the purge of a history to that of its tombstone: nats-server writes to
	// disk within two minutes unless it is told otherwise.
	minInterval = time.Second
	maxInterval = time.Hour
	maxRest     = 5 * time.Minute
	// progressEvery is how many purges are worth a line in the log.
	progressEvery = 5000
)

// Bucket is the part of a bucket.KeyValue that a Purger needs.
type Bucket interface {
	Bucket() string
	List(ctx context.Context, f bucket.Following) error
	Forget(ctx context.Context, key string, revision uint64) error
	Status(ctx context.Context) (jetstream.KeyValueStatus, error)
}

// Config of a Purger. All but Purged is required.
type Config struct {
	Subscriptions, Pools, Health Bucket
	// Retention is how old a tombstone must be, by the server's clock. 0 is for
	// ever: then Run does nothing.
	Retention time.Duration
	// Reconciled returns the revision of the subscriptions bucket up to which its
	// history is needed no more.
	Reconciled func(ctx context.Context) (uint64, error)
	// Purged is told how many tombstones went from a bucket. Optional.
	Purged func(ctx context.Context, bucket string, n int)
	Log    zerolog.Logger
}

// Purger purges names. Its Run may be called once.
type Purger struct {
	cfg Config

	// bare belongs to the goroutine of Run.
	bare map[string]bareMark // by subscription; as many as a pass looks at
}

// bareMark is a tombstone without a history.
type bareMark struct {
	revision uint64
	since    time.Time
}

// New returns a Purger that does nothing before Run.
func New(cfg Config) *Purger {
	if cfg.Purged == nil {
		cfg.Purged = func(context.Context, string, int) {}
	}
	return &Purger{cfg: cfg, bare: map[string]bareMark{}}
}

// interval is the time between two passes.
func (p *Purger) interval() time.Duration {
	return max(min(p.cfg.Retention/4, maxInterval), minInterval)
}

// rest is how long a tombstone stays that has lost its history.
func (p *Purger) rest() time.Duration { return min(p.cfg.Retention/4, maxRest) }

// Run purges until ctx ends.
func (p *Purger) Run(ctx context.Context) {
	if p.cfg.Retention <= 0 {
		return
	}
	wait := p.rest()
	for {
		due := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			due.Stop()
			return
		case <-due.C:
		}
		left, err := p.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.cfg.Log.Warn().Err(err).Msg("names not purged, tried again later")
			wait = p.interval()
		case left:
			wait = p.rest()
		default:
			wait = p.interval()
		}
	}
}

// pass purges what is due now, and reports whether more will be soon.
func (p *Purger) pass(ctx context.Context) (left bool, err error) {
	begun := time.Now()
	reconciled, err := p.cfg.Reconciled(ctx)
	if err != nil {
		return false, fmt.Errorf("look up what is reconciled: %w", err)
	}
	records, pools, health, err := p.due(ctx, reconciled)
	if err != nil {
		return false, err
	}
	w := &worker{log: p.cfg.Log, pace: rate.NewLimiter(perSecond, burst)}
	// The record's tombstone goes last: it is what ends a pool.
	if err := errors.Join(w.purge(ctx, p.cfg.Pools, pools.all()), w.purge(ctx, p.cfg.Health, health.all())); err != nil {
		return false, err
	}
	p.cfg.Purged(ctx, p.cfg.Pools.Bucket(), len(pools.marks))
	p.cfg.Purged(ctx, p.cfg.Health.Bucket(), len(health.marks))
	ripe, err := p.strip(ctx, w, records)
	if err != nil {
		return false, err
	}
	if err := w.purge(ctx, p.cfg.Subscriptions, ripe); err != nil {
		return false, err
	}
	p.cfg.Purged(ctx, p.cfg.Subscriptions.Bucket(), len(ripe))
	if w.done > 0 {
		p.cfg.Log.Info().Int("subscriptions", len(ripe)).Int("pools", len(pools.marks)).Int("health", len(health.marks)).
			Int("requests", w.done).Int64("duration_ms", time.Since(begun).Milliseconds()).Msg("names purged")
	}
	return len(records.marks) > len(ripe) || records.more || pools.more || health.more, nil
}

// strip removes the histories of tombstones, and returns those that have been
// without one for long enough. If both went at once, a crash of the server could
// keep the purge of the tombstone and undo that of a record before it: the
// subscription would be there again.
func (p *Purger) strip(ctx context.Context, w *worker, records *listing) (ripe []mark, err error) {
	bare := make(map[string]bareMark, len(records.marks))
	var histories []mark
	for key, rev := range records.marks {
		was, ok := p.bare[key]
		switch {
		case ok && was.revision == rev && time.Since(was.since) >= p.rest():
			ripe = append(ripe, mark{key, rev})
		case ok && was.revision == rev:
			bare[key] = was
		default:
			histories = append(histories, mark{key, rev - 1})
		}
	}
	if err := w.purge(ctx, p.cfg.Subscriptions, histories); err != nil {
		return nil, err
	}
	for _, m := range histories {
		bare[m.key] = bareMark{m.revision + 1, time.Now()}
	}
	p.bare = bare
	return ripe, nil
}

// worker sends purges, at a pace.
type worker struct {
	log  zerolog.Logger
	pace *rate.Limiter
	done int
}

// purge purges marks, a few at a time. After an error some of them are left.
func (w *worker) purge(ctx context.Context, b Bucket, marks []mark) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, m := range marks {
		if err := w.pace.Wait(ctx); err != nil {
			return errors.Join(g.Wait(), err)
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			if err := b.Forget(ctx, m.key, m.revision); err != nil {
				return fmt.Errorf("purge from bucket %s: %w", b.Bucket(), err)
			}
			return nil
		})
		if w.done++; w.done%progressEvery == 0 {
			w.log.Info().Int("requests", w.done).Msg("purging names")
		}
	}
	return g.Wait()
}
