package emitter

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/answers"
	"github.com/sluicehq/sluice/services/internal/checkpoint"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/reader"
	"github.com/sluicehq/sluice/services/internal/webhook"
)

// runner runs the pools of holdings: it starts, drains and halts them.
type runner struct {
	shared     pool.Config // what all pools have in common
	maxPayload func() int64
	answers    *answers.Answers
	readers    *reader.Set
	dues       *dues
	advisories *advisories
	webhooks   *webhook.Sender
	pauses     *pauser
}

// atEnd reports whether a pool with the entry will be live as soon as it runs, as
// far as can be known before: then the claim says so, and no second write has to.
// Where it turns out otherwise, the pool says what it is as it does of any change.
func (r *runner) atEnd(rec *wire.Record, entry *wire.Pool) bool {
	return entry.LostFrom == 0 && len(entry.Checkpoint.Ranges) == 0 &&
		r.readers.AtEnd(rec.Spec.Store, rec.StoreCreated, entry.Checkpoint.Floor)
}

// start makes the pool of a holding run by its entry. h.turn is held.
func (r *runner) start(h *holding) error {
	if h.rec.Paused {
		return nil
	}
	h.fresh.Store(true)
	id, prefix := r.answers.Reserve()
	cfg := r.shared
	cfg.Record, cfg.Entry, cfg.MaxRanges = h.rec, h.entry, checkpoint.RangesWithin(r.maxPayload())
	cfg.AnswerPrefix = prefix
	cfg.Notify = func(n core.Notice) { r.advisories.tellOf(h.name, n) }
	cfg.Moved = func() { r.dues.moved(h) }
	p, err := r.make(cfg)
	if err != nil {
		r.answers.Remove(id)
		return fmt.Errorf("start pool %q: %w", h.name, err)
	}
	h.mu.Lock()
	h.pool, h.id = p, id
	h.mu.Unlock()
	r.answers.Add(id, p)
	r.readers.Attach(p, h.rec, begin(h))
	return nil
}

// make makes a pool, and the target that it delivers to where that is a URL.
func (r *runner) make(cfg pool.Config) (*pool.Pool, error) {
	rec := cfg.Record
	if http := rec.Spec.Deliver.HTTP; http != nil {
		target, err := r.webhooks.Target(webhook.Destination{
			Name: rec.Name, Epoch: cfg.Entry.Epoch, HTTP: http, AckWait: rec.Spec.AckWait.Std(),
			Gone: func(why string) { r.pauses.gone(rec, why) },
		})
		if err != nil {
			return nil, err
		}
		cfg.Target = target
	}
	return pool.New(cfg)
}

// begin is the first sequence to read where the subscription or a seek named
// one, which the store may not have reached yet; 0 where the store gave it.
func begin(h *holding) uint64 {
	if h.entry.Begin == 0 && h.rec.Spec.Start.Kind == wire.PositionSequence {
		return h.rec.StartSequence
	}
	return h.entry.Begin
}

// drain takes the pool of a holding off its reader and waits, for at most the
// given time, for the answers that are out, and until the pool knows whether it
// has just passed a gap. Checkpoints go on meanwhile.
func (r *runner) drain(ctx context.Context, h *holding, atMost time.Duration) {
	p, store := h.running()
	if p == nil {
		return
	}
	told := r.readers.Retire(store, p)
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	p.Drain(ctx)
	select {
	case <-told:
	case <-ctx.Done():
	}
}

// halt ends the pool of a holding; the entry is then as the pool stood last. The
// pool is closed first, so that no answer comes in behind the snapshot. h.turn is
// held.
func (r *runner) halt(h *holding) {
	if h.pool == nil {
		return
	}
	r.readers.Detach(h.rec.Spec.Store, h.pool)
	h.pool.Close()
	r.answers.Remove(h.id)
	last := h.snapshot()
	h.mu.Lock()
	h.pool, h.entry = nil, last
	h.mu.Unlock()
}
