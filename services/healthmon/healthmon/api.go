package healthmon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// Bounds of the requests.
const (
	maxBody     = 64 << 10
	maxRequests = 128                     // under way at once in this instance
	handOver    = 30 * time.Second        // for the leader's answer
	patience    = 1500 * time.Millisecond // for a sweep, before the last one has to do
	longestWait = handOver - askTimeout   // that a request can ask for: then there is still time to ask for the last one
)

// api answers requests. Every instance has one.
type api struct {
	nc       *nats.Conn
	ns       wire.Namespace
	health   bucket.KeyValue
	subs     *subscription.Store
	advisor  *bus.Advisor
	replies  *bus.Responder
	log      zerolog.Logger
	instance string
}

// handler carries out a request: body is what is answered, as JSON or as a
// value to encode.
type handler func(ctx context.Context, req *endpoint.Request) (body any, e *wire.Error)

// run serves until ctx ends, then lets the requests under way finish.
func (a *api) run(ctx context.Context, ready func()) error {
	var g errgroup.Group
	g.SetLimit(maxRequests)
	svc, err := endpoint.Serve(a.nc, endpoint.Config{
		Namespace: a.ns, Service: wire.ServiceHealthmon, Instance: a.instance,
		Description: "finds what is wrong with subscriptions and repairs it", Responder: a.replies, Log: a.log,
	}, a.endpoints(ctx, &g)...)
	if err != nil {
		return err
	}
	// Ready is who can be reached: the server has the endpoints. Where it is
	// away right now they are sent when it is back.
	if err := a.flush(ctx); err != nil && ctx.Err() == nil {
		a.log.Warn().Err(err).Msg("request interface not confirmed by the server")
	}
	ready()
	<-ctx.Done()
	err = svc.Stop()
	_ = g.Wait() // handlers return no errors
	if err != nil {
		a.log.Warn().Err(err).Msg("request interface did not stop cleanly")
	}
	return nil
}

func (a *api) endpoints(ctx context.Context, g *errgroup.Group) []endpoint.Endpoint {
	var out []endpoint.Endpoint
	for _, v := range []struct {
		verb, name string
		do         handler
		does       string
	}{
		{wire.VerbHealthCheck, "", a.check, "look now, and report"},
		{wire.VerbHealthReport, "", a.report, "show the last report"},
		{wire.VerbHealthSubscription, ".*", a.subscription, "show how a subscription is"},
		{wire.VerbHealthCleanup, "", a.cleanup, "switch automatic repair on or off"},
		{wire.VerbHealthRepair, "", a.repair, "repair one issue"},
	} {
		_, short, _ := strings.Cut(v.verb, ".")
		out = append(out, endpoint.Endpoint{
			Name: short, Subject: a.ns.API(v.verb) + v.name, Verb: v.verb, Description: v.does,
			Handle: func(req *endpoint.Request) { a.serve(ctx, g, v.verb, req, v.do) },
		})
	}
	return out
}

func (a *api) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return a.nc.FlushWithContext(ctx)
}

// serve carries out one request on a goroutine of its own, so that a sweep
// holds up nobody who asks for something else.
func (a *api) serve(ctx context.Context, g *errgroup.Group, verb string, req *endpoint.Request, do handler) {
	if len(req.Body) > maxBody {
		a.respond(verb, req, nil, wire.Errorf(wire.CodeTooLarge, "the request has %d bytes, %d are allowed", len(req.Body), maxBody))
		return
	}
	started := g.TryGo(func() error {
		// What has begun is finished also while the service stops.
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOver)
		defer cancel()
		body, e := do(rctx, req)
		a.respond(verb, req, body, e)
		return nil
	})
	if !started {
		e := wire.Errorf(wire.CodeTooMany, "too many requests are under way")
		limit, left := maxRequests, 0
		e.Limit, e.Remaining = &limit, &left
		a.respond(verb, req, nil, e)
	}
}

// respond answers, or tells what became of a request that nobody waits for.
func (a *api) respond(verb string, req *endpoint.Request, body any, e *wire.Error) {
	if err := req.Answer(body, e); err != nil {
		a.log.Warn().Err(err).Msg("answer not sent")
	}
	if req.Silent() {
		a.tell(verb, req, body, e)
	}
}

