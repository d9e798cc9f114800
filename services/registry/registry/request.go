package registry

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/wire"
)

// answerWithin bounds a request from its arrival: users are promised an answer
// in two seconds.
const answerWithin = 1800 * time.Millisecond

// request is one request while it is carried out.
type request struct {
	verb string
	name string // as in the subject; "" for verbs without one
	body []byte
	// silent: nobody waits for an answer, and the outcome is an advisory.
	silent  bool
	arrived time.Time
	from    *endpoint.Request
}

// handler carries a request out. Its answer is one of wire's responses.
type handler func(s *api, ctx context.Context, r *request) (any, *wire.Error)

// verb is one endpoint.
type verb struct {
	name    string
	named   bool // the subject ends with a subscription's name
	ordered bool // requests about one name wait for each other
	handle  handler
	does    string
}

// take is called by the endpoint, one request at a time: it refuses or hands
// over, and never waits.
func (s *api) take(jobs context.Context, v verb, m *endpoint.Request) {
	r := &request{verb: v.name, body: m.Body, silent: m.Silent(), arrived: m.Arrived, from: m}
	if v.named {
		r.name = strings.TrimPrefix(m.Subject, s.ns.API(v.name)+".")
	}
	if bad := s.admit(r); bad != nil {
		s.answer(r, nil, bad)
		return
	}
	key := ""
	if v.ordered {
		key = r.name
	}
	if !s.jobs.submit(key, func() { s.carryOut(jobs, v, r) }) {
		s.answer(r, nil, tooMany("too many requests are waiting", maxPending, 0))
	}
}

func (s *api) admit(r *request) *wire.Error {
	if ok, left := s.limits.allow(r.name, r.arrived); !ok {
		if left > 0 {
			return tooMany(fmt.Sprintf("too many requests per second for names that begin with %q", prefixOf(r.name)), s.limits.perSecond, 0)
		}
		return tooMany("too many requests per second", s.cfg.MaxRequestsPerSecond, 0)
	}
	if len(r.body) > s.cfg.MaxRequestBytes {
		return wire.Errorf(wire.CodeTooLarge, "the request has %d bytes: want at most %d", len(r.body), s.cfg.MaxRequestBytes)
	}
	return nil
}

func tooMany(description string, limit, left int) *wire.Error {
	e := wire.Errorf(wire.CodeTooMany, "%s: the limit is %d", description, limit)
	e.Limit, e.Remaining = &limit, &left
	return e
}

func (s *api) carryOut(jobs context.Context, v verb, r *request) {
	ctx, cancel := context.WithDeadline(jobs, r.arrived.Add(s.answerWithin))
	defer cancel()
	answer, bad := s.guarded(ctx, v, r)
	s.answer(r, answer, bad)
}

// guarded calls the handler. A panic is a fault of ours that one request sees;
// the service goes on.
func (s *api) guarded(ctx context.Context, v verb, r *request) (answer any, bad *wire.Error) {
	defer func() {
		if p := recover(); p != nil {
			answer, bad = nil, s.internal("panic", func(id string) {
				s.log.Error().Str("id", id).Str("verb", r.verb).Str("name", r.name).
					Interface("panic", p).Bytes("stack", debug.Stack()).Msg("request panicked")
			})
		}
	}()
	return v.handle(s, ctx, r)
}

// internal returns the error for a fault of ours; log is given its id.
func (s *api) internal(what string, log func(id string)) *wire.Error {
	e := wire.Errorf(wire.CodeInternal, "a fault of the registry (%s); its log has more under this id", what)
	e.ID = nuid.Next()
	log(e.ID)
	return e
}

// answer sends the outcome to whoever asked.
func (s *api) answer(r *request, answer any, bad *wire.Error) {
	s.m.observe(r.verb, bad, time.Since(r.arrived))
	if r.silent && bad != nil {
		s.rejections.add(r.verb, r.name, bad)
	}
	if err := r.from.Answer(answer, bad); err != nil {
		s.log.Warn().Err(err).Str("name", r.name).Msg("answer not sent")
	}
}

func head(r *request) wire.Head { return wire.Head{Type: wire.ResponseType(r.verb)} }
