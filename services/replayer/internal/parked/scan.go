package parked

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/park"
)

// feedBytes bounds what a scan holds of events that it has not looked at.
const feedBytes = 2 << 20

// errRecreated is where the parked stream is another one than it was at the
// beginning of a request: its sequences mean other events.
var errRecreated = errors.New("the parked stream was made again meanwhile")

// scanner reads parked events.
type scanner struct {
	js    jetstream.JetStream
	ns    wire.Namespace
	owner feed.Owner
	log   zerolog.Logger
}

// extent is where the parked events of a name lie.
type extent struct {
	name    string
	span    span
	count   uint64
	created time.Time // of the stream
	now     time.Time // by the server's clock
}

// search is what is looked for.
type search struct {
	extent
	filter
	*tally // counts those that cannot be judged, and what its user adds
}

// span is a range of sequences of the parked stream, without its first one.
type span struct{ after, to uint64 }

// look asks the stream's leader.
func (s *scanner) look(ctx context.Context, name string) (extent, error) {
	stream, err := s.js.Stream(ctx, s.ns.StreamParked())
	if err != nil {
		return extent{}, fmt.Errorf("look at the parked stream: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(s.ns.Parked(name)))
	if err != nil {
		return extent{}, fmt.Errorf("look at the parked stream: %w", err)
	}
	e := extent{name: name, count: info.State.Subjects[s.ns.Parked(name)], created: info.Created, now: info.TimeStamp}
	e.span.to = info.State.LastSeq
	if info.State.FirstSeq > 0 {
		e.span.after = info.State.FirstSeq - 1
	}
	if e.now.IsZero() {
		e.now = time.Now()
	}
	return e, nil
}

// scan hands over the events of a span that are looked for, in order, until each
// says that it is enough or ctx ends. It returns how far it looked: the whole
// span, unless it was stopped. The error says why it looked at nothing.
func (s *scanner) scan(ctx context.Context, q search, in span, each func(*park.Copy) bool) (to uint64, err error) {
	if in.after >= in.to {
		return in.to, nil
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	done := false
	to = in.after
	cfg := feed.Config{
		Stream: s.ns.StreamParked(), Filters: []string{s.ns.Parked(q.name)}, After: in.after,
		HeadersOnly: !q.needsBody(), Bytes: feedBytes, Owner: s.owner, Purpose: "looks at parked events", Log: s.log,
		Look: func(info *jetstream.StreamInfo) error {
			if !info.Created.Equal(q.created) {
				return errRecreated
			}
			return nil
		},
	}
	err = feed.Read(reading, s.js, cfg, func(m feed.Msg) {
		switch {
		case done:
			return
		case m.Sequence > in.to:
			to = in.to
			done = true
		default:
			to = m.Sequence
			c := park.ReadCopy(m)
			done = !q.take(&c, each)
		}
		if done {
			stop()
		}
	})
	switch {
	case done, err != nil && to > in.after && !errors.Is(err, errRecreated):
		return to, nil
	case err != nil:
		return to, fmt.Errorf("read parked events of %q: %w", q.name, err)
	}
	return in.to, nil
}

// take judges an event, and hands it over if it is meant. It reports whether to
// go on.
func (q search) take(c *park.Copy, each func(*park.Copy) bool) bool {
	switch q.judge(c) {
	case pattern.Matches:
		return each(c)
	case pattern.TooCostly:
		q.unjudged++
	case pattern.NoMatch:
	}
	return true
}
