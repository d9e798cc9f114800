package emitter

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// gapPauser pauses subscriptions whose pools met gaps and asked for that.
type gapPauser struct {
	records    bucket.Cell
	ns         wire.Namespace
	holdings   *holdings
	advisories *advisories
	log        zerolog.Logger // for what many pools may share

	gaps sync.Map // by subscription; each is a gapped
}

// gapped is a pool that waits at a gap for its subscription to be paused.
type gapped struct {
	uid string
	gap wire.Gap
}

// met notes that a pool met a gap and is to pause there. It does not wait.
// Nothing is dropped: there is at most one gap for each subscription.
func (g *gapPauser) met(rec *wire.Record, gap wire.Gap) {
	g.gaps.Store(rec.Name, gapped{uid: rec.UID, gap: gap})
}

// Run pauses the subscriptions whose pools met gaps until ctx ends;
// whoever owns the pool then meets the gap again.
func (g *gapPauser) Run(ctx context.Context) error {
	again := time.NewTicker(retryAfter)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
		g.gaps.Range(func(name, at any) bool {
			g.pauseAt(ctx, name.(string), at.(gapped))
			return true
		})
	}
}

// pauseAt pauses a subscription at its gap, once what lies before the gap is delivered.
func (g *gapPauser) pauseAt(ctx context.Context, name string, at gapped) {
	if g.unfinished(name) {
		return
	}
	if err := g.pause(ctx, name, at); err != nil && ctx.Err() == nil {
		g.log.Warn().Err(err).Msg("subscription not paused at its gap yet")
		return
	}
	g.gaps.CompareAndDelete(name, at) // another gap may have taken its place
}

// unfinished reports whether a pool of ours has events that it has read and not
// finished.
func (g *gapPauser) unfinished(name string) bool {
	h := g.holdings.of(name)
	if h == nil {
		return false
	}
	p, _ := h.running()
	return p != nil && p.Status().Pending > 0
}

// pause pauses a subscription that asked for it when events were lost
// before they were read. Where the record is another one by now, the pool runs
// or will run by that and meets the gap again.
func (g *gapPauser) pause(ctx context.Context, name string, met gapped) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	at, paused := time.Now().UTC(), false
	_, err := bucket.Change(ctx, g.records, name, func(now bucket.Seen) (*bucket.Write, error) {
		rec, err := subscription.RecordOf(now, g.ns)
		if err != nil {
			return nil, err
		}
		paused = rec != nil && !rec.Paused && rec.UID == met.uid && rec.Generation == met.gap.Generation
		if !paused {
			return nil, nil
		}
		rec.Paused, rec.UpdatedAt = true, at
		rec.Generation++
		return bucket.Put(rec)
	})
	if err != nil {
		return fmt.Errorf("pause %q at a gap: %w", name, err)
	}
	if !paused {
		return nil
	}
	g.advisories.tell(wire.AdvSubscriptionPaused, name,
		fmt.Sprintf("the store no longer holds %d of the sequences %d to %d, which were still to be read; resume goes on behind them",
			met.gap.Count, met.gap.From, met.gap.To),
		map[string]any{"from": met.gap.From, "to": met.gap.To, "count": met.gap.Count, "kind": met.gap.Kind})
	return nil
}

// acknowledged returns a gap as it stands once the subscription is paused:
// whoever resumes it has been told, so the pool may go on behind the gap.
func acknowledged(gap *wire.Gap) *wire.Gap {
	if gap == nil || gap.Paused {
		return gap
	}
	told := *gap
	told.Paused = true
	return &told
}
