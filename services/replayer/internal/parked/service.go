package parked

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/work"
)

const (
	queueSize = 64 // requests that wait
	workers   = 2  // each may read a whole stream: more would only slow each other down
	// scanShare is which part of that the looking at all events may take.
	scanShare = 0.6
)

// Records tells which subscriptions there are; a *subscription.Store is one.
type Records interface {
	Get(ctx context.Context, name string) (*wire.Record, uint64, error)
}

// defaultWithin leaves an answer time to arrive: clients wait 5 s.
const defaultWithin = 4 * time.Second

// Config of a Service. All of it is required, but for Within.
type Config struct {
	Namespace wire.Namespace
	Owner     feed.Owner // whose consumers read
	// ConfirmAbove is how many events may be discarded without the confirm value
	// of a dry run.
	ConfirmAbove int
	// Within is how long a request may take from its arrival. Defaults to 4s.
	Within  time.Duration
	Records Records
	Advisor *bus.Advisor
	Log     zerolog.Logger
}

// Service carries out requests about parked events.
type Service struct {
	scanner
	cfg     Config
	advisor *bus.Advisor
	queue   *work.Queue[*request]
}

// New returns a service that carries out nothing before Run.
func New(js jetstream.JetStream, cfg Config) *Service {
	cfg.Within = cmp.Or(cfg.Within, defaultWithin)
	s := &Service{
		scanner: scanner{js: js, ns: cfg.Namespace, owner: cfg.Owner, log: cfg.Log},
		cfg:     cfg, advisor: cfg.Advisor,
	}
	s.queue = work.NewQueue(queueSize, workers, 1, s.carryOut)
	return s
}

// request is a request while it waits and is carried out.
type request struct {
	*endpoint.Request
	verb, name string
	handle     handler
}

func (r *request) head() wire.Head { return wire.Head{Type: wire.ResponseType(r.verb)} }

// handler carries a request out. Its answer is one of wire's responses.
type handler func(ctx context.Context, r *request) (any, *wire.Error)

// Endpoints are the subjects that the service takes requests on.
func (s *Service) Endpoints() []endpoint.Endpoint {
	var out []endpoint.Endpoint
	for _, v := range []struct {
		verb   string
		handle handler
		does   string
	}{
		{wire.VerbParkedList, s.list, "list the parked events of a subscription"},
		{wire.VerbParkedDiscard, s.discard, "discard parked events of a subscription"},
	} {
		subject := s.ns.API(v.verb, "*")
		out = append(out, endpoint.Endpoint{
			Name: strings.ReplaceAll(v.verb, ".", "-"), Subject: subject, Verb: v.verb, Description: v.does,
			Handle: func(r *endpoint.Request) {
				s.take(&request{Request: r, verb: v.verb, name: r.Subject[len(subject)-1:], handle: v.handle})
			},
		})
	}
	return out
}

// take hands a request over, and never waits.
func (s *Service) take(r *request) {
	if !s.queue.Add(r) {
		limit, left := queueSize, 0
		bad := wire.Errorf(wire.CodeTooMany, "too many requests about parked events are waiting: the limit is %d", queueSize)
		bad.Limit, bad.Remaining = &limit, &left
		s.answer(r, nil, bad)
	}
}

// Run carries requests out until ctx ends.
func (s *Service) Run(ctx context.Context) error { return s.queue.Run(ctx) }

func (s *Service) carryOut(ctx context.Context, rs []*request) {
	for _, r := range rs {
		ctx, cancel := context.WithDeadline(ctx, r.Arrived.Add(s.cfg.Within))
		answer, bad := r.handle(ctx, r)
		cancel()
		s.answer(r, answer, bad)
	}
}

// scanTime is ctx for looking at all events: it leaves time to act.
func (s *Service) scanTime(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(scanShare*float64(time.Until(end))))
}

func (s *Service) answer(r *request, body any, bad *wire.Error) {
	if bad != nil && r.Silent() && r.verb != wire.VerbParkedList {
		s.advisor.Publish(wire.AdvReplayFailed, wire.Advisory{Name: r.name, Detail: r.verb + " refused", Error: bad})
	}
	_ = r.Answer(body, bad) // the requester is gone: nobody to tell
}

// failed turns an error into an answer. Nothing was done.
func (s *Service) failed(r *request, err error) *wire.Error {
	var (
		bad  *wire.Error
		full *jsapi.FullError
		api  *jetstream.APIError
	)
	switch {
	case errors.As(err, &bad):
		return bad
	case errors.Is(err, subscription.ErrNotFound):
		return wire.Errorf(wire.CodeNoSubscription, "there is no subscription %q, and none of its events are parked", r.name)
	case errors.As(err, &full):
		return wire.Errorf(wire.CodeUnavailable, "%s; nothing was done", full.Plain())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, nats.ErrTimeout),
		errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, errRecreated), errors.Is(err, jetstream.ErrStreamNotFound), errors.As(err, &api):
		s.log.Warn().Err(err).Str("verb", r.verb).Str("name", r.name).Msg("request about parked events not carried out")
		return wire.Errorf(wire.CodeUnavailable, "the parked stream could not be asked; nothing was done: %s", err)
	}
	s.log.Error().Err(err).Str("verb", r.verb).Str("name", r.name).Msg("request about parked events failed")
	return wire.Errorf(wire.CodeInternal, "a fault of the replayer: %s", err)
}

// look asks where the parked events of a name lie. The error wraps
// subscription.ErrNotFound where there are none, and no such subscription either.
func (s *Service) look(ctx context.Context, name string) (extent, error) {
	e, err := s.scanner.look(ctx, name)
	if err != nil || e.count > 0 {
		return e, err
	}
	var corrupt *subscription.CorruptError
	switch _, _, err := s.cfg.Records.Get(ctx, name); {
	case errors.As(err, &corrupt): // there is one
		return e, nil
	case err != nil:
		return e, fmt.Errorf("no event of %q is parked: %w", name, err)
	}
	return e, nil
}