// tell publishes what became of a request without a reply subject, where
// nothing else does: a repair that was made, a switch that was set and a sweep
// say so themselves.
func (a *api) tell(verb string, req *endpoint.Request, body any, e *wire.Error) {
	switch {
	case e == nil && verb == wire.VerbHealthRepair:
		a.tellRepair(body)
	case e != nil:
		a.log.Warn().Str("verb", verb).Str("error", e.Description).Msg("request without a reply subject failed")
		what := wire.AdvHealthRejected
		if verb == wire.VerbHealthRepair {
			what = wire.AdvRepairFailed
		}
		a.advisor.Publish(what, wire.Advisory{
			Name: about(verb, req), Detail: e.Description, Error: e, Data: map[string]any{"verb": verb},
		})
	}
}

// tellRepair publishes the outcome of a repair that did nothing.
func (a *api) tellRepair(body any) {
	raw, _ := body.(json.RawMessage) // as the leader answered
	var answer wire.RepairResponse
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Repair == nil {
		a.log.Error().Err(err).Msg("outcome of a repair cannot be read")
		return
	}
	r := answer.Repair
	if r.Outcome != outcomeNothing && r.Outcome != outcomeWouldDo {
		return
	}
	a.advisor.Advise(wire.AdvRepairSkipped, r.Name, r.Detail, map[string]any{
		"kind": r.Kind, "action": r.Action, "outcome": r.Outcome, "dry_run": r.DryRun, "observed": r.Observed,
	})
}

// about is the name that a request is about, the service's where it is about
// none, "unknown" where it cannot be read.
func about(verb string, req *endpoint.Request) string {
	var name string
	switch verb {
	case wire.VerbHealthRepair:
		var r wire.RepairRequest
		_ = json.Unmarshal(req.Body, &r) // whatever can be read of it
		name = r.Name
	case wire.VerbHealthSubscription:
		name = nameIn(req.Subject)
	default:
		return wire.ServiceHealthmon
	}
	if !wire.ValidName(name) {
		return "unknown"
	}
	return name
}

// nameIn is the last token of a request's subject.
func nameIn(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

func (a *api) report(ctx context.Context, req *endpoint.Request) (any, *wire.Error) {
	if e := strictjson.Read(req.Body, true, &struct{}{}, func(*strictjson.Decoder) {}); e != nil {
		return nil, e
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	entry, err := a.health.Get(ctx, keyReport)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, wire.Errorf(wire.CodeUnavailable, "no sweep has been finished yet")
	case err != nil:
		return nil, wire.Errorf(wire.CodeUnavailable, "the report cannot be read: %s", err)
	}
	if err := (remembered{entry.Value(), entry.Created()}).report(); err != nil {
		return nil, wire.Errorf(wire.CodeUnavailable, "the report cannot be read, the next sweep replaces it: %s", err)
	}
	return json.RawMessage(entry.Value()), nil
}

// leader hands a request to the leader and returns its answer.
func (a *api) leader(ctx context.Context, verb string, body any) (any, *wire.Error) {
	b, err := wire.Marshal(body)
	if err != nil {
		return nil, wire.Errorf(wire.CodeInternal, "encode request: %s", err)
	}
	m, err := a.nc.RequestWithContext(ctx, leaderSubject(a.ns, verb), b)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, wire.Errorf(wire.CodeUnavailable, "no health monitor leads right now, nothing was done")
	case err != nil:
		e := wire.Errorf(wire.CodeUnavailable, "the leading health monitor did not answer: %s", err)
		if verb == wire.VerbHealthRepair {
			e.Outcome = wire.OutcomeUnknown
		}
		return nil, e
	}
	var head wire.Head
	if err := json.Unmarshal(m.Data, &head); err != nil {
		return nil, wire.Errorf(wire.CodeInternal, "the leader's answer cannot be read: %s", err)
	}
	if head.Error != nil {
		return nil, head.Error
	}
	return json.RawMessage(m.Data), nil
}

func (a *api) subscription(ctx context.Context, req *endpoint.Request) (any, *wire.Error) {
	name := nameIn(req.Subject)
	if e := strictjson.Read(req.Body, true, &struct{}{}, func(d *strictjson.Decoder) { d.Name("name", name) }); e != nil {
		return nil, e
	}
	// One that is new since the last sweep, or new under its name, has no
	// status yet: that takes a sweep.
	for range 2 {
		st, e := a.status(ctx, name)
		if e != nil || st != nil {
			return st, e
		}
		if _, e := a.leader(ctx, wire.VerbHealthCheck, nil); e != nil {
			return nil, e
		}
	}
	return nil, wire.Errorf(wire.CodeUnavailable, "the subscription has no status yet")
}

