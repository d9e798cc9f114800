package replayer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/answers"
	"github.com/sluicehq/sluice/services/replayer/internal/jobs"
	"github.com/sluicehq/sluice/services/replayer/internal/parked"
	"github.com/sluicehq/sluice/services/replayer/internal/player"
	"github.com/sluicehq/sluice/services/replayer/internal/preview"
)

// drainTimeout is how long replays that are handed over wait for answers.
const drainTimeout = 5 * time.Second

// link is an instance's connection to NATS.
type link struct {
	ctl, data *nats.Conn // apart, so that no flood of events delays a renewal
	answers   *answers.Answers
	buckets   *bus.Buckets
}

// parts are a replayer that is connected.
type parts struct {
	link    link
	replies *bus.Responder
	advisor *bus.Advisor
	session *lease.Session
	peers   *lease.Peers
	leader  *lease.Leader
	engine  *player.Engine
	player  *player.Player
	parked  *parked.Service
	api     *api
}

// build makes the parts of s over a link.
func (s *Service) build(l link) (*parts, error) {
	ns, p := s.common.Namespace, &parts{link: l}
	p.advisor = bus.NewAdvisor(l.ctl, ns, s.instance, s.log)
	var err error
	p.replies, err = bus.NewResponder(l.ctl, bus.ResponderConfig{
		Service: wire.ServiceReplayer, Advisor: p.advisor, Meter: s.meter, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	if err := s.members(p); err != nil {
		return nil, err
	}
	js, err := jetstream.New(l.ctl)
	if err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	records, store := subscription.NewStore(l.buckets.Subscriptions, ns), jobs.NewStore(l.buckets.Replays, ns)
	p.parked = parked.New(js, parked.Config{
		Namespace: ns, Owner: s.common.Owner(wire.ServiceReplayer, s.instance), ConfirmAbove: s.cfg.ConfirmAbove,
		Records: records, Advisor: p.advisor, Log: s.log,
	})
	p.engine, err = player.NewEngine(player.Link{
		Control: l.ctl, Data: l.data, Answers: l.answers, Parked: p.parked, Namespace: ns, Owner: s.common.Owner(wire.ServiceReplayer, s.instance), Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	counts, err := player.NewMetrics(s.meter)
	if err != nil {
		return nil, fmt.Errorf("metrics of replays: %w", err)
	}
	p.player = player.New(player.Config{
		Namespace: ns, Instance: s.instance, Most: s.cfg.MaxRunning, DrainTimeout: drainTimeout, Engine: p.engine, Jobs: store,
		Bucket: l.buckets.Replays, Records: records, Session: p.session, Alive: p.peers.Alive, Advisor: p.advisor, Metrics: counts, Log: s.log,
	})
	p.api = &api{
		ns: ns, cfg: s.cfg, js: js, records: records, jobs: store, player: p.player, bucket: l.buckets.Replays,
		parked:   p.parked,
		previews: preview.New(preview.Config{JetStream: js, Owner: s.common.Owner(wire.ServiceReplayer, s.instance), Log: s.log}),
		advisor:  p.advisor, log: s.log,
		requests: semaphore.NewWeighted(maxRequests), counts: semaphore.NewWeighted(maxCounts),
	}
	return p, nil
}

// members makes what tells this instance from others, who they are, and who leads.
func (s *Service) members(p *parts) (err error) {
	ns, ttl, sessions := s.common.Namespace, s.common.SessionTTL, p.link.buckets.Sessions
	p.session, err = lease.NewSession(p.link.ctl, sessions, lease.SessionConfig{
		Namespace: ns, Service: wire.ServiceReplayer, Instance: s.instance, TTL: ttl, Responder: p.replies,
		Load: func() wire.Session {
			return wire.Session{Pools: p.player.Running(), InFlight: p.link.answers.InFlight(), Version: wire.Version}
		},
	}, s.log)
	if err != nil {
		return err
	}
	p.peers, err = lease.NewPeers(p.link.ctl, sessions, lease.PeersConfig{
		Namespace: ns, Service: wire.ServiceReplayer, TTL: ttl, Own: p.session, OnChange: func() { p.player.Kick(false) },
	}, s.log)
	if err != nil {
		return err
	}
	p.leader, err = lease.NewLeader(sessions, p.advisor, lease.LeaderConfig{
		Namespace: ns, Role: wire.ServiceReplayer, Instance: s.instance, TTL: ttl, NATS: p.link.ctl,
	}, s.log)
	return err
}

// serve runs the parts until ctx ends. Those that a hand-over of replays needs
// outlive it until that is done.
func (s *Service) serve(ctx context.Context, l link) error {
	p, err := s.build(l)
	if err != nil {
		return err
	}
	defer p.replies.Close()
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, base := errgroup.WithContext(base)
	for _, run := range []func(context.Context) error{p.engine.Run, p.player.Follow, p.peers.Run} {
		g.Go(func() error { return run(base) })
	}
	g.Go(func() error {
		defer stop()
		work, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(base, cancel)() // a part that fails ends the work too
		return s.work(work, base, p)
	})
	return g.Wait()
}

// work takes requests, leads and runs replays until ctx ends. What it leaves
// behind is done under base.
func (s *Service) work(ctx, base context.Context, p *parts) error {
	if err := p.link.answers.Subscribe(p.link.data, p.replies.On(p.link.data)); err != nil {
		return err
	}
	served, err := endpoint.Serve(p.link.ctl, endpoint.Config{
		Namespace: s.common.Namespace, Service: wire.ServiceReplayer, Instance: s.instance, Responder: p.replies, Log: s.log,
		Description: "replays events, and makes sure that no change of a subscription goes unobserved",
	}, append(p.api.endpoints(base), p.parked.Endpoints()...)...)
	if err != nil {
		return err
	}
	defer func() {
		_ = served.Stop() // fails only where the connection has ended
		late, cancel := context.WithTimeout(base, flushTimeout)
		defer cancel()
		p.api.drain(late)
		_ = p.link.ctl.FlushWithContext(late) // advisories; best effort
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.parked.Run(ctx) })
	g.Go(func() error {
		return p.session.RunAround(ctx, func(ctx context.Context) error {
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error {
				return p.leader.Run(ctx, func(ctx context.Context, l wire.Lease) error {
					return s.lead(ctx, p.link.ctl, p.link.buckets, p.advisor, l)
				})
			})
			g.Go(func() error { return p.player.Run(ctx) })
			return g.Wait()
		})
	})
	// An instance that stands by is as ready as the one that leads.
	g.Go(func() error {
		bus.Follow(ctx, p.link.ctl, s.ready, func() { p.player.Kick(true) })
		return nil
	})
	return g.Wait()
}
