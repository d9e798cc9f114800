package parked

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/park"
)

const (
	// batchSize is how many events one advisory tells of, and go at once.
	batchSize = 1000
	// deleters is how many deletions are under way at once.
	deleters = 16
)

func (s *Service) discard(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeParkedDiscard(r.Body, r.name)
	if bad != nil {
		return nil, bad
	}
	f, err := newFilter(req.ParkedChoice)
	if err != nil {
		return nil, s.failed(r, err)
	}
	e, err := s.look(ctx, r.name)
	if err != nil {
		return nil, s.failed(r, err)
	}
	d := &discarding{Service: s, request: r, choice: req.ParkedChoice, filter: f, extent: e, tally: newTally(e.now)}
	if req.Confirm == "" {
		before := newTally(e.now)
		to, missing, err := d.count(ctx, before)
		switch {
		case err != nil:
			return nil, s.failed(r, err)
		case req.DryRun:
			return d.dryRun(before, to, missing)
		case before.events > uint64(s.cfg.ConfirmAbove):
			return nil, unconfirmed(fmt.Sprintf("%d events would be discarded, and above %d a dry run is needed: "+
				`ask again with "dry_run": true, and give back the confirm value that it answers`, before.events, s.cfg.ConfirmAbove))
		}
		d.missing = missing
		d.whole, d.extent.span.to = to == e.span.to, to
	} else {
		to, ok := confirmed(e, r.verb, req.ParkedChoice, req.Confirm)
		if !ok {
			return nil, unconfirmed("the confirm value is that of another dry run: make one of this request")
		}
		d.whole, d.extent.span.to = true, to
	}
	return d.run(ctx)
}

func unconfirmed(reason string) *wire.Error {
	e := wire.Errorf(wire.CodeUnconfirmed, "%s", reason)
	e.Details = []wire.Fault{{Field: "confirm", Reason: reason}}
	return e
}

// discarding is one request to discard, while it is carried out.
type discarding struct {
	*Service
	request *request
	choice  wire.ParkedChoice
	filter  filter
	extent  extent
	tally   *tally // of what is gone
	missing []uint64
	whole   bool // all that was parked is in the span
}

// count counts what would go, and returns how far it looked, and which of the
// sequences that were asked for it did not find.
func (d *discarding) count(ctx context.Context, t *tally) (to uint64, missing []uint64, err error) {
	ctx, cancel := d.scanTime(ctx)
	defer cancel()
	found := map[uint64]bool{}
	to, err = d.scan(ctx, search{d.extent, d.filter, t}, d.extent.span, func(c *park.Copy) bool {
		t.add(rowOf(c))
		if d.filter.sequences != nil {
			found[c.Event.Sequence] = true
		}
		return true
	})
	for _, seq := range d.choice.Sequences {
		if !found[seq] && !slices.Contains(missing, seq) && to == d.extent.span.to {
			missing = append(missing, seq)
		}
	}
	return to, missing, err
}

func (d *discarding) dryRun(t *tally, to uint64, missing []uint64) (any, *wire.Error) {
	confirm, err := confirmation(d.extent, d.request.verb, d.choice, to)
	if err != nil {
		return nil, d.failed(d.request, err)
	}
	answer := d.answer(t)
	answer.DryRun, answer.Missing, answer.Confirm = true, missing, confirm
	if answer.Complete = to == d.extent.span.to; !answer.Complete {
		answer.Hint = "there was no time to count all: the confirm value is for those that were counted"
		answer.Counts.Partial = true
	}
	return answer, nil
}

func (d *discarding) answer(t *tally) wire.ParkedDiscardResponse {
	return wire.ParkedDiscardResponse{Head: d.request.head(), Counts: t.counts(), FirstSequence: t.lowest, LastSequence: t.newest}
}

// run discards batch after batch, until all are gone or the request's time is up.
func (d *discarding) run(ctx context.Context) (any, *wire.Error) {
	all, err := d.batches(ctx)
	switch {
	case err != nil && d.tally.events == 0 && !errors.As(err, new(*unsureError)):
		return nil, d.failed(d.request, err)
	case err != nil && ctx.Err() == nil, err != nil && d.tally.events == 0:
		bad := wire.Errorf(wire.CodeUnavailable, "%d parked events are discarded, and of up to %d more it is not known: the same request again goes on: %s",
			d.tally.events, batchSize, err)
		bad.Outcome = wire.OutcomeUnknown
		return nil, bad
	}
	answer := d.answer(d.tally)
	answer.Missing = d.missing
	if answer.Complete = all && d.whole; !answer.Complete {
		answer.Hint = "there was no time for all: the same request again goes on"
	}
	if d.request.Silent() {
		d.tellEnd(answer)
	}
	return answer, nil
}

