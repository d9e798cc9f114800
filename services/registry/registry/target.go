package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// namesTimeout bounds the question which streams capture a subject. It is
	// for warnings alone, and must not hold up who may not ask it.
	namesTimeout = 250 * time.Millisecond
	// maxWarned bounds the streams, and the filters, that are warned about.
	maxWarned = 10
)

// target is what JetStream says of where a subscription reads and delivers.
type target struct {
	store     subscription.StoreInfo
	origins   []subscription.Origin // the store, and what its events come from; none: there is no such store
	capturing []string              // streams that store what is delivered
	stream    *subscription.StoreInfo
}

// lookAt asks JetStream about the target of req.
func (s *api) lookAt(ctx context.Context, req *wire.SubscribeRequest) (t target, err error) {
	err = s.gate.do(ctx, func(ctx context.Context) error {
		var err error
		if t.store, err = subscription.Inspect(ctx, s.js, req.Store); err == nil {
			t.origins, err = subscription.Origins(ctx, s.js, req.Store)
		}
		if err != nil && !errors.Is(err, subscription.ErrNoStore) {
			return err
		}
		if req.Deliver.Stream == "" {
			return nil
		}
		info, err := subscription.Inspect(ctx, s.js, req.Deliver.Stream)
		switch {
		case errors.Is(err, subscription.ErrNoStore):
			return nil
		case err != nil:
			return err
		}
		t.stream = &info
		return nil
	})
	if err == nil && req.Deliver.Subject != "" {
		t.capturing = s.capturing(ctx, req.Deliver.Subject)
	}
	return t, err
}

// capturing returns the streams that capture a subject, as far as the registry
// may know them.
func (s *api) capturing(ctx context.Context, subject string) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, namesTimeout)
	defer cancel()
	list := s.js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		s.log.Debug().Err(err).Str("subject", subject).Msg("streams that capture a delivery subject not known")
	}
	slices.Sort(names)
	return names
}

// faults are what JetStream's answers forbid about req.
func (t *target) faults(req *wire.SubscribeRequest) (faults []wire.Fault) {
	fault := func(code wire.ErrCode, field, format string, args ...any) {
		faults = append(faults, wire.Fault{Field: field, Reason: fmt.Sprintf(format, args...), ErrCode: code})
	}
	switch {
	case len(t.origins) == 0:
		fault(wire.CodeNoStore, "store", "store %q: no such store", req.Store)
	case t.store.Retention != jetstream.LimitsPolicy:
		fault(wire.CodeStoreRetention, "store", "the retention of store %q is %s: want limits", req.Store, retention(t.store.Retention))
	}
	switch stream, filter, captured := subscription.CapturedBy(t.origins, req.Deliver.Subject); {
	case captured && stream == req.Store:
		fault(wire.CodeBadDelivery, "deliver.subject", "store %q itself captures it (%s): deliveries would become events", stream, filter)
	case captured:
		fault(wire.CodeBadDelivery, "deliver.subject", "%q, from which events of store %q come, captures it (%s): deliveries would become events",
			stream, req.Store, filter)
	}
	if to := req.Deliver.Stream; to != "" {
		switch {
		case t.from(to):
			fault(wire.CodeBadDelivery, "deliver.stream", "%q is the store, or its events come from there: deliveries would become events", to)
		case t.stream == nil:
			fault(wire.CodeNoStore, "deliver.stream", "there is no stream %q", to)
		case subscription.Captures(t.stream.Subjects, req.Deliver.Subject) == "":
			fault(wire.CodeBadField, "deliver.stream", "stream %q does not capture %s", to, req.Deliver.Subject)
		}
	}
	return faults
}

// from reports whether events of the store come from stream.
func (t *target) from(stream string) bool {
	return slices.ContainsFunc(t.origins, func(o subscription.Origin) bool { return o.Stream == stream })
}

// warnings are what is taken although it may not be what was meant.
func (t *target) warnings(req *wire.SubscribeRequest) (warnings []wire.Fault) {
	for _, name := range t.capturing {
		if name == req.Deliver.Stream || t.from(name) || len(warnings) == maxWarned {
			continue
		}
		warnings = append(warnings, wire.Fault{Field: "deliver.subject", Reason: fmt.Sprintf(
			`stream %q captures it too: what is delivered is stored there, and only a subscriber's answer counts `+
				`(to deliver to that stream, name it in "deliver.stream")`, name)})
	}
	if len(t.origins) != 1 || len(t.store.Subjects) == 0 {
		return warnings // what it copies may have any subject
	}
	for i, filter := range req.Selector.ByStream {
		if filter == wire.AllStreams || subscription.Captures(t.store.Subjects, filter) != "" || len(warnings) == 2*maxWarned {
			continue
		}
		field := "selector.by_stream"
		if len(req.Selector.ByStream) > 1 {
			field = fmt.Sprintf("%s[%d]", field, i)
		}
		warnings = append(warnings, wire.Fault{Field: field, Reason: fmt.Sprintf(
			"%s can match no event of store %q, which captures %s", filter, req.Store, some(t.store.Subjects))})
	}
	return warnings
}

// some lists the first few of many.
func some(all []string) string {
	const most = 5
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
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
