package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// To explain is work that no deadline ends, so these bound it, and each takes
// at most the steps that package selector allows: other requests need the
// processor and the memory too.
const (
	maxExplaining = 2                      // explanations made at the same time
	explainWait   = 300 * time.Millisecond // for one of the others to end
)

func (s *api) explain(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeExplain(r.body, r.name)
	if bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	answer, err := s.explainTo(ctx, r, st, req)
	if err != nil {
		return nil, s.failed(r, err)
	}
	return answer, nil
}

func (s *api) explainTo(ctx context.Context, r *request, st *stores, req wire.ExplainRequest) (*wire.ExplainResponse, error) {
	rec, _, err := st.records().Get(ctx, r.name)
	if err != nil {
		return nil, err
	}
	e := madeUp(rec, req.Event, r.arrived)
	if e == nil {
		if e, err = s.stored(ctx, rec, req.Sequence); err != nil {
			return nil, err
		}
	}
	why, err := s.reasons(ctx, rec, e)
	if err != nil {
		return nil, err
	}
	answer := &wire.ExplainResponse{Head: head(r), Name: r.name, Matches: len(why) == 0, Reasons: why, Event: wire.ExplainedEvent{
		Store: e.Store, Sequence: e.Sequence, Subject: e.Subject, Type: e.Type, Stream: e.Stream, ID: e.ID(), Time: e.Time,
	}}
	if answer.Matches && req.Event == nil {
		answer.Delivery, err = s.progress(ctx, st, rec, e)
	}
	return answer, err
}

// madeUp returns the event that a request describes; nil where it describes none.
func madeUp(rec *wire.Record, given *wire.ExplainEvent, now time.Time) *selector.Event {
	if given == nil {
		return nil
	}
	h := make(nats.Header, len(given.Headers))
	for name, values := range given.Headers {
		h[name] = values
	}
	at := now.UTC()
	if given.Time != nil {
		at = *given.Time
	}
	e := selector.NewEvent(rec.Spec.Store, selector.Message{Time: at, Subject: given.Subject, Header: h, Data: given.Data})
	return &e
}

// stored reads an event of the subscription's store.
func (s *api) stored(ctx context.Context, rec *wire.Record, seq uint64) (*selector.Event, error) {
	var (
		msg  *jetstream.RawStreamMsg
		info subscription.StoreInfo
	)
	err := s.gate.do(ctx, func(ctx context.Context) error {
		var err error
		if info, err = subscription.Inspect(ctx, s.js, rec.Spec.Store); err != nil {
			return err
		}
		if msg, err = jsapi.GetMsg(ctx, s.js, rec.Spec.Store, map[string]any{"seq": seq}); err != nil {
			return fmt.Errorf("read event %d of store %q: %w", seq, rec.Spec.Store, err)
		}
		return nil
	})
	missing := errors.Is(err, jetstream.ErrMsgNotFound)
	if err != nil && !missing {
		return nil, err
	}
	if err := sameStore(rec, info); err != nil {
		return nil, err
	}
	if missing {
		return nil, notHeld(rec.Spec.Store, info, seq)
	}
	e := selector.NewEvent(rec.Spec.Store, selector.Message{
		Sequence: msg.Sequence, Time: msg.Time.UTC(), Subject: msg.Subject, Header: msg.Header, Data: msg.Data,
	})
	return &e, nil
}

// notHeld is the answer where the store has no event of that sequence.
func notHeld(store string, info subscription.StoreInfo, seq uint64) *wire.Error {
	reason := fmt.Sprintf("store %q no longer holds it: it was deleted", store)
	switch {
	case seq > info.Last:
		reason = fmt.Sprintf("store %q has not come to it: its last event is %d", store, info.Last)
	case info.First > info.Last:
		reason = fmt.Sprintf("store %q no longer holds it: it is empty", store)
	case seq < info.First:
		reason = fmt.Sprintf("store %q no longer holds it: its first event is %d", store, info.First)
	}
	return wrongField("sequence", reason)
}

// reasons says why e does not match; nothing where it does.
func (s *api) reasons(ctx context.Context, rec *wire.Record, e *selector.Event) ([]wire.ExplainReason, error) {
	m, err := selector.Compile(rec.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("explain %q: %w", rec.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, explainWait)
	defer cancel()
	select {
	case s.explaining <- struct{}{}:
		defer func() { <-s.explaining }()
	case <-ctx.Done():
		return nil, tooMany("too many explanations are being made", maxExplaining, 0)
	}
	why, err := m.Explain(e)
	if errors.Is(err, pattern.ErrTooCostly) {
		return nil, wire.Errorf(wire.CodeTooLarge, "the event is too large to be explained by patterns of this size: it has %d bytes", len(e.Data))
	}
	return append([]wire.ExplainReason{}, why...), err
}

// progress says how far the pool has come with an event that matches; "" where
// the pool's entry cannot be read, or JetStream does not say in time.
func (s *api) progress(ctx context.Context, st *stores, rec *wire.Record, e *selector.Event) (wire.ExplainDelivery, error) {
	pool, _, err := st.entries().Get(ctx, rec.Name)
	var corrupt *subscription.CorruptError
	switch {
	case errors.Is(err, subscription.ErrNotFound), err == nil && pool.UID != rec.UID:
		return delivery(rec, nil, nil, e), nil
	case errors.Is(err, errAway), errors.As(err, &corrupt):
		return "", nil
	case err != nil:
		return "", err
	}
	return delivery(rec, pool, s.status(ctx, pool), e), nil
}

// delivery is how far a pool has come with an event that matches, as far as its
// entry says, nil where it was never claimed, and its owner, nil where it is
// silent or there is none; "" where they do not say.
func delivery(rec *wire.Record, pool *wire.Pool, live *wire.PoolStatus, e *selector.Event) wire.ExplainDelivery {
	start, since := rec.Spec.Start, e.Sequence >= rec.StartSequence
	switch {
	case start.Kind == wire.PositionTime && since && e.Time.Before(start.Time), pool == nil && !since:
		return wire.DeliveryBeforeStart
	case pool == nil:
		return wire.DeliveryNotYetRead
	}
	floor, position := pool.Checkpoint.Floor, uint64(0)
	if live != nil {
		floor, position = max(floor, live.Floor), live.Position
	}
	finished := e.Sequence <= floor
	for _, r := range pool.Checkpoint.Ranges {
		finished = finished || r[0] <= e.Sequence && e.Sequence <= r[1]
		position = max(position, r[1])
	}
	switch {
	case finished: // or before the start: a seek back may have led to it
		return wire.DeliveryFinished
	case e.Sequence <= position:
		return wire.DeliveryPending
	case live == nil && pool.Owner != "":
		return "" // the owner may have read on since it wrote the entry
	default:
		return wire.DeliveryNotYetRead
	}
}
