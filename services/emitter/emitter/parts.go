package emitter

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
	"github.com/sluicehq/sluice/services/internal/answers"
	"github.com/sluicehq/sluice/services/internal/pools"
	"github.com/sluicehq/sluice/services/internal/reader"
	"github.com/sluicehq/sluice/services/internal/webhook"
)

// link is an instance's connection to NATS.
type link struct {
	ctl, data     *nats.Conn // apart, so that no flood of events delays a renewal
	ctlJS, dataJS jetstream.JetStream
	buckets       *bus.Buckets
	answers       *answers.Answers // of data
}

// parts are an emitter that is connected. Service.build makes all of them at once.
type parts struct {
	*Service
	link
	holdings    *holdings
	queue       *workQueue
	replies     *bus.Responder
	advisories  *advisories
	session     *lease.Session
	peers       *lease.Peers
	pauses      *pauser
	runner      *runner
	view        *viewer
	claims      *claimer
	reconciler  *reconciler
	checkpoints *checkpointer
	reports     *reporter
	metrics     metric.Registration
	// background are the parts that a hand-over needs, and the copies.
	background []func(context.Context) error
}

// build makes the parts of s over a link.
func (s *Service) build(l link) (*parts, error) {
	p := &parts{Service: s, link: l, holdings: &holdings{}, queue: newWorkQueue()}
	advisor := bus.NewAdvisor(l.ctl, s.ns, s.instance, s.log)
	p.advisories = newAdvisories(advisor, s.log)
	var err error
	if p.replies, err = bus.NewResponder(l.ctl, bus.ResponderConfig{
		Service: wire.ServiceEmitter, Advisor: advisor, Meter: s.meter, Log: s.log,
	}); err != nil {
		return nil, err
	}
	if err = p.join(); err != nil {
		return nil, err
	}
	p.pauses = &pauser{records: l.buckets.Subscriptions, ns: s.ns, holdings: p.holdings, advisories: p.advisories, log: s.limited}
	if err = p.makeRunner(); err != nil {
		return nil, err
	}
	p.view = &viewer{
		me: s.instance, ns: s.ns, peers: p.peers, holdings: p.holdings, log: s.limited,
		copies:   newCopies(l.buckets.Subscriptions, l.buckets.Pools, p.queue, mirror.Options{Tombstones: s.common.Tombstones(), Log: s.log}),
		contests: &claim.Contests{},
	}
	p.view.idle = claim.NewIdle(s.instance, s.common.SessionTTL, p.view.owned)
	p.claims = &claimer{
		me: s.instance, pools: subscription.NewPools(l.buckets.Pools), session: p.session, holdings: p.holdings, runner: p.runner,
		queue: p.queue, contests: p.view.contests, left: &left{}, advisories: p.advisories, alive: p.peers.Alive,
		drainTimeout: s.cfg.DrainTimeout, log: s.log,
	}
	p.reconciler = &reconciler{
		queue: p.queue, view: p.view, claims: p.claims, ttl: s.common.SessionTTL,
		slots: semaphore.NewWeighted(maxActions), log: s.limited,
	}
	p.checkpoints = &checkpointer{rate: s.cfg.CheckpointRate, dues: p.runner.dues, claims: p.claims, log: s.limited}
	p.reports = &reporter{me: s.instance, holdings: p.holdings, readers: p.runner.readers, budget: p.runner.shared.Budget, log: s.log}
	p.metrics, err = registerMetrics(s.meter, p.reports)
	p.background = append(p.background, p.session.Run, p.peers.Run, p.advisories.Run, p.pauses.Run, p.checkpoints.Run,
		p.view.copies.records.Run, p.view.copies.pools.Run, p.follow,
		func(ctx context.Context) error { return s.common.KeepBuckets(ctx, l.ctlJS, s.buckets, s.log) })
	return p, err
}

// join makes what tells this instance from others, and who they are.
func (p *parts) join() (err error) {
	p.session, err = lease.NewSession(p.ctl, p.link.buckets.Sessions, lease.SessionConfig{
		Namespace: p.ns, Service: wire.ServiceEmitter, Instance: p.instance, TTL: p.common.SessionTTL, Responder: p.replies,
		Load: func() wire.Session {
			return wire.Session{
				Pools: len(p.holdings.all()), InFlight: p.answers.InFlight(), Version: wire.Version, Draining: p.holdings.draining.Load(),
			}
		},
	}, p.log)
	if err != nil {
		return err
	}
	p.peers, err = lease.NewPeers(p.ctl, p.link.buckets.Sessions, lease.PeersConfig{
		Namespace: p.ns, Service: wire.ServiceEmitter, TTL: p.common.SessionTTL, Own: p.session, OnChange: p.queue.addAll,
	}, p.log)
	return err
}

// makeRunner makes what runs pools, and what pools have in common.
func (p *parts) makeRunner() error {
	webhooks, err := webhook.New(p.cfg.HTTP.sender(), p.limited)
	if err != nil {
		return err
	}
	shared := pools.New(pools.Config{
		Control: p.ctlJS, Namespace: p.ns, EventBytes: p.cfg.EventBytes, Log: p.log,
		Readers: reader.Config{
			JetStream: p.dataJS, MaxReaders: p.cfg.MaxReaders, Log: p.log,
			Owner: p.common.Owner(wire.ServiceEmitter, p.instance), Paused: p.pauses.met,
		},
	})
	p.runner = &runner{
		maxPayload: p.ctl.MaxPayload, answers: p.answers, readers: shared.Readers, dues: newDues(), advisories: p.advisories,
		webhooks: webhooks, pauses: p.pauses, shared: shared.Pool,
	}
	p.background = append(p.background, shared.Run, webhooks.Run)
	return nil
}
