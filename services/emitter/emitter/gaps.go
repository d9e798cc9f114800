package emitter

import (
	"context"
	"fmt"
	"maps"
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

	mu   sync.Mutex
	gaps map[string]gapped // by subscription
}

func newGapPauser(records bucket.Cell, ns wire.Namespace, hs *holdings, a *advisories, log zerolog.Logger) *gapPauser {
	return &gapPauser{records: records, ns: ns, holdings: hs, advisories: a, log: log, gaps: map[string]gapped{}}
}

// gapped is a pool that waits at a gap for its subscription to be paused.
type gapped struct {
	uid string
	gap wire.Gap
}

// met notes that a pool met a gap and is to pause there. It does not wait.
// Nothing is dropped: there is at most one gap for each subscription.
func (g *gapPauser) met(rec *wire.Record, gap wire.Gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gaps[rec.Name] = gapped{uid: rec.UID, gap: gap}
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
		for name, at := range g.open() {
			if g.unfinished(name) {
				continue // what lies before the gap is delivered first
			}
			if err := g.pause(ctx, name, at); err != nil && ctx.Err() == nil {
				g.log.Warn().Err(err).Msg("subscription not paused at its gap yet")
				continue
			}
			g.closed(name, at)
		}
	}
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

func (g *gapPauser) open() map[string]gapped {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.gaps)
}

// closed forgets a gap, unless another one has taken its place.
func (g *gapPauser) closed(name string, at gapped) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gaps[name] == at {
		delete(g.gaps, name)
	}
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
