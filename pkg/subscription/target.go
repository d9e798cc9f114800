package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Target is what JetStream says of where events are read and delivered.
type Target struct {
	Store   StoreInfo
	Origins []Origin   // the store, and what its events come from; none: there is no such store
	Stream  *StoreInfo // that is delivered to; nil: none, or it is not there
}

// LookAt asks JetStream about a store, and about the stream that events are
// delivered to, if one is named. What is not there is no error.
func LookAt(ctx context.Context, js streams, store, stream string) (t Target, err error) {
	if t.Store, err = Inspect(ctx, js, store); err == nil {
		t.Origins, err = Origins(ctx, js, store)
	}
	if err != nil && !errors.Is(err, ErrNoStore) {
		return t, err
	}
	if stream == "" {
		return t, nil
	}
	info, err := Inspect(ctx, js, stream)
	switch {
	case errors.Is(err, ErrNoStore):
		return t, nil
	case err != nil:
		return t, err
	}
	t.Stream = &info
	return t, nil
}

// Faults are what JetStream's answers forbid about delivering a store's events.
func (t *Target) Faults(store string, to wire.Deliver) (faults []wire.Fault) {
	fault := func(code wire.ErrCode, field, format string, args ...any) {
		faults = append(faults, wire.Fault{Field: field, Reason: fmt.Sprintf(format, args...), ErrCode: code})
	}
	switch {
	case len(t.Origins) == 0:
		fault(wire.CodeNoStore, "store", "store %q: no such store", store)
	case t.Store.Retention != jetstream.LimitsPolicy:
		fault(wire.CodeStoreRetention, "store", "the retention of store %q is %s: want limits", store, retention(t.Store.Retention))
	}
	switch stream, filter, captured := CapturedBy(t.Origins, to.Subject); {
	case captured && stream == store:
		fault(wire.CodeBadDelivery, "deliver.subject", "store %q itself captures it (%s): deliveries would become events", stream, filter)
	case captured:
		fault(wire.CodeBadDelivery, "deliver.subject", "%q, from which events of store %q come, captures it (%s): deliveries would become events",
			stream, store, filter)
	}
	switch {
	case to.Stream == "":
	case t.Feeds(to.Stream):
		fault(wire.CodeBadDelivery, "deliver.stream", "%q is the store, or its events come from there: deliveries would become events", to.Stream)
	case t.Stream == nil:
		fault(wire.CodeNoStore, "deliver.stream", "there is no stream %q", to.Stream)
	case Captures(t.Stream.Subjects, to.Subject) == "":
		fault(wire.CodeBadField, "deliver.stream", "stream %q does not capture %s", to.Stream, to.Subject)
	}
	return faults
}

// Feeds reports whether events of the store come from a stream.
func (t *Target) Feeds(stream string) bool {
	return slices.ContainsFunc(t.Origins, func(o Origin) bool { return o.Stream == stream })
}

func retention(p jetstream.RetentionPolicy) string {
	switch p {
	case jetstream.InterestPolicy:
		return "interest"
	case jetstream.WorkQueuePolicy:
		return "workqueue"
	default:
		return p.String()
	}
}
