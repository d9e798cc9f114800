package replayer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/history"
)

const (
	// judges bounds how many names are read at once.
	judges = 16
	// minReplayPause and maxReplayPause bound the pauses between two rounds of
	// replays; they double.
	minReplayPause = 100 * time.Millisecond
	maxReplayPause = 2 * time.Second
)

// reconciler does the runs of one term of leadership. It is not safe for
// concurrent use.
type reconciler struct {
	nc       *nats.Conn
	ns       wire.Namespace
	instance string
	epoch    uint64        // the epoch of the lease
	grace    time.Duration // before what is not observed counts as missed
	wait     time.Duration // for what is replayed to be observed
	buckets  *bus.Buckets
	journal  *journal
	archive  archive
	advisor  *bus.Advisor
	metrics  *metrics
	log      zerolog.Logger

	// told is the barrier of the last finished run: transitions above it are
	// new to this term. said is what its report said, in short.
	told uint64
	said string

	// step, where it is not nil, is called before each step of a run; tests
	// end a run there.
	step func(name string) error
}

// work is one run on its way.
type work struct {
	trigger string
	began   time.Time
	from    position
	first   uint64 // revision that the reading begins at
	barrier uint64
	chains  []history.Chain
	// atFirst and observed say how many steps of each chain the emitters had
	// observed when they were first looked at, and the last time.
	atFirst, observed []int
	incarnation       time.Time
}

// run does one run and returns how many transitions it left unobserved.
func (r *reconciler) run(ctx context.Context, trigger string) (unobserved int, err error) {
	w := &work{trigger: trigger, began: time.Now()}
	defer func() { r.metrics.run(ctx, time.Since(w.began), err) }()
	for _, s := range []struct {
		name string
		do   func(context.Context, *work) error
	}{
		{"open", r.open},
		{"read", r.read},
		{"judge", r.judgeFirst},
		{"replay", r.replay},
		{"report", r.report},
		{"advance", r.advance},
	} {
		if r.step != nil {
			if err := r.step(s.name); err != nil {
				return 0, err
			}
		}
		if err := s.do(ctx, w); err != nil {
			return 0, err
		}
	}
	return w.unobserved(), nil
}

// open finds where to begin and writes the barrier.
func (r *reconciler) open(ctx context.Context, w *work) (err error) {
	if w.from, err = r.archive.loadPosition(ctx); err != nil {
		return err
	}
	if w.incarnation, err = r.journal.incarnation(ctx); err != nil {
		return err
	}
	if w.barrier, err = r.journal.putBarrier(ctx, r.instance); err != nil {
		return err
	}
	w.first = w.from.Revision + 1
	if !w.incarnation.Equal(w.from.Incarnation) || w.first > w.barrier {
		// The bucket is another one, or lost its end: its history starts over.
		if w.from.kvRevision > 0 {
			r.log.Warn().Uint64("reconciled", w.from.Revision).Uint64("barrier", w.barrier).
				Time("created", w.incarnation).Msg("the subscriptions bucket is another one, its whole history is read")
		}
		w.first, r.told, r.journal.warned = 1, 0, 0
	}
	return nil
}

func (r *reconciler) read(ctx context.Context, w *work) (err error) {
	w.chains, err = r.journal.chains(ctx, w.first, w.barrier)
	return err
}

// judgeFirst says which transitions were missed. Emitters that are just about
// to observe one get the time of grace for it.
func (r *reconciler) judgeFirst(ctx context.Context, w *work) error {
	w.observed = make([]int, len(w.chains))
	if err := r.judge(ctx, w); err != nil {
		return err
	}
	if w.unobserved() > 0 && sleep(ctx, r.grace) {
		if err := r.judge(ctx, w); err != nil {
			return err
		}
	}
	w.atFirst = append([]int(nil), w.observed...)
	for i, c := range w.chains {
		if missed := c.Steps[w.atFirst[i]:]; len(missed) > 0 && c.Last().Revision > r.told {
			r.advise(wire.AdvLifecycleMissed, "not observed by any pool", c, missed)
		}
	}
	return nil
}

