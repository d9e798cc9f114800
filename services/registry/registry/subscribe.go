package registry

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func (s *api) subscribe(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeSubscribe(r.body, r.name, s.ns)
	st, away := s.stores()
	switch {
	case bad != nil && away == nil:
		return nil, s.allFaults(ctx, st, r.name, &req, bad)
	case bad != nil:
		return nil, bad
	case away != nil:
		return nil, away
	}
	p := planner{s: s, name: r.name, req: &req, uid: nuid.Next(), now: time.Now().UTC(), release: func() {}}
	defer func() { p.release() }()
	c, bad := s.apply(ctx, r, st, change{name: r.name, ifRevision: req.IfRevision, plan: p.plan})
	if bad != nil {
		return nil, bad
	}
	what, detail := wire.AdvSubscriptionUpdated, "subscription changed"
	switch {
	case c.created():
		what, detail = wire.AdvSubscriptionCreated, "subscription created"
	case !c.any():
		detail = "the subscription is already as asked for"
	case c.old.UID != c.record.UID:
		detail = "subscription restarted"
	}
	s.advise(r, c.any(), what, detail, facts(c.record, c.revision))
	sub := c.record.Subscription(c.revision)
	return wire.SubscribeResponse{
		Head: head(r), Subscription: &sub, Created: c.created(), Changed: c.any(), Warnings: p.warnings,
	}, nil
}

// allFaults adds to the faults of fields, which bad has, those that only
// JetStream can tell, so that one answer names all. What cannot be learnt now is
// left out.
func (s *api) allFaults(ctx context.Context, st *stores, name string, req *wire.SubscribeRequest, bad *wire.Error) *wire.Error {
	faulty := func(field string) bool {
		return slices.ContainsFunc(bad.Details, func(f wire.Fault) bool { return f.Field == field })
	}
	if bad.ErrCode == wire.CodeBadJSON || faulty("store") {
		return bad
	}
	if !faulty("name") {
		old, _, err := st.records().Get(ctx, name)
		if err == nil && sameTarget(&old.Spec, &req.Spec) {
			return bad // a change that does not look at the store
		}
	}
	if faulty("deliver.subject") {
		req.Deliver.Subject, req.Deliver.Stream = "", ""
	}
	if faulty("deliver.stream") {
		req.Deliver.Stream = ""
	}
	t, err := s.lookAt(ctx, req)
	if err != nil {
		return bad
	}
	return strictjson.RefusalWith(bad, t.Faults(req.Store, req.Deliver))
}

// sameTarget reports whether two specs read and deliver at the same place.
func sameTarget(a, b *wire.Spec) bool {
	return a.Store == b.Store && a.Deliver.Subject == b.Deliver.Subject && a.Deliver.Stream == b.Deliver.Stream
}

// planner makes the record that a subscribe asks for.
type planner struct {
	s       *api
	name    string
	req     *wire.SubscribeRequest
	uid     string
	now     time.Time
	release func() // gives back the room for a new subscription

	warnings []wire.Fault // what the last look at JetStream gave reason to warn of
}

func (p *planner) plan(ctx context.Context, old *wire.Record) (*wire.Record, error) {
	switch {
	case old == nil:
		return p.create(ctx)
	case p.req.Restart:
		return p.restart(ctx, old)
	case subscription.Equal(&old.Spec, &p.req.Spec):
		return old, nil
	}
	if fields := subscription.NeedRestart(&old.Spec, &p.req.Spec); len(fields) > 0 {
		return nil, needsRestart(fields)
	}
	return p.change(ctx, old)
}

func needsRestart(fields []string) *wire.Error {
	e := wire.Errorf(wire.CodeNeedsRestart, `a change of %s starts the checkpoint over: ask for it with "restart": true`,
		strings.Join(fields, ", "))
	for _, f := range fields {
		e.Details = append(e.Details, wire.Fault{Field: f, Reason: `needs "restart": true`})
	}
	return e
}

func (p *planner) create(ctx context.Context) (*wire.Record, error) {
	p.release()
	p.release = func() {}
	release, ok := p.s.view.reserve(p.s.cfg.MaxSubscriptions)
	if !ok {
		return nil, tooMany("there are too many subscriptions", p.s.cfg.MaxSubscriptions, 0)
	}
	p.release = release
	start, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	return subscription.NewRecord(p.name, p.uid, p.req.Spec, start, p.now), nil
}

func (p *planner) restart(ctx context.Context, old *wire.Record) (*wire.Record, error) {
	start, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	rec := subscription.NewRecord(p.name, p.uid, p.req.Spec, start, p.now)
	rec.Generation, rec.CreatedAt, rec.Paused = old.Generation+1, old.CreatedAt, old.Paused
	return rec, nil
}

// change keeps uid and position. The store is looked at only where the change
// depends on it, so that a subscription whose store is lost can be changed.
func (p *planner) change(ctx context.Context, old *wire.Record) (*wire.Record, error) {
	if !sameTarget(&old.Spec, &p.req.Spec) {
		if err := p.checkTarget(ctx); err != nil {
			return nil, err
		}
	}
	rec := *old
	rec.Spec, rec.Generation, rec.UpdatedAt = p.req.Spec, old.Generation+1, p.now
	return &rec, nil
}

// start resolves where to begin, and refuses a target that does not suit.
func (p *planner) start(ctx context.Context) (subscription.Start, error) {
	if err := p.checkTarget(ctx); err != nil {
		return subscription.Start{}, err
	}
	first, info, err := p.s.resolve(ctx, p.req.Store, p.req.Start)
	return subscription.Start{Sequence: first, StoreCreated: info.Created}, err
}

// checkTarget refuses what only JetStream can tell, and keeps what it warns of.
func (p *planner) checkTarget(ctx context.Context) error {
	t, err := p.s.lookAt(ctx, p.req)
	if err != nil {
		return err
	}
	if bad := strictjson.Refusal(t.Faults(p.req.Store, p.req.Deliver)); bad != nil {
		return bad
	}
	p.warnings = t.warnings(p.req)
	return nil
}

func (s *api) resolve(ctx context.Context, store string, at wire.Position) (first uint64, info subscription.StoreInfo, err error) {
	err = s.gate.do(ctx, func(ctx context.Context) error {
		var err error
		first, info, err = subscription.ResolveStart(ctx, s.js, store, at)
		return err
	})
	return first, info, err
}
