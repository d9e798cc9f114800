package emitter

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

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
		unsubscribe, err := p.listen()
		if err != nil {
			return err
		}
		defer unsubscribe()
		g.Go(func() error { return p.guard(base) }) // over the hand-over too
		work, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(base, cancel)() // a part that fails ends the work too
		err = p.reconciler.Run(work)
		p.handOver(context.WithoutCancel(ctx), p.session.Renew)
		return err
	})
	return g.Wait()
}

// close ends what the parts have registered elsewhere.
func (p *parts) close() {
	_ = p.metrics.Unregister() // nothing is lost by a callback too many
	p.replies.Close()
}

// follow keeps the readiness check of the connection, and has everything compared
// when the connection is back: watches may have missed something.
func (p *parts) follow(ctx context.Context) error {
	bus.Follow(ctx, p.ctl, p.nats, func() {
		p.view.copies.kick()
		p.queue.addAll()
	})
	return nil
}

// guard stops every pool when the session can no longer be trusted: others may
// have taken them over. It waits for nothing else, so that no hand-over delays it.
func (p *parts) guard(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.session.Changes():
		}
		if p.session.Valid() {
			p.ready.OK()
			p.queue.addAll()
			continue
		}
		p.ready.Fail("the session cannot be renewed, so no pool can be kept")
		p.view.idle.Blind()
		var wg sync.WaitGroup
		for _, h := range p.holdings.all() { // at once: a write that is under way holds up its own pool only
			wg.Go(func() { p.claims.abandon(h) })
		}
		wg.Wait()
	}
}

// listen takes what others say to this instance, until stop is called: answers of
// subscribers, questions about pools, and replayed transitions.
func (p *parts) listen() (stop func(), err error) {
	if err := p.answers.Subscribe(p.data, p.replies.On(p.data)); err != nil {
		return nil, err
	}
	if _, err := p.ctl.Subscribe(p.ns.Lifecycle("*"), p.replayed); err != nil {
		return nil, fmt.Errorf("subscribe to replayed transitions: %w", err)
	}
	served, err := endpoint.Serve(p.ctl, endpoint.Config{
		Namespace: p.ns, Service: wire.ServiceEmitter, Instance: p.instance,
		Description: "owns pools and delivers", Responder: p.replies, Log: p.log,
	}, endpoint.Endpoint{
		Name: "pools", Subject: p.ns.EmitterPools(p.instance), Verb: verbPools,
		Description: "tell how this instance's pools are, to the other services",
		Handle:      p.reports.tellPools, Data: func() any { return p.reports.totals() },
	})
	if err != nil {
		return nil, err
	}
	p.log.Info().Msg("emitter ready")
	return func() {
		if err := served.Stop(); err != nil {
			p.log.Debug().Err(err).Msg("service not taken back")
		}
	}, nil
}

// replayed hears of a transition that the replayer, or the monitor, thinks
// nobody has observed: the copies are listed anew, and the pool looked at.
func (p *parts) replayed(m *nats.Msg) {
	var t wire.Transition
	if err := json.Unmarshal(m.Data, &t); err != nil || !wire.ValidName(t.Name) {
		p.log.Warn().Err(err).Msg("replayed transition cannot be read")
		return
	}
	p.view.copies.kick()
	p.queue.add(t.Name)
}

// maxDrains bounds the pools that drain at once: waiting costs nothing, so
// that the slowest subscribers of many decide how long a stop takes.
const maxDrains = 4096

// handOver releases all pools at the end of the process, so that others take them
// over at once. First renew has the session say that this instance drains. It waits
// for the answers that are out, for as long as the claimer's drainTimeout.
func (p *parts) handOver(ctx context.Context, renew func()) {
	p.holdings.draining.Store(true)
	renew()
	atMost := p.claims.drainTimeout
	ctx, cancel := context.WithTimeout(ctx, atMost+actTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(maxDrains)
	for _, h := range p.holdings.all() {
		g.Go(func() error {
			p.claims.runner.drain(ctx, h, atMost)
			if err := p.claims.act(ctx, h.name, claim.Release, claim.View{}); err != nil {
				p.limited.Warn().Err(err).Str("subscription", h.name).Msg("pool not handed over; it will be taken over")
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no errors
	p.log.Info().Msg("pools handed over")
}
