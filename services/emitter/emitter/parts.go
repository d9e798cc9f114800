package emitter

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/presence"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
	"github.com/sluicehq/sluice/services/internal/answers"
	"github.com/sluicehq/sluice/services/internal/ask"
	"github.com/sluicehq/sluice/services/internal/fetch"
	"github.com/sluicehq/sluice/services/internal/park"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/reader"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// askTimeout bounds how long servers may take to tell who listens.
const askTimeout = 500 * time.Millisecond

// link is an instance's connection to NATS.
type link struct {
	ctl, data     *nats.Conn // apart, so that no flood of events delays a renewal
	ctlJS, dataJS jetstream.JetStream
	buckets       *bus.Buckets
	answers       *answers.Answers // of data
}

// parts are an emitter that is connected. Service.build makes all of them at once.
type parts struct {
	session     *lease.Session
	view        *viewer
	claims      *claimer
	reconciler  *reconciler
	checkpoints *checkpointer
	gaps        *gapPauser
	handover    *handover
	guard       *guard
	listener    *listener
	metrics     *metrics
	// background are the parts that a hand-over needs, and the copies.
	background []func(context.Context) error
}

// build makes the parts of s over a link.
func (s *Service) build(l link) (*parts, error) {
	advisor := bus.NewAdvisor(l.ctl, s.ns, s.instance, s.log)
	replies, err := bus.NewResponder(l.ctl, bus.ResponderConfig{
		Service: wire.ServiceEmitter, Advisor: advisor, Meter: s.meter, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	hs, queue, ads := newHoldings(), newWorkQueue(), newAdvisories(advisor, s.log)
	session, peers, err := s.members(l, hs, queue, replies)
	if err != nil {
		return nil, err
	}
	gaps := newGapPauser(l.buckets.Subscriptions, s.ns, hs, ads, s.limited)
	run, helpers := s.runner(l, gaps, ads)
	view := s.viewer(l, hs, queue, peers)
	claims := &claimer{
		me: s.instance, pools: subscription.NewPools(l.buckets.Pools), session: session, holdings: hs, runner: run,
		queue: queue, contests: view.contests, left: &left{}, advisories: ads, alive: peers.Alive,
		drainTimeout: s.cfg.DrainTimeout, log: s.log,
	}
	reports := &reporter{me: s.instance, holdings: hs, readers: run.readers, budget: run.shared.Budget, log: s.log}
	metrics, err := newMetrics(s.meter, reports)
	p := &parts{
		session: session, view: view, claims: claims, gaps: gaps, metrics: metrics,
		reconciler: &reconciler{
			queue: queue, view: view, claims: claims, session: session, left: claims.left,
			ttl: s.common.SessionTTL, slots: semaphore.NewWeighted(maxActions), log: s.limited,
		},
		checkpoints: &checkpointer{rate: s.cfg.CheckpointRate, dues: run.dues, claims: claims, log: s.limited},
		handover:    &handover{claims: claims, renew: session.Renew, log: s.log, limited: s.limited},
		guard:       &guard{session: session, changes: session.Changes(), ready: s.ready, claims: claims, idle: view.idle},
		listener: &listener{
			link: l, ns: s.ns, instance: s.instance, replies: replies, copies: view.copies, queue: queue, reports: reports, log: s.log,
		},
	}
	p.background = append(helpers, session.Run, peers.Run, ads.Run, gaps.Run, p.checkpoints.Run,
		view.copies.records.Run, view.copies.pools.Run, s.keepBuckets(l.ctlJS), s.follow(l.ctl, view.copies, queue))
	return p, err
}

// members makes what tells this instance from others, and who they are.
func (s *Service) members(l link, hs *holdings, queue *workQueue, replies *bus.Responder) (*lease.Session, *lease.Peers, error) {
	session, err := lease.NewSession(l.ctl, l.buckets.Sessions, lease.SessionConfig{
		Namespace: s.ns, Service: wire.ServiceEmitter, Instance: s.instance, TTL: s.common.SessionTTL, Responder: replies,
		Load: func() wire.Session {
			return wire.Session{
				Pools: hs.count(), InFlight: l.answers.InFlight(), Version: wire.Version, Draining: hs.draining.Load(),
			}
		},
	}, s.log)
	if err != nil {
		return nil, nil, err
	}
	peers, err := lease.NewPeers(l.ctl, l.buckets.Sessions, lease.PeersConfig{
		Namespace: s.ns, Service: wire.ServiceEmitter, TTL: s.common.SessionTTL, Own: session, OnChange: queue.addAll,
	}, s.log)
	return session, peers, err
}

// runner makes what runs pools, and the helpers that pools have in common.
func (s *Service) runner(l link, gaps *gapPauser, ads *advisories) (*runner, []func(context.Context) error) {
	readers := reader.NewSet(reader.Config{
		JetStream: l.dataJS, MaxReaders: s.cfg.MaxReaders, Log: s.log,
		Owner: s.common.Owner(wire.ServiceEmitter, s.instance), Paused: gaps.met,
	})
	ours := func(stream string) bool { return subscription.OwnStream(stream, s.ns) }
	asker := ask.New(presence.New(l.data, ours, askTimeout), s.log)
	parker := park.New(l.ctlJS, s.ns, l.data.MaxPayload, s.log)
	fetcher := fetch.New(fetch.Leaders{JetStream: l.dataJS}, s.log)
	clock := timers.New()
	run := &runner{
		maxPayload: l.ctl.MaxPayload, answers: l.answers, readers: readers, dues: newDues(), advisories: ads,
		shared: pool.Config{
			Publisher: l.data, Carriers: &pool.Carriers{}, Parker: parker, Timers: clock,
			Budget: core.NewBudget(s.cfg.EventBytes), Fetcher: fetcher, Asker: asker,
		},
	}
	return run, []func(context.Context) error{clock.Run, readers.Run, parker.Run, fetcher.Run, asker.Run}
}

func (s *Service) viewer(l link, hs *holdings, queue *workQueue, peers *lease.Peers) *viewer {
	copying := mirror.Options{Tombstones: s.common.Tombstones(), Log: s.log}
	return &viewer{
		me: s.instance, ns: s.ns, peers: peers, holdings: hs, log: s.limited,
		copies:   newCopies(l.buckets.Subscriptions, l.buckets.Pools, queue, copying),
		idle:     claim.NewIdle(s.common.SessionTTL),
		contests: &claim.Contests{},
	}
}

func (s *Service) keepBuckets(js jetstream.JetStream) func(context.Context) error {
	return func(ctx context.Context) error { return s.common.KeepBuckets(ctx, js, s.buckets, s.log) }
}

// follow keeps the readiness check of the connection, and has everything compared
// when the connection is back: watches may have missed something.
func (s *Service) follow(nc *nats.Conn, c copies, queue *workQueue) func(context.Context) error {
	return func(ctx context.Context) error {
		bus.Follow(ctx, nc, s.nats, func() {
			c.kick()
			queue.addAll()
		})
		return nil
	}
}

// run runs the parts; those that a hand-over needs outlive ctx until it is done.
func (p *parts) run(ctx context.Context) error {
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, base := errgroup.WithContext(base)
	for _, run := range p.background {
		g.Go(func() error { return run(base) })
	}
	g.Go(func() error {
		defer stop()
		unsubscribe, err := p.listener.listen()
		if err != nil {
			return err
		}
		defer unsubscribe()
		g.Go(func() error { return p.guard.Run(base) }) // over the hand-over too
		work, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(base, cancel)() // a part that fails ends the work too
		err = p.reconciler.Run(work)
		p.handover.Run(context.WithoutCancel(ctx))
		return err
	})
	return g.Wait()
}

// close ends what the parts have registered elsewhere.
func (p *parts) close() {
	p.metrics.close()
	p.listener.replies.Close()
}