// judge looks again at every chain of which something is not observed yet.
func (r *reconciler) judge(ctx context.Context, w *work) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(judges)
	for i := range w.chains {
		c := &w.chains[i]
		if w.observed[i] == len(c.Steps) {
			continue
		}
		g.Go(func() error {
			pool, record, err := r.look(ctx, c.Name)
			if err != nil {
				return err
			}
			w.observed[i] = max(w.observed[i], c.Observed(pool, record))
			return nil
		})
	}
	return g.Wait()
}

// look reads what the name's pool entry and record say now.
func (r *reconciler) look(ctx context.Context, name string) (*history.Pool, *history.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var pool *history.Pool
	e, err := r.buckets.Pools.Get(ctx, name)
	switch {
	case err == nil:
		pool = &history.Pool{}
		// An entry that nobody can read is of no known uid.
		if p, err := subscription.DecodePool(subscription.EntryOf(e)); err == nil {
			pool = &history.Pool{UID: p.UID, ObservedGeneration: p.ObservedGeneration}
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, nil, fmt.Errorf("read pool %q: %w", name, err)
	}
	e, err = r.buckets.Subscriptions.Get(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return pool, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read subscription %q: %w", name, err)
	}
	rec, err := subscription.DecodeRecord(subscription.EntryOf(e), r.ns)
	if err != nil {
		return pool, nil, nil // nobody can act on it
	}
	return pool, &history.Record{UID: rec.UID, Generation: rec.Generation}, nil
}

// replay sends what is not observed to the emitters until it is, or the wait
// is over: first every missed transition in order, then, with growing pauses,
// the last one of each name that is still behind.
func (r *reconciler) replay(ctx context.Context, w *work) error {
	if w.unobserved() == 0 {
		return nil
	}
	end := time.Now().Add(r.wait)
	pause := minReplayPause
	for round := 0; w.unobserved() > 0; round++ {
		if err := r.send(ctx, w, round == 0); err != nil {
			return err
		}
		left := time.Until(end)
		if left <= 0 {
			break
		}
		if !sleep(ctx, min(pause, left)) {
			return fmt.Errorf("wait for replayed transitions: %w", context.Cause(ctx))
		}
		pause = min(2*pause, maxReplayPause)
		if err := r.judge(ctx, w); err != nil {
			return err
		}
	}
	for i, c := range w.chains {
		if w.atFirst[i] < len(c.Steps) && w.observed[i] == len(c.Steps) {
			r.advise(wire.AdvLifecycleReplayed, "observed after a replay", c, c.Steps[w.atFirst[i]:])
		}
	}
	return nil
}

func (r *reconciler) send(ctx context.Context, w *work, all bool) error {
	for i, c := range w.chains {
		steps := c.Steps[w.observed[i]:]
		if !all && len(steps) > 1 {
			steps = steps[len(steps)-1:]
		}
		for _, t := range steps {
			t.Missed, t.Replayed = true, true
			body, err := wire.Marshal(t)
			if err == nil {
				err = r.nc.Publish(r.ns.Lifecycle(t.Name), body)
			}
			if err != nil {
				return fmt.Errorf("replay %s of %q: %w", t.Kind, t.Name, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := r.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}

// advance moves the position up to the first transition that is not observed.
func (r *reconciler) advance(ctx context.Context, w *work) error {
	next := position{
		Revision:    history.Advance(w.chains, w.observed, w.barrier),
		Incarnation: w.incarnation, Leader: r.instance, Epoch: r.epoch,
		kvRevision: w.from.kvRevision,
	}
	if next.Revision != w.from.Revision || !next.Incarnation.Equal(w.from.Incarnation) {
		if err := r.archive.savePosition(ctx, next); err != nil {
			return err
		}
	}
	r.told = w.barrier
	return nil
}

// reconciled returns the revision of the bucket up to which nobody needs its
// history any more. It may be called beside a run.
func (r *reconciler) reconciled(ctx context.Context) (uint64, error) {
	p, err := r.archive.loadPosition(ctx)
	if err != nil {
		return 0, err
	}
	incarnation, err := r.journal.incarnation(ctx)
	if err != nil || !incarnation.Equal(p.Incarnation) {
		return 0, err
	}
	return p.Revision, nil
}

func (w *work) unobserved() (n int) {
	for i, c := range w.chains {
		n += len(c.Steps) - w.observed[i]
	}
	return n
}

// sleep waits for d; it returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