// tellEnd tells what the advisories of the batches leave open, where nobody waits
// for an answer.
func (d *discarding) tellEnd(a wire.ParkedDiscardResponse) {
	switch {
	case !a.Complete:
		d.advisor.Advise(wire.AdvReplayFailed, d.extent.name, d.request.verb+" not complete: "+a.Hint, map[string]any{"count": a.Counts.Events})
	case a.Counts.Events == 0:
		d.advisor.Advise(wire.AdvEventDiscarded, d.extent.name, "no parked event was meant", map[string]any{"count": 0})
	}
}

// batches reports whether nothing is left of what is meant.
func (d *discarding) batches(ctx context.Context) (all bool, err error) {
	for rest := d.extent.span; ; {
		batch, to, err := d.next(ctx, rest)
		if err != nil {
			return false, err
		}
		if len(batch) > 0 {
			if err := d.advisor.Store(ctx, d.js, wire.AdvEventDiscarded, d.told(batch)); err != nil {
				return false, err
			}
			if err := d.remove(ctx, batch); err != nil {
				return false, err
			}
		}
		if rest.after = to; rest.after >= rest.to {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, nil
		}
	}
}

// next looks for the next batch, and returns how far it looked.
func (d *discarding) next(ctx context.Context, in span) (batch []row, to uint64, err error) {
	to, err = d.scan(ctx, search{d.extent, d.filter, d.tally}, in, func(c *park.Copy) bool {
		batch = append(batch, rowOf(c))
		return len(batch) < batchSize
	})
	return batch, to, err
}

// told is the advisory of a batch.
func (d *discarding) told(batch []row) wire.Advisory {
	t := newTally(d.extent.now)
	for _, r := range batch {
		t.add(r)
	}
	data := map[string]any{
		"count": t.events, "bytes": t.bytes, "first_sequence": t.lowest, "last_sequence": t.newest,
		"first_parked_sequence": batch[0].parked, "last_parked_sequence": batch[len(batch)-1].parked,
		"by_reason": most(t.reasons), "asked": asked(d.choice),
	}
	if inbox := d.request.Inbox(); inbox != "" {
		data["inbox"] = inbox
	}
	return wire.Advisory{
		Name: d.extent.name, Data: data,
		Detail: fmt.Sprintf("%d parked events, of the sequences %d to %d, are discarded on request", t.events, t.lowest, t.newest),
	}
}

// maxAsked bounds, in bytes, what an advisory repeats of a request.
const maxAsked = 1024

// asked is a choice for people.
func asked(c wire.ParkedChoice) string {
	b, err := wire.Marshal(c)
	if err != nil {
		return err.Error()
	}
	if len(b) > maxAsked {
		return string(b[:maxAsked]) + "…"
	}
	return string(b)
}

// unsureError says that some of a batch may be gone.
type unsureError struct{ err error }

func (e *unsureError) Error() string { return e.err.Error() }
func (e *unsureError) Unwrap() error { return e.err }

// remove deletes a batch that was told of, and counts what is gone.
func (d *discarding) remove(ctx context.Context, batch []row) error {
	if d.choice.All {
		// All of the name up to the last one are meant, so one request will do.
		last := batch[len(batch)-1].parked
		if _, err := jsapi.PurgeBelow(ctx, d.js, d.ns.StreamParked(), d.ns.Parked(d.extent.name), last+1); err != nil {
			return &unsureError{fmt.Errorf("discard %d parked events: %w", len(batch), err)}
		}
		for _, r := range batch {
			d.tally.add(r)
		}
		return nil
	}
	stream, err := d.stream(ctx, d.extent)
	if err != nil {
		return err
	}
	gone := make([]bool, len(batch))
	var g errgroup.Group
	g.SetLimit(deleters)
	for i, r := range batch {
		g.Go(func() error {
			err := d.removeOne(ctx, stream, r.parked)
			gone[i] = err == nil
			return err
		})
	}
	err = g.Wait()
	for i, r := range batch {
		if gone[i] {
			d.tally.add(r)
		}
	}
	if err != nil {
		return &unsureError{err}
	}
	return nil
}

// stream returns the parked stream, if it is still the same.
func (s *Service) stream(ctx context.Context, e extent) (jetstream.Stream, error) {
	stream, err := s.js.Stream(ctx, s.ns.StreamParked())
	switch {
	case err != nil:
		return nil, fmt.Errorf("look at the parked stream: %w", err)
	case !stream.CachedInfo().Created.Equal(e.created):
		return nil, errRecreated
	}
	return stream, nil
}

// removeOne deletes one message. That it is gone already is as good.
func (s *Service) removeOne(ctx context.Context, stream jetstream.Stream, seq uint64) error {
	err := stream.DeleteMsg(ctx, seq)
	if err == nil {
		return nil
	}
	if _, look := jsapi.GetMsg(ctx, s.js, s.ns.StreamParked(), map[string]any{"seq": seq}); errors.Is(look, jetstream.ErrMsgNotFound) {
		return nil
	}
	return fmt.Errorf("discard parked event %d: %w", seq, err)
}
