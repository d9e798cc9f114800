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

// pauser pauses subscriptions: those whose pools met gaps and asked for that,
// and those whose URL wants no events any more.
type pauser struct {
	records    bucket.Cell
	ns         wire.Namespace
	holdings   *holdings
	advisories *advisories
	log        zerolog.Logger // for what many pools may share

	open sync.Map // by subscription; each is a halt
}

// halt is why a pool waits for its subscription to be paused.
type halt struct {
	uid        string
	generation uint64   // of the record by which it waits
	gap        wire.Gap // that it met, or
	gone       string   // what the URL said
}

// met notes that a pool met a gap and is to pause there. It does not wait.
// Nothing is dropped: there is at most one gap for each subscription.
func (p *pauser) met(rec *wire.Record, gap wire.Gap) {
	p.open.Store(rec.Name, halt{uid: rec.UID, generation: gap.Generation, gap: gap})
}

// gone notes that the URL of a subscription wants no events any more. It does not
// wait.
func (p *pauser) gone(rec *wire.Record, why string) {
	p.open.Store(rec.Name, halt{uid: rec.UID, generation: rec.Generation, gone: why})
}

// Run pauses the subscriptions that wait for it until ctx ends; whoever owns the
// pool then meets the gap, or is told that the URL is gone, again.
func (p *pauser) Run(ctx context.Context) error {
	again := time.NewTicker(retryAfter)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
		p.open.Range(func(name, at any) bool {
			p.pauseAt(ctx, name.(string), at.(halt))
			return true
		})
	}
}

// pauseAt pauses a subscription; at a gap, once what lies before the gap is delivered.
func (p *pauser) pauseAt(ctx context.Context, name string, at halt) {
	if at.gone == "" && p.unfinished(name) {
		return
	}
	if err := p.pause(ctx, name, at); err != nil && ctx.Err() == nil {
		p.log.Warn().Err(err).Msg("subscription not paused yet")
		return
	}
	p.open.CompareAndDelete(name, at) // another one may have taken its place
}

// unfinished reports whether a pool of ours has events that it has read and not
// finished.
func (p *pauser) unfinished(name string) bool {
	h := p.holdings.of(name)
	if h == nil {
		return false
	}
	running, _ := h.running()
	return running != nil && running.Status().Pending > 0
}

// pause pauses a subscription. Where the record is another one by now, the pool
// runs or will run by that and meets the gap, or is told that the URL is gone,
// again.
func (p *pauser) pause(ctx context.Context, name string, h halt) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	at, paused := time.Now().UTC(), false
	_, err := bucket.Change(ctx, p.records, name, func(now bucket.Seen) (*bucket.Write, error) {
		rec, err := subscription.RecordOf(now, p.ns)
		if err != nil {
			return nil, err
		}
		paused = rec != nil && !rec.Paused && rec.UID == h.uid && rec.Generation == h.generation
		if !paused {
			return nil, nil
		}
		rec.Paused, rec.UpdatedAt = true, at
		rec.Generation++
		return bucket.Put(rec)
	})
	if err != nil {
		return fmt.Errorf("pause %q: %w", name, err)
	}
	if !paused {
		return nil
	}
	if h.gone != "" {
		p.advisories.tell(wire.AdvSubscriptionPaused, name, "the URL wants no events any more: "+h.gone+"; resume tries again",
			map[string]any{"gone": true})
		return nil
	}
	p.advisories.tell(wire.AdvSubscriptionPaused, name,
		fmt.Sprintf("the store no longer holds %d of the sequences %d to %d, which were still to be read; resume goes on behind them",
			h.gap.Count, h.gap.From, h.gap.To),
		map[string]any{"from": h.gap.From, "to": h.gap.To, "count": h.gap.Count, "kind": h.gap.Kind})
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
