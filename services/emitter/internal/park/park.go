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

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

const (
	queueSize   = 1024 // events waiting to be stored
	workers     = 8
	callTimeout = 5 * time.Second
	maxWait     = 10 * time.Second           // between two tries
	maxReason   = wire.MaxAnswerReason + 256 // bytes of a reason: what the subscriber said, and what the pool says of it
	// headerSlack is what the server's limit must leave for header syntax.
	headerSlack = 1024
)

// Publisher stores a message; jetstream.JetStream is one.
type Publisher interface {
	PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error)
}

// Parker stores events in the parked stream, a few at a time.
type Parker struct {
	js         Publisher
	ns         wire.Namespace
	maxPayload func() int64
	log        zerolog.Logger
	queue      chan job
}

type job struct {
	event pool.Parked
	done  func()
}

// New returns a parker that stores nothing before Run. MaxPayload is the
// largest message that the server takes.
func New(js Publisher, ns wire.Namespace, maxPayload func() int64, log zerolog.Logger) *Parker {
	return &Parker{js: js, ns: ns, maxPayload: maxPayload, log: log, queue: make(chan job, queueSize)}
}

// Park takes an event on, unless 1,024 wait already. Done is called once it is
// stored; it is not called if Run ends, or the event's pool is closed, first.
func (p *Parker) Park(e pool.Parked, done func()) bool {
	select {
	case p.queue <- job{e, done}:
		return true
	default:
		return false
	}
}

// Run stores events until ctx ends.
func (p *Parker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case j := <-p.queue:
					p.store(ctx, j)
				}
			}
		})
	}
	return g.Wait()
}

var errUnwanted = errors.New("the pool is closed")

// store tries until the event is stored, its pool is closed or ctx ends. A
// repeat after a timeout is recognised by its message id, so the event is
// stored once.
func (p *Parker) store(ctx context.Context, j job) {
	wait := backoff.NewExponentialBackOff()
	wait.MaxInterval = maxWait
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if !j.event.Open() {
			return struct{}{}, backoff.Permanent(errUnwanted)
		}
		return struct{}{}, p.publish(ctx, j.event)
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, wait time.Duration) {
		p.log.Warn().Err(err).Str("subscription", j.event.Name).Uint64("sequence", j.event.Event.Sequence).
			Int64("retry_in_ms", wait.Milliseconds()).Msg("event not parked yet")
	}))
	if err == nil {
		j.done()
	}
}

// publish stores as much of the event as the stream takes: what is left out can
// be read in the store, but an event that is not parked holds its lane.
func (p *Parker) publish(ctx context.Context, e pool.Parked) error {
	id := fmt.Sprintf("%s:%d:%d", e.UID, e.Epoch, e.Event.Sequence)
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

// accountLimits is the server's code for an account that has used up its
// storage. Another event may fit later, so it is no fault of this one.
const accountLimits = 10002

// refused reports whether the same message would be refused again.
func refused(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code == http.StatusBadRequest && api.ErrorCode != accountLimits
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
	set(wire.HeaderEpoch, strconv.FormatUint(e.Epoch, 10))
	set(wire.HeaderAttempts, strconv.Itoa(e.Attempts))
	set(wire.HeaderParkReason, bus.HeaderText(e.Reason, maxReason))
	set(wire.HeaderParkedAt, time.Now().UTC().Format(time.RFC3339Nano))
	body := e.Event.Data
	if limit := p.maxPayload(); !keep.body || limit > 0 && int64(size+headerSlack) > limit {
		set(wire.HeaderParkedBody, wire.Omitted)
		body = nil
	}
	return &nats.Msg{Subject: p.ns.Parked(e.Name), Header: h, Data: body}
}
