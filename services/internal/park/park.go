// Package park keeps events that could not be delivered, with the reason, in
// the parked stream.
package park

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/work"
)

const (
	queueSize   = 1024 // events waiting to be stored
	workers     = 8
	callTimeout = 5 * time.Second
	maxReason   = wire.MaxAnswerReason + 256 // bytes of a reason: what the subscriber said, and what the pool says of it
	// headerSlack is what the server's limit must leave for header syntax.
	headerSlack = 1024
)

// Publisher stores a message; jetstream.JetStream is one.
type Publisher interface {
	PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error)
}

// Parker stores events in the parked stream, a few at a time. What is added to it
// is stored by Run, unless its pool is closed first.
type Parker struct {
	*work.Queue[pool.Parked]
	js         Publisher
	ns         wire.Namespace
	maxPayload func() int64
	log        zerolog.Logger
}

// New returns a parker that stores nothing before Run. MaxPayload is the
// largest message that the server takes.
func New(js Publisher, ns wire.Namespace, maxPayload func() int64, log zerolog.Logger) *Parker {
	p := &Parker{js: js, ns: ns, maxPayload: maxPayload, log: bus.Rarely(log)}
	p.Queue = work.NewQueue(queueSize, workers, 1, func(ctx context.Context, es []pool.Parked) {
		for _, e := range es {
			p.store(ctx, e)
		}
	})
	return p
}

// store tries once: the pool asks again after a while, so that an event for
// which there is no room holds no worker. A repeat after a timeout is recognised
// by its message id, so the event is stored once.
func (p *Parker) store(ctx context.Context, e pool.Parked) {
	if !e.Open() {
		return
	}
	err := p.publish(ctx, e)
	switch {
	case err == nil:
		e.Done(nil)
	case ctx.Err() == nil:
		p.log.Warn().Err(err).Str("subscription", e.Name).Uint64("sequence", e.Event.Sequence).Msg("event not parked yet")
		e.Done(plain(err))
	}
}

// plain says why an event could not be parked, as its pool shows it.
func plain(err error) error {
	var full *jsapi.FullError
	switch {
	case !errors.As(jsapi.Full("it", err), &full):
		return fmt.Errorf("events cannot be parked: %w", err)
	case full.Own:
		return fmt.Errorf("%w: %s: purge it, or raise SLUICE_MAX_PARKED_BYTES", core.ErrFull, full.What)
	default:
		return fmt.Errorf("%w: %s", core.ErrFull, full.What)
	}
}

// publish stores as much of the event as the stream takes: what is left out can
// be read in the store, but an event that is not parked holds its lane.
func (p *Parker) publish(ctx context.Context, e pool.Parked) error {
	id := fmt.Sprintf("%s:%d:%d", e.UID, e.Epoch, e.Event.Sequence)
	if e.Replay != "" {
		id += ":" + e.Replay
	}
	var err error
	for _, keep := range []parts{{headers: true, body: true}, {body: true}, {}} {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		_, err = p.js.PublishMsg(call, p.message(e, keep), jetstream.WithMsgID(id))
		cancel()
		if !refused(err) {
			return err
		}
	}
	return err
}

// refused reports whether the same message would be refused again. One for which
// there is no room may fit later.
func refused(err error) bool {
	var full *jsapi.FullError
	var api *jetstream.APIError
	switch {
	case errors.As(jsapi.Full("it", err), &full):
		return false
	case errors.As(err, &api):
		return api.Code == http.StatusBadRequest
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadHeaderMsg)
}

// parts says what of an event to keep.
type parts struct{ headers, body bool }

func (p *Parker) message(e pool.Parked, keep parts) *nats.Msg {
	h := nats.Header{}
	size := len(e.Event.Data)
	set := func(name string, values ...string) {
		h[name] = values
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	fields := e.Event.Fields()
	if !keep.headers {
		fields = e.Event.Place()
	}
	for _, f := range fields {
		set(f.Name, f.Values...)
	}
	if !keep.headers {
		set(wire.HeaderParkedHeaders, wire.Omitted)
	}
	set(wire.HeaderSubscription, e.Name)
	if e.Replay == "" {
		set(wire.HeaderEpoch, strconv.FormatUint(e.Epoch, 10))
	} else {
		set(wire.HeaderReplay, e.Replay)
	}
	set(wire.HeaderAttempts, strconv.Itoa(e.Event.Past.Attempts+e.Attempts))
	if past := e.Event.Past.History; len(past) > 0 {
		set(wire.HeaderParkHistory, past...)
	}
	set(wire.HeaderParkReason, bus.HeaderText(e.Reason, maxReason))
	set(wire.HeaderParkedAt, time.Now().UTC().Format(time.RFC3339Nano))
	body := e.Event.Data
	if limit := p.maxPayload(); !keep.body || limit > 0 && int64(size+headerSlack) > limit {
		set(wire.HeaderParkedBody, wire.Omitted)
		body = nil
	}
	return &nats.Msg{Subject: p.ns.Parked(e.Name), Header: h, Data: body}
}
