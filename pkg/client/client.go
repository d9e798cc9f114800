package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	defaultTimeout = 5 * time.Second
	// sweepTimeout is the least that a request which makes a sweep gets.
	sweepTimeout = 30 * time.Second
)

// Client speaks to the services of one namespace over one NATS connection. It
// holds no resources beside the connection, which remains the caller's, and
// may be used from many goroutines.
type Client struct {
	nc      *nats.Conn
	ns      wire.Namespace
	timeout time.Duration
	epochs  *epochs
}

// Option configures a Client.
type Option func(*Client) error

// WithNamespace sets the namespace. Defaults to wire.DefaultNamespace.
func WithNamespace(ns wire.Namespace) Option {
	return func(c *Client) error {
		if err := ns.Validate(); err != nil {
			return err
		}
		c.ns = ns
		return nil
	}
}

// WithTimeout bounds each request whose context does not end before.
// Defaults to 5s. Requests that make a sweep get 30s where d is less.
func WithTimeout(d time.Duration) Option {
	return func(c *Client) error {
		if d <= 0 {
			return fmt.Errorf("timeout %v: want more than 0", d)
		}
		c.timeout = d
		return nil
	}
}

// New returns a client on nc. It does no I/O: a service that is away shows
// with the first request.
func New(nc *nats.Conn, opts ...Option) (*Client, error) {
	if nc == nil {
		return nil, errors.New("new client: no NATS connection")
	}
	c := &Client{nc: nc, ns: wire.DefaultNamespace, timeout: defaultTimeout, epochs: newEpochs()}
	for _, opt := range opts {
		if err := opt(c); err != nil {
			return nil, fmt.Errorf("new client: %w", err)
		}
	}
	return c, nil
}

// Namespace returns the namespace that the client speaks to.
func (c *Client) Namespace() wire.Namespace { return c.ns }

// Request sends body as it is to a verb and returns the answer's body. It is
// for verbs and fields that the client has no method for. The name is left
// out where it is empty. An answer that is an error is returned as one, as
// everywhere.
func (c *Client) Request(ctx context.Context, verb, name string, body []byte) ([]byte, error) {
	op, subject := verb, c.ns.API(verb)
	if name != "" {
		op = fmt.Sprintf("%s %q", verb, name)
		if !wire.ValidName(name) {
			return nil, fmt.Errorf("%s: %w", op, badName(name))
		}
		subject = c.ns.API(verb, name)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeoutOf(verb))
	defer cancel()
	start := time.Now()
	msg, err := c.nc.RequestWithContext(ctx, subject, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("%s: %w (%w)", op, c.nobody(verb, subject), err)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%s: no answer after %v, it may have been carried out: %w",
			op, time.Since(start).Round(time.Millisecond), err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if err := answerError(msg); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return msg.Data, nil
}

// timeoutOf is how long a request of a verb may take.
func (c *Client) timeoutOf(verb string) time.Duration {
	if verb == wire.VerbHealthCheck || verb == wire.VerbHealthRepair {
		return max(c.timeout, sweepTimeout)
	}
	return c.timeout
}

// answerError returns the error that an answer carries, if any. The body has
// the whole of it; the headers alone are enough where the body does not.
func answerError(msg *nats.Msg) error {
	var head wire.Head
	if err := json.Unmarshal(msg.Data, &head); err == nil && head.Error != nil {
		return head.Error
	}
	text := msg.Header.Get(wire.HeaderServiceError)
	status, err := strconv.Atoi(msg.Header.Get(wire.HeaderServiceErrorCode))
	if text == "" && err != nil {
		return nil
	}
	werr := &wire.Error{Code: status, ErrCode: wire.CodeInternal, Description: text}
	if status == wire.CodeUnavailable.Status() {
		werr.ErrCode = wire.CodeUnavailable
	}
	return werr
}

// call sends body as JSON, or nothing where it is nil, and decodes an answer
// of the wanted type.
func call[A any](ctx context.Context, c *Client, verb, name string, body any) (*A, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = wire.Marshal(body); err != nil {
			return nil, fmt.Errorf("%s: encode the request: %w", verb, err)
		}
	}
	data, err := c.Request(ctx, verb, name, raw)
	if err != nil {
		return nil, err
	}
	var head wire.Head
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%s: decode the answer: %w", verb, err)
	}
	if want := answerType(verb); head.Type != want {
		return nil, fmt.Errorf("%s: the answer is of type %q, want %q", verb, head.Type, want)
	}
	answer := new(A)
	if err := json.Unmarshal(data, answer); err != nil {
		return nil, fmt.Errorf("%s: decode the answer: %w", verb, err)
	}
	return answer, nil
}

// answerType is the type of a good answer to verb. A report is itself.
func answerType(verb string) string {
	if verb == wire.VerbHealthCheck || verb == wire.VerbHealthReport {
		return wire.ReportType
	}
	return wire.ResponseType(verb)
}
