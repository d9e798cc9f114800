package registry

import (
	"context"
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
	subscription.Target
	capturing []string // streams that store what is delivered
}

// lookAt asks JetStream about the target of req.
func (s *api) lookAt(ctx context.Context, req *wire.SubscribeRequest) (t target, err error) {
	err = s.gate.do(ctx, func(ctx context.Context) error {
		var err error
		t.Target, err = subscription.LookAt(ctx, s.js, req.Store, req.Deliver.Stream)
		return err
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

// warnings are what is taken although it may not be what was meant.
func (t *target) warnings(req *wire.SubscribeRequest) (warnings []wire.Fault) {
	for _, name := range t.capturing {
		if name == req.Deliver.Stream || t.Feeds(name) || len(warnings) == maxWarned {
			continue
		}
		warnings = append(warnings, wire.Fault{Field: "deliver.subject", Reason: fmt.Sprintf(
			`stream %q captures it too: what is delivered is stored there, and only a subscriber's answer counts `+
				`(to deliver to that stream, name it in "deliver.stream")`, name)})
	}
	if len(t.Origins) != 1 || len(t.Store.Subjects) == 0 {
		return warnings // what it copies may have any subject
	}
	for i, filter := range req.Selector.ByStream {
		if filter == wire.AllStreams || subscription.Captures(t.Store.Subjects, filter) != "" || len(warnings) == 2*maxWarned {
			continue
		}
		field := "selector.by_stream"
		if len(req.Selector.ByStream) > 1 {
			field = fmt.Sprintf("%s[%d]", field, i)
		}
		warnings = append(warnings, wire.Fault{Field: field, Reason: fmt.Sprintf(
			"%s can match no event of store %q, which captures %s", filter, req.Store, some(t.Store.Subjects))})
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
