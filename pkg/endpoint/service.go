package endpoint

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Config says who serves. All of it is required.
type Config struct {
	Namespace   wire.Namespace
	Service     string // one of wire.Service…
	Instance    string // also the id of the service for NATS
	Description string
	Responder   *bus.Responder
	Log         zerolog.Logger
}

// Endpoint is one subject that takes requests.
type Endpoint struct {
	Name        string // shown by the nats CLI
	Subject     string // wildcards are allowed
	Verb        string // names the type of the answers
	Description string
	// Handle is called for one request after the other. It may keep the
	// request, return, and answer it later.
	Handle func(*Request)
	// Data is shown beside the statistics, as JSON. Optional.
	Data func() any
}

// queue is the queue group in which the instances of a service share requests.
const queue = micro.DefaultQueueGroup

// Service takes requests until it is stopped.
type Service struct {
	nc        *nats.Conn
	cfg       Config
	started   time.Time
	endpoints []*served
	subs      []*nats.Subscription
}

// Serve takes requests on the endpoints, and answers those of NATS' service
// tools, until Stop. Requests of an endpoint wait in the connection's queue
// for it, which is bounded as that of every subscription.
func Serve(nc *nats.Conn, cfg Config, endpoints ...Endpoint) (*Service, error) {
	s := &Service{nc: nc, cfg: cfg, started: time.Now().UTC()}
	for _, e := range endpoints {
		s.endpoints = append(s.endpoints, &served{Endpoint: e})
	}
	if err := s.subscribe(); err != nil {
		return nil, errors.Join(fmt.Errorf("serve %s: %w", s.name(), err), s.Stop())
	}
	return s, nil
}

func (s *Service) subscribe() error {
	for _, e := range s.endpoints {
		sub, err := s.nc.QueueSubscribe(e.Subject, queue, func(m *nats.Msg) { s.take(e, m) })
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", e.Subject, err)
		}
		s.subs = append(s.subs, sub)
	}
	for _, v := range []struct {
		verb string
		tell func() any
	}{
		{micro.PingVerb.String(), s.ping}, {micro.InfoVerb.String(), s.info}, {micro.StatsVerb.String(), s.stats},
	} {
		all := micro.APIPrefix + "." + v.verb
		for _, subject := range []string{all, all + "." + s.name(), all + "." + s.name() + "." + s.cfg.Instance} {
			sub, err := s.nc.Subscribe(subject, func(m *nats.Msg) { s.tell(m, v.tell) })
			if err != nil {
				return fmt.Errorf("subscribe to %s: %w", subject, err)
			}
			s.subs = append(s.subs, sub)
		}
	}
	return nil
}

// Stop takes no more requests; those that have come are handled still. A
// connection that is closed is no error.
func (s *Service) Stop() error {
	var errs []error
	for _, sub := range s.subs {
		if err := sub.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			errs = append(errs, fmt.Errorf("drain %s: %w", sub.Subject, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) take(e *served, m *nats.Msg) {
	if s.cfg.Responder.Accepts(m) {
		e.Handle(&Request{Subject: m.Subject, Body: m.Data, Arrived: time.Now(), msg: m, endpoint: e, service: s})
	}
}

// tell answers a question of NATS' service tools.
func (s *Service) tell(m *nats.Msg, what func() any) {
	if !s.cfg.Responder.Accepts(m) {
		return
	}
	body, err := wire.Marshal(what())
	if err == nil {
		err = s.cfg.Responder.Answer(m, body, nil)
	}
	if err != nil {
		s.cfg.Log.Debug().Err(err).Str("subject", m.Subject).Msg("question of service tools not answered")
	}
}

func (s *Service) name() string { return s.cfg.Namespace.MicroName(s.cfg.Service) }

func (s *Service) identity() micro.ServiceIdentity {
	return micro.ServiceIdentity{
		Name: s.name(), ID: s.cfg.Instance, Version: wire.Version,
		Metadata: map[string]string{"namespace": string(s.cfg.Namespace), "instance": s.cfg.Instance},
	}
}

func (s *Service) ping() any {
	return micro.Ping{ServiceIdentity: s.identity(), Type: micro.PingResponseType}
}

func (s *Service) info() any {
	out := micro.Info{
		ServiceIdentity: s.identity(), Type: micro.InfoResponseType, Description: s.cfg.Description,
		Endpoints: make([]micro.EndpointInfo, 0, len(s.endpoints)),
	}
	for _, e := range s.endpoints {
		out.Endpoints = append(out.Endpoints, micro.EndpointInfo{
			Name: e.Name, Subject: e.Subject, QueueGroup: queue,
			Metadata: map[string]string{"description": e.Description},
		})
	}
	return out
}

func (s *Service) stats() any {
	out := micro.Stats{
		ServiceIdentity: s.identity(), Type: micro.StatsResponseType, Started: s.started,
		Endpoints: make([]*micro.EndpointStats, 0, len(s.endpoints)),
	}
	for _, e := range s.endpoints {
		out.Endpoints = append(out.Endpoints, e.stats(s.cfg.Log))
	}
	return out
}
