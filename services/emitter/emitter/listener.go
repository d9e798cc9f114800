package emitter

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/wire"
)

// listener takes what others say to this instance: answers of subscribers,
// questions about pools, and replayed transitions.
type listener struct {
	link     link
	ns       wire.Namespace
	instance string
	replies  *bus.Responder
	copies   copies
	queue    *workQueue
	reports  *reporter
	log      zerolog.Logger
}

// listen subscribes, and announces the service, until stop is called.
func (l *listener) listen() (stop func(), err error) {
	if err := l.link.answers.Subscribe(l.link.data, l.replies.On(l.link.data)); err != nil {
		return nil, err
	}
	if _, err := l.link.ctl.Subscribe(l.ns.Lifecycle("*"), l.replayed); err != nil {
		return nil, fmt.Errorf("subscribe to replayed transitions: %w", err)
	}
	served, err := endpoint.Serve(l.link.ctl, endpoint.Config{
		Namespace: l.ns, Service: wire.ServiceEmitter, Instance: l.instance,
		Description: "owns pools and delivers", Responder: l.replies, Log: l.log,
	}, endpoint.Endpoint{
		Name: "pools", Subject: l.ns.EmitterPools(l.instance), Verb: verbPools,
		Description: "tell how this instance's pools are, to the other services",
		Handle:      l.reports.tellPools, Data: func() any { return l.reports.totals() },
	})
	if err != nil {
		return nil, err
	}
	l.log.Info().Msg("emitter ready")
	return func() {
		if err := served.Stop(); err != nil {
			l.log.Debug().Err(err).Msg("service not taken back")
		}
	}, nil
}

// replayed hears of a transition that the replayer, or the monitor, thinks
// nobody has observed: the copies are listed anew, and the pool looked at.
func (l *listener) replayed(m *nats.Msg) {
	var t wire.Transition
	if err := json.Unmarshal(m.Data, &t); err != nil || !wire.ValidName(t.Name) {
		l.log.Warn().Err(err).Msg("replayed transition cannot be read")
		return
	}
	l.copies.kick()
	l.queue.add(t.Name)
}
