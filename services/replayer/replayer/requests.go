package replayer

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/jobs"
	"github.com/sluicehq/sluice/services/replayer/internal/parked"
	"github.com/sluicehq/sluice/services/replayer/internal/player"
	"github.com/sluicehq/sluice/services/replayer/internal/preview"
)

const (
	// answerWithin bounds a request from its arrival: the clients of NATS wait
	// for five seconds.
	answerWithin = 4500 * time.Millisecond
	maxRequests  = 32 // carried out at once
	maxCounts    = 2  // of these, those that read a store
	maxBody      = 64 << 10
)

// api carries out what users ask of replays.
type api struct {
	ns       wire.Namespace
	cfg      Config
	js       jetstream.JetStream
	records  *subscription.Store
	jobs     *jobs.Store
	player   *player.Player
	bucket   bucket.KeyValue // of replays
	previews *preview.Previewer
	parked   *parked.Service
	advisor  *bus.Advisor
	log      zerolog.Logger

	requests, counts *semaphore.Weighted
}

// request is one that is carried out.
type request struct {
	verb, name string
	body       []byte
	silent     bool
}

func (r *request) head() wire.Head { return wire.Head{Type: wire.ResponseType(r.verb)} }

// handler carries a request out. Its answer is one of wire's responses.
type handler func(a *api, ctx context.Context, r *request) (any, *wire.Error)

// verbs are what the replayer answers, but for those of package parked.
var verbs = []struct {
	verb string
	// named: the subject ends with a name or an id.
	named bool
	do    handler
	does  string
}{
	{wire.VerbReplayStart, true, (*api).start, "deliver events of a store again, or say which that would be"},
	{wire.VerbReplayList, false, (*api).list, "list replays, the newest first"},
	{wire.VerbReplayGet, true, (*api).get, "show a replay"},
	{wire.VerbReplayCancel, true, order(jobs.Cancel), "end a replay"},
	{wire.VerbReplayPause, true, order(jobs.Pause), "stop a replay, which keeps its place"},
	{wire.VerbReplayResume, true, order(jobs.Resume), "let a replay go on from its place"},
	{wire.VerbParkedReplay, true, (*api).replayParked, "deliver parked events again, or count which those are"},
}

// endpoints are the verbs as NATS' service framework takes them. Requests are
// carried out under life, a few at once.
func (a *api) endpoints(life context.Context) []endpoint.Endpoint {
	all := make([]endpoint.Endpoint, 0, len(verbs))
	for _, v := range verbs {
		subject := a.ns.API(v.verb)
		if v.named {
			subject = a.ns.API(v.verb, "*")
		}
		all = append(all, endpoint.Endpoint{
			Name: strings.ReplaceAll(v.verb, ".", "-"), Subject: subject, Verb: v.verb, Description: v.does,
			Handle: func(m *endpoint.Request) {
				r := &request{verb: v.verb, body: m.Body, silent: m.Silent()}
				if v.named {
					r.name = m.Subject[len(subject)-1:]
				}
				a.take(life, m, r, v.do)
			},
		})
	}
	return all
}

// take has a request carried out, or refuses it.
func (a *api) take(life context.Context, m *endpoint.Request, r *request, do handler) {
	switch {
	case len(r.body) > maxBody:
		a.answer(m, r, nil, wire.Errorf(wire.CodeTooLarge, "the request has %d bytes: want at most %d", len(r.body), maxBody))
	case !a.requests.TryAcquire(1):
		a.answer(m, r, nil, tooMany("too many requests are being carried out", maxRequests))
	default:
		go func() { // owned by requests, all of which drain takes
			defer a.requests.Release(1)
			ctx, cancel := context.WithDeadline(life, m.Arrived.Add(answerWithin))
			defer cancel()
			answer, bad := do(a, ctx, r)
			a.answer(m, r, answer, bad)
		}()
	}
}

// drain waits for the requests that are being carried out.
func (a *api) drain(ctx context.Context) { _ = a.requests.Acquire(ctx, maxRequests) }

func tooMany(what string, limit int) *wire.Error {
	left := 0
	e := wire.Errorf(wire.CodeTooMany, "%s: the limit is %d", what, limit)
	e.Limit, e.Remaining = &limit, &left
	return e
}

// answer sends the outcome to whoever asked. Where nobody waits for a refusal an
// advisory tells of it.
func (a *api) answer(m *endpoint.Request, r *request, answer any, bad *wire.Error) {
	if bad != nil && r.silent {
		a.advisor.Publish(wire.AdvReplayFailed, wire.Advisory{Name: r.name, Detail: r.verb + " refused", Error: bad})
	}
	if err := m.Answer(answer, bad); err != nil {
		a.log.Debug().Err(err).Str("verb", r.verb).Msg("answer not sent")
	}
}

// failed turns an error into an answer.
func failed(r *request, err error) *wire.Error {
	var (
		answer  *wire.Error
		corrupt *subscription.CorruptError
		full    *jsapi.FullError
	)
	switch {
	case errors.As(err, &answer):
		return answer
	case errors.Is(err, bucket.ErrUnanswered):
		e := wire.Errorf(wire.CodeUnavailable, "JetStream did not confirm the write; it is not known whether it happened")
		e.Outcome = wire.OutcomeUnknown
		return e
	case errors.As(err, &full):
		return wire.Errorf(wire.CodeUnavailable, "%s; nothing was done", full.Plain())
	case errors.Is(err, jobs.ErrNotFound):
		return noSuchReplay(r.name)
	case errors.Is(err, subscription.ErrNotFound):
		return wire.Errorf(wire.CodeNoSubscription, "there is no subscription %q", clip(r.name))
	case errors.Is(err, subscription.ErrNoStore):
		return wire.Errorf(wire.CodeNoStore, "%s", err)
	case errors.As(err, &corrupt):
		e := wire.Errorf(wire.CodeConflict, "what is stored under %q cannot be read", corrupt.Key)
		e.Revision = corrupt.Revision
		e.Details = []wire.Fault{{Reason: corrupt.Err.Error()}}
		return e
	case away(err):
		return wire.Errorf(wire.CodeUnavailable, "JetStream did not answer; nothing was done")
	}
	return wire.Errorf(wire.CodeInternal, "a fault of the replayer: %s", err)
}

// away reports whether err says that JetStream did not answer, or could not.
func away(err error) bool {
	for _, target := range []error{
		context.DeadlineExceeded, context.Canceled, preview.ErrSilent, bucket.ErrContended, nats.ErrTimeout, nats.ErrNoResponders,
		nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded,
		jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.Code == wire.CodeUnavailable.Status()
}

func noSuchReplay(id string) *wire.Error {
	return wire.Errorf(wire.CodeNoReplay, "no such replay: %q", clip(id))
}

// clip bounds what an answer repeats of what the sender chose.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
