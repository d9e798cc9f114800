package client

import (
	"context"
	"fmt"
	"iter"

	"github.com/sluicehq/sluice/pkg/wire"
)

// SubscribeOption says how a subscribe is applied: [IfRevision] or [Restart].
type SubscribeOption interface{ subscribe(*subscribeRequest) }

// UnsubscribeOption says how an unsubscribe is applied: [IfRevision].
type UnsubscribeOption interface {
	unsubscribe(*wire.UnsubscribeRequest)
}

// IfRevision makes a change conditional: it is made only if the subscription
// is at this revision, 0 for a subscription that does not exist. Otherwise the
// error is wire.CodeConflict, with the current revision.
type IfRevision uint64

func (n IfRevision) subscribe(r *subscribeRequest)          { r.IfRevision = new(uint64(n)) }
func (n IfRevision) unsubscribe(r *wire.UnsubscribeRequest) { r.IfRevision = new(uint64(n)) }

// Restart allows a change of store, selector or start. Such a change gives
// the subscription a new uid, and its checkpoint starts over.
func Restart() SubscribeOption { return restart{} }

type restart struct{}

func (restart) subscribe(r *subscribeRequest) { r.Restart = true }

// subscribeRequest is wire.SubscribeRequest without the fields that are not set.
type subscribeRequest struct {
	Spec
	IfRevision *uint64 `json:"if_revision,omitempty"`
	Restart    bool    `json:"restart,omitempty"`
}

// Subscribe creates the subscription name, or changes it to spec. The same
// spec again changes nothing. A change of store, selector or start without
// [Restart] is refused with wire.CodeNeedsRestart.
func (c *Client) Subscribe(ctx context.Context, name string, spec Spec, opts ...SubscribeOption) (*wire.SubscribeResponse, error) {
	req := subscribeRequest{Spec: spec}
	for _, opt := range opts {
		opt.subscribe(&req)
	}
	answer, err := named[wire.SubscribeResponse](ctx, c, wire.VerbSubscribe, name, req)
	if err == nil && answer.Subscription == nil {
		return nil, missing(wire.VerbSubscribe, "subscription")
	}
	return answer, err
}

// Unsubscribe removes the subscription name and its position. It reports
// whether there was something to remove; where the registry says that there
// is no such subscription the error is wire.CodeNoSubscription.
func (c *Client) Unsubscribe(ctx context.Context, name string, opts ...UnsubscribeOption) (bool, error) {
	var req wire.UnsubscribeRequest
	for _, opt := range opts {
		opt.unsubscribe(&req)
	}
	answer, err := named[wire.UnsubscribeResponse](ctx, c, wire.VerbUnsubscribe, name, req)
	if err != nil {
		return false, err
	}
	return answer.Deleted, nil
}

// Get returns the subscription name and, once an emitter has claimed it, its pool.
func (c *Client) Get(ctx context.Context, name string) (*wire.GetResponse, error) {
	answer, err := named[wire.GetResponse](ctx, c, wire.VerbGet, name, nil)
	if err == nil && answer.Subscription == nil {
		return nil, missing(wire.VerbGet, "subscription")
	}
	return answer, err
}

// ListPage returns one page of the subscriptions that filter asks for, by name.
func (c *Client) ListPage(ctx context.Context, filter wire.ListRequest) (*wire.ListResponse, error) {
	return call[wire.ListResponse](ctx, c, wire.VerbList, "", filter)
}

// List goes through all subscriptions that filter asks for, by name, from
// filter.Offset on and filter.Limit at a time. The iteration ends with the
// first error. A subscription that is created or removed meanwhile may be seen
// or not, and a removal may hide one neighbour that was on the next page; none
// is seen twice.
func (c *Client) List(ctx context.Context, filter wire.ListRequest) iter.Seq2[wire.ListedSubscription, error] {
	return func(yield func(wire.ListedSubscription, error) bool) {
		last := ""
		for {
			page, err := c.ListPage(ctx, filter)
			if err != nil {
				yield(wire.ListedSubscription{}, err)
				return
			}
			for _, row := range page.Subscriptions {
				if row.Name <= last {
					continue // moved here by one that was created before it
				}
				last = row.Name
				if !yield(row, nil) {
					return
				}
			}
			filter.Offset += len(page.Subscriptions)
			if len(page.Subscriptions) == 0 || filter.Offset >= page.Total {
				return
			}
		}
	}
}

// Pause stops delivery; the pool keeps its position and nothing is dropped.
func (c *Client) Pause(ctx context.Context, name string) (*wire.Subscription, error) {
	return c.pause(ctx, wire.VerbPause, name)
}

// Resume starts a paused subscription again from its position.
func (c *Client) Resume(ctx context.Context, name string) (*wire.Subscription, error) {
	return c.pause(ctx, wire.VerbResume, name)
}

func (c *Client) pause(ctx context.Context, verb, name string) (*wire.Subscription, error) {
	answer, err := named[wire.SubscriptionResponse](ctx, c, verb, name, nil)
	switch {
	case err != nil:
		return nil, err
	case answer.Subscription == nil:
		return nil, missing(verb, "subscription")
	}
	return answer.Subscription, nil
}

// Seek moves the position of the subscription name, forwards or back, or with
// DryRun says how far it would move.
func (c *Client) Seek(ctx context.Context, name string, req wire.SeekRequest) (*wire.SeekResponse, error) {
	return named[wire.SeekResponse](ctx, c, wire.VerbSeek, name, req)
}

// Explain says whether an event matches the subscription name, and why not: an
// event of its store, by its sequence, or one that is made up. Of one of its
// store that matches it also says how far the pool has come with it.
func (c *Client) Explain(ctx context.Context, name string, req wire.ExplainRequest) (*wire.ExplainResponse, error) {
	return named[wire.ExplainResponse](ctx, c, wire.VerbExplain, name, req)
}

// named is call for a verb that needs a name.
func named[A any](ctx context.Context, c *Client, verb, name string, body any) (*A, error) {
	if !wire.ValidName(name) {
		return nil, fmt.Errorf("%s %q: %w", verb, name, badName(name))
	}
	return call[A](ctx, c, verb, name, body)
}

func missing(verb, field string) error {
	return fmt.Errorf("%s: the answer has no %s", verb, field)
}
