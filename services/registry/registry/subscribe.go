package registry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func (s *Service) subscribe(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeSubscribe(r.body, r.name, s.ns)
	if bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
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
	return wire.SubscribeResponse{Head: head(r), Subscription: &sub, Created: c.created(), Changed: c.any()}, nil
}

// planner makes the record that a subscribe asks for.
type planner struct {
	s       *Service
	name    string
	req     *wire.SubscribeRequest
	uid     string
	now     time.Time
	release func() // of the room for a new subscription
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
	start, info, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	return subscription.NewRecord(p.name, p.uid, p.req.Spec, start, info.Created, p.now), nil
}

func (p *planner) restart(ctx context.Context, old *wire.Record) (*wire.Record, error) {
	start, info, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	rec := subscription.NewRecord(p.name, p.uid, p.req.Spec, start, info.Created, p.now)
	rec.Generation, rec.CreatedAt, rec.Paused = old.Generation+1, old.CreatedAt, old.Paused
	return rec, nil
}

// change keeps uid and position. The store is looked at only where the change
// depends on it, so that a subscription whose store is lost can be changed.
func (p *planner) change(ctx context.Context, old *wire.Record) (*wire.Record, error) {
	if old.Spec.Deliver.Subject != p.req.Deliver.Subject {
		info, err := p.s.inspect(ctx, p.req.Store)
		if err != nil {
			return nil, err
		}
		if err := suits(p.req, info); err != nil {
			return nil, err
		}
	}
	rec := *old
	rec.Spec, rec.Generation, rec.UpdatedAt = p.req.Spec, old.Generation+1, p.now
	return &rec, nil
}

// start resolves where to begin, and refuses a store that does not suit.
func (p *planner) start(ctx context.Context) (first uint64, info subscription.StoreInfo, err error) {
	first, info, err = p.s.resolve(ctx, p.req.Store, p.req.Start)
	if err == nil {
		err = suits(p.req, info)
	}
	return first, info, err
}

func (s *Service) inspect(ctx context.Context, store string) (info subscription.StoreInfo, err error) {
	err = s.gate.do(ctx, func(ctx context.Context) error {
		var err error
		info, err = subscription.Inspect(ctx, s.js, store)
		return err
	})
	return info, err
}

func (s *Service) resolve(ctx context.Context, store string, at wire.Position) (first uint64, info subscription.StoreInfo, err error) {
	err = s.gate.do(ctx, func(ctx context.Context) error {
		var err error
		first, info, err = subscription.ResolveStart(ctx, s.js, store, at)
		return err
	})
	return first, info, err
}

// suits refuses what only the store can tell, with every fault in the details.
// The code and the description are those of the first.
func suits(req *wire.SubscribeRequest, info subscription.StoreInfo) error {
	var bad *wire.Error
	fault := func(code wire.ErrCode, description, field, reason string) {
		if bad == nil {
			bad = wire.Errorf(code, "%s", description)
		}
		bad.Details = append(bad.Details, wire.Fault{Field: field, Reason: reason})
	}
	if info.Retention != jetstream.LimitsPolicy {
		fault(wire.CodeStoreRetention,
			fmt.Sprintf("the retention of store %q is %s: want limits", req.Store, retention(info.Retention)),
			"store", "want a stream whose retention is limits")
	}
	if filter := subscription.Captures(info.Subjects, req.Deliver.Subject); filter != "" {
		reason := fmt.Sprintf("store %q itself captures it (%s): deliveries would become events", req.Store, filter)
		fault(wire.CodeBadDelivery, "the delivery subject is not allowed: "+reason, "deliver.subject", reason)
	}
	if bad == nil {
		return nil // and not a *wire.Error that is nil
	}
	return bad
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