// status reads the kept status of a subscription; nil where there is none that
// is of the subscription as it is.
func (a *api) status(ctx context.Context, name string) (*wire.SubscriptionHealthResponse, *wire.Error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	rec, _, err := a.subs.Get(ctx, name)
	var corrupt *subscription.CorruptError
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return nil, wire.Errorf(wire.CodeNoSubscription, "there is no subscription %q", name)
	case err != nil && !errors.As(err, &corrupt):
		return nil, wire.Errorf(wire.CodeUnavailable, "the subscription cannot be read: %s", err)
	}
	st, err := a.latest(ctx, name)
	switch {
	case err != nil:
		return nil, wire.Errorf(wire.CodeUnavailable, "the status cannot be read: %s", err)
	case st == nil || rec != nil && st.UID != rec.UID:
		return nil, nil
	}
	return &wire.SubscriptionHealthResponse{
		Head: wire.Head{Type: wire.ResponseType(wire.VerbHealthSubscription)}, SubscriptionHealth: st.SubscriptionHealth,
	}, nil
}

// latest is a status as of the leader's last sweep. While nobody leads it is the
// one that was kept, with the time at which its numbers were taken.
func (a *api) latest(ctx context.Context, name string) (*keptStatus, error) {
	var st keptStatus
	quick, cancel := context.WithTimeout(ctx, askTimeout/2)
	defer cancel()
	m, err := a.nc.RequestWithContext(quick, leaderSubject(a.ns, verbStatus), []byte(name))
	if err == nil && json.Unmarshal(m.Data, &st) == nil && st.Name == name {
		return &st, nil
	}
	key := subscriptionKey(name)
	e, err := a.health.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", key, err)
	}
	if st, err = (remembered{e.Value(), e.Created()}).status(key); err != nil {
		return nil, nil // the leader will replace it
	}
	return &st, nil
}

func (a *api) cleanup(ctx context.Context, req *endpoint.Request) (any, *wire.Error) {
	var r wire.CleanupRequest
	e := strictjson.Read(req.Body, true, &r, func(d *strictjson.Decoder) {
		if !d.Given("enabled") {
			d.Add("enabled", "is required: true or false")
		}
	})
	if e != nil {
		return nil, e
	}
	if err := newKept(a.health, a.log).put(ctx, keyCleanup, cleanupSwitch{Enabled: *r.Enabled}); err != nil {
		e := wire.Errorf(wire.CodeUnavailable, "the switch was perhaps not set: %s", err)
		e.Outcome = wire.OutcomeUnknown
		return nil, e
	}
	a.log.Info().Bool("enabled", *r.Enabled).Msg("cleanup switched")
	a.advisor.Advise(wire.AdvCleanupSwitched, wire.ServiceHealthmon, fmt.Sprintf("automatic repair enabled: %v", *r.Enabled),
		map[string]any{"enabled": *r.Enabled})
	return wire.CleanupResponse{Head: wire.Head{Type: wire.ResponseType(wire.VerbHealthCleanup)}, Enabled: *r.Enabled}, nil
}

func (a *api) repair(ctx context.Context, req *endpoint.Request) (any, *wire.Error) {
	var r wire.RepairRequest
	if e := strictjson.Read(req.Body, true, &r, func(d *strictjson.Decoder) { judgeRepair(d, r) }); e != nil {
		return nil, e
	}
	return a.leader(ctx, wire.VerbHealthRepair, r)
}

// judgeRepair finds fault with a request for a repair.
func judgeRepair(d *strictjson.Decoder, r wire.RepairRequest) {
	if !d.Has("kind") {
		d.OneOf("kind", r.Kind, check.Kinds()...)
	}
	switch {
	case d.Has("name"):
	case r.Kind != wire.IssueLostStore:
		d.Name("name", r.Name)
	case r.Name == "" || len(r.Name) > subscription.MaxStoreLength || strings.ContainsAny(r.Name, " \t\r\n.*>/\\"):
		d.Add("name", "want the name of a store")
	}
}
