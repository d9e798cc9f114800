package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Advisories yields what happens from now on. The filter stands for
// <group>.<what>.<name> and takes wildcards: "pool.>", "*.*.triage"; "" is
// everything.
//
// The server has the subscription when Advisories returns, so nothing that
// happens afterwards is missed. It ends with ctx or with the loop, whichever
// is first, and the sequence may be ranged over once. A message that cannot be
// read, and [ErrLost], are yielded as errors and the iteration goes on; a
// closed connection ends it with an error, the end of ctx without one.
// What was published before, up to seven days ago, is in the stream
// Namespace.StreamAdvisories.
func (c *Client) Advisories(ctx context.Context, filter string) (iter.Seq2[wire.Advisory, error], error) {
	subject := c.ns.Advisories()
	if filter != "" {
		subject = strings.TrimSuffix(subject, ">") + filter
	}
	return stream[wire.Advisory](ctx, c, subject)
}

// stream subscribes and yields what comes, decoded.
func stream[T any](ctx context.Context, c *Client, subject string) (iter.Seq2[T, error], error) {
	sub, err := c.nc.SubscribeSync(subject)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", subject, err)
	}
	unsubscribe := func() { _ = sub.Unsubscribe() } // fails only where it is gone already
	if err := c.flush(ctx); err != nil {
		unsubscribe()
		return nil, fmt.Errorf("listen on %q: %w", subject, err)
	}
	stop := context.AfterFunc(ctx, unsubscribe)
	return func(yield func(T, error) bool) {
		defer unsubscribe()
		defer stop()
		for {
			msg, err := sub.NextMsgWithContext(ctx)
			var value T
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, nats.ErrSlowConsumer):
				err = fmt.Errorf("listen on %q: %w", subject, ErrLost)
			case errors.Is(err, nats.ErrNoResponders): // what the library makes of an empty message with such a status
				err = fmt.Errorf("decode a message on %q: it is empty", subject)
			case err != nil:
				yield(value, fmt.Errorf("listen on %q: %w", subject, err))
				return
			default:
				if err = json.Unmarshal(msg.Data, &value); err != nil {
					err = fmt.Errorf("decode a message on %q: %w", msg.Subject, err)
				}
			}
			if !yield(value, err) {
				return
			}
		}
	}, nil
}

// flush waits until the server has seen what was sent, at most the timeout.
func (c *Client) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.nc.FlushWithContext(ctx)
}
