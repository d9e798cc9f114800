package client

import (
	"context"
	"fmt"
	"iter"

	"github.com/sluicehq/sluice/pkg/wire"
)

// ParkedPage returns one page of the parked events of the subscription name, with
// counts of all that filter asks for. The subscription may be deleted already.
func (c *Client) ParkedPage(ctx context.Context, name string, filter wire.ParkedListRequest) (*wire.ParkedListResponse, error) {
	return named[wire.ParkedListResponse](ctx, c, wire.VerbParkedList, name, filter)
}

// Parked goes through all parked events of the subscription name that filter asks
// for, from filter.Offset on and filter.Limit at a time: those that were parked
// last first, or with wire.ParkedOldest last. The iteration ends with the first
// error. An event that is parked or discarded meanwhile may be seen or not, and a
// discard may hide one that was on the next page; none is seen twice.
func (c *Client) Parked(ctx context.Context, name string, filter wire.ParkedListRequest) iter.Seq2[wire.Parked, error] {
	return func(yield func(wire.Parked, error) bool) {
		last, begun := uint64(0), false
		for {
			page, err := c.ParkedPage(ctx, name, filter)
			if err == nil && page.Counts.Partial && len(page.Parked) == 0 {
				err = fmt.Errorf("%s %q: there are more parked events than could be looked at in time", wire.VerbParkedList, name)
			}
			if err != nil {
				yield(wire.Parked{}, err)
				return
			}
			for _, row := range page.Parked {
				seen := row.ParkedSequence <= last
				if filter.Order != wire.ParkedOldest {
					seen = row.ParkedSequence >= last
				}
				if begun && seen {
					continue // moved here by one that was parked since
				}
				last, begun = row.ParkedSequence, true
				if !yield(row, nil) {
					return
				}
			}
			filter.Offset += len(page.Parked)
			if len(page.Parked) == 0 || filter.Offset >= page.Total && !page.Counts.Partial {
				return
			}
		}
	}
}

// DiscardParked discards parked events of the subscription name for good, or with
// DryRun counts them. Where the answer is not complete there was no time for all:
// the same request again goes on. A request for many without the confirm value of
// a dry run is refused with wire.CodeUnconfirmed.
func (c *Client) DiscardParked(ctx context.Context, name string, req wire.ParkedDiscardRequest) (*wire.ParkedDiscardResponse, error) {
	return named[wire.ParkedDiscardResponse](ctx, c, wire.VerbParkedDiscard, name, req)
}

// ReplayParked begins to deliver parked events of the subscription name again, or
// with DryRun counts them. What becomes of the replay tell the methods for replays.
func (c *Client) ReplayParked(ctx context.Context, name string, req wire.ParkedReplayRequest) (*wire.ParkedReplayResponse, error) {
	answer, err := named[wire.ParkedReplayResponse](ctx, c, wire.VerbParkedReplay, name, req)
	if err == nil && answer.Replay == nil && !req.DryRun {
		return nil, missing(wire.VerbParkedReplay, "replay")
	}
	return answer, err
}
