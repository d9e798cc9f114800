package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Replay is what a replay is asked for with. Only what is set is sent.
type Replay struct {
	// From is the first event: see [FromAll], [FromSequence] and [FromTime].
	// Required.
	From wire.Position `json:"from"`
	// To is the last event. The zero value is the last one that is stored now.
	To wire.ReplayEnd `json:"to"`
	// Selector narrows the subscription's own: both must hold.
	Selector *Selector `json:"selector,omitempty"`
	// Deliver is where to deliver instead of the subscription's own target.
	Deliver *Deliver `json:"deliver,omitempty"`
	// Rate is how many deliveries a second may be sent. Defaults to no limit.
	Rate int `json:"rate,omitempty"`
	// Confirm is what [Client.PreviewReplay] answered, where that is not empty.
	Confirm string `json:"confirm,omitempty"`
}

// replayRequest is a Replay that may be a dry run.
type replayRequest struct {
	Replay
	DryRun bool `json:"dry_run,omitempty"`
}

// PreviewReplay says what a replay for the subscription name would deliver, and
// delivers nothing. Where that are many events Confirm of the answer is not empty:
// [Client.StartReplay] then needs it, with the same request otherwise.
func (c *Client) PreviewReplay(ctx context.Context, name string, r Replay) (*wire.ReplayResponse, error) {
	answer, err := named[wire.ReplayResponse](ctx, c, wire.VerbReplayStart, name, replayRequest{Replay: r, DryRun: true})
	if err == nil && answer.Preview == nil {
		return nil, missing(wire.VerbReplayStart, "preview")
	}
	return answer, err
}

// StartReplay delivers events of the subscription's store again, beside live
// delivery. Where that may be many the error is wire.CodeUnconfirmed unless
// Confirm is what a preview answered. After an error of which the outcome is not
// known a replay may have been started: look for it with [Client.Replays].
func (c *Client) StartReplay(ctx context.Context, name string, r Replay) (*wire.Replay, error) {
	return c.replay(ctx, wire.VerbReplayStart, name, replayRequest{Replay: r})
}

// Replay returns the replay id. Where there is none the error is
// wire.CodeNoReplay.
func (c *Client) Replay(ctx context.Context, id string) (*wire.Replay, error) {
	return c.replay(ctx, wire.VerbReplayGet, id, nil)
}

// CancelReplay ends a replay for good. One that has ended stays as it is.
func (c *Client) CancelReplay(ctx context.Context, id string) (*wire.Replay, error) {
	return c.replay(ctx, wire.VerbReplayCancel, id, nil)
}

// PauseReplay stops a replay, which keeps its place.
func (c *Client) PauseReplay(ctx context.Context, id string) (*wire.Replay, error) {
	return c.replay(ctx, wire.VerbReplayPause, id, nil)
}

// ResumeReplay lets a replay go on from its place.
func (c *Client) ResumeReplay(ctx context.Context, id string) (*wire.Replay, error) {
	return c.replay(ctx, wire.VerbReplayResume, id, nil)
}

func (c *Client) replay(ctx context.Context, verb, name string, body any) (*wire.Replay, error) {
	answer, err := named[wire.ReplayResponse](ctx, c, verb, name, body)
	switch {
	case err != nil:
		return nil, err
	case answer.Replay == nil:
		return nil, missing(verb, "replay")
	}
	return answer.Replay, nil
}

// Replays goes through the replays that filter asks for, the newest first, from
// filter.Offset on and filter.Limit at a time. The iteration ends with the first
// error. A replay that is started meanwhile is not seen, and none is seen twice.
func (c *Client) Replays(ctx context.Context, filter wire.ReplayListRequest) iter.Seq2[wire.Replay, error] {
	return func(yield func(wire.Replay, error) bool) {
		seen := map[string]bool{}
		for {
			page, err := call[wire.ReplayListResponse](ctx, c, wire.VerbReplayList, "", filter)
			if err != nil {
				yield(wire.Replay{}, err)
				return
			}
			for _, r := range page.Replays {
				if seen[r.ID] {
					continue // moved here by one that was started since
				}
				seen[r.ID] = true
				if !yield(r, nil) {
					return
				}
			}
			filter.Offset += len(page.Replays)
			if len(page.Replays) == 0 || filter.Offset >= page.Total {
				return
			}
		}
	}
}

// FollowReplay yields a replay now and every so often until it has ended, that
// last state included. The iteration ends with the first error.
func (c *Client) FollowReplay(ctx context.Context, id string, every time.Duration) iter.Seq2[*wire.Replay, error] {
	return func(yield func(*wire.Replay, error) bool) {
		if every <= 0 {
			yield(nil, fmt.Errorf("follow replay %q: every %v: want more than 0", id, every))
			return
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			r, err := c.Replay(ctx, id)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(r, nil) || r.State.Ended() {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				yield(nil, fmt.Errorf("follow replay %q: %w", id, context.Cause(ctx)))
				return
			}
		}
	}
}
