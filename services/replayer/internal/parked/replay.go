package parked

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/park"
)

// removeSize is how many events a replay removes at once: it writes its checkpoint
// in between.
const removeSize = 200

// replays reports whether a replay delivers an event. One that was parked without
// its body or its headers is not the event any more; it lies in its store.
func (f filter) replays(c *park.Copy) bool {
	return !c.NoBody && !c.NoHeaders && f.judge(c) == pattern.Matches
}

// Restorer is part of player.Parked.
func (s *Service) Restorer(choice wire.ParkedChoice) (func(*event.Event) *event.Event, error) {
	f, err := newFilter(choice)
	if err != nil {
		return nil, err
	}
	return func(e *event.Event) *event.Event {
		c := park.ReadCopy(feed.Msg{Subject: e.Subject, Header: e.Header, Data: e.Data, Sequence: e.Sequence, Time: e.Time})
		if !f.replays(&c) {
			return nil
		}
		return c.Restore()
	}, nil
}

// Remove is part of player.Parked.
func (s *Service) Remove(ctx context.Context, r *wire.Replay, after uint64) (to uint64, err error) {
	f, err := newFilter(*r.Choice)
	if err != nil {
		return after, err
	}
	e := extent{name: r.Name, created: r.StoreCreated}
	var gone []uint64
	to, err = s.scan(ctx, search{e, f, newTally(e.now)}, span{after, min(r.Checkpoint.Floor, r.ToSequence)}, func(c *park.Copy) bool {
		if f.replays(c) {
			gone = append(gone, c.Parked)
		}
		return len(gone) < removeSize
	})
	if err != nil {
		return after, err
	}
	stream, err := s.stream(ctx, e)
	if err != nil {
		return after, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deleters)
	for _, seq := range gone {
		g.Go(func() error { return s.removeOne(ctx, stream, seq) })
	}
	if err := g.Wait(); err != nil {
		return after, err
	}
	return to, nil
}

// Found is what a choice means now.
type Found struct {
	extent
	Counts  wire.ParkedCounts
	Missing []uint64
	Whole   bool // there was time to look at all
	Confirm string
}

// Sequences are the first and the last one of the parked stream, where events may
// lie that are meant.
func (f *Found) Sequences() (first, last uint64) { return f.span.after + 1, f.span.to }

// Created is when the parked stream was made.
func (f *Found) Created() time.Time { return f.created }

// Find counts the events of a name that are meant. With a confirm value it looks as
// far as the dry run that answered it; the error is then wire.CodeUnconfirmed where
// that was one of something else.
func (s *Service) Find(ctx context.Context, name string, c wire.ParkedChoice, confirm string) (*Found, error) {
	f, err := newFilter(c)
	if err != nil {
		return nil, err
	}
	e, err := s.look(ctx, name)
	if err != nil {
		return nil, err
	}
	if confirm != "" {
		to, ok := confirmed(e, wire.VerbParkedReplay, c, confirm)
		if !ok {
			return nil, unconfirmed("the confirm value is that of another dry run: make one of this request")
		}
		e.span.to = to
	}
	t := newTally(e.now)
	d := &discarding{Service: s, choice: c, filter: f, extent: e}
	to, missing, err := d.count(ctx, t)
	if err != nil {
		return nil, err
	}
	found := &Found{extent: e, Counts: t.counts(), Missing: missing, Whole: to == e.span.to}
	found.span.to, found.Counts.Partial = to, !found.Whole
	found.Confirm, err = confirmation(e, wire.VerbParkedReplay, c, to)
	if err != nil {
		return nil, fmt.Errorf("find parked events of %q: %w", name, err)
	}
	return found, nil
}
