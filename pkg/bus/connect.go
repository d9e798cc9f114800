package bus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

const (
	minRetry = 100 * time.Millisecond
	maxRetry = 5 * time.Second
)

// Dialer connects a service to NATS.
type Dialer struct {
	Config
	Name string // the name of the client, as NATS shows it
	Log  zerolog.Logger
	// Waiting is told why there is no connection yet, at each failure.
	// Optional.
	Waiting func(reason string)
}

// Connect connects to NATS. It keeps trying until it succeeds or ctx ends, and
// says where to and why it waits. It returns at most one timeout after ctx has
// ended, with an error that wraps ctx's and the last real one. A server that
// is older than Sluice needs is refused in the same way: it may be upgraded.
//
// The connection reconnects for ever and buffers nothing while it is away:
// requests and publishes then fail at once. A dead server is noticed after
// 15 s at most. Changes of the connection are logged. The caller closes it.
// Options given override these settings.
func (d Dialer) Connect(ctx context.Context, opts ...nats.Option) (*nats.Conn, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("nats config: %w", err)
	}
	return retry(ctx, waiter{d.Log, d.Waiting}, "connect to NATS", func() (*nats.Conn, error) {
		o, err := d.options(d.Name, d.Log, opts)
		if err != nil {
			return nil, err
		}
		nc, err := o.Connect()
		if errors.Is(err, nats.ErrNoServers) { // what nats.go makes of it
			err = fmt.Errorf("%w: connection refused", err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shownServers(o), err)
		}
		if err := checkVersion(nc); err != nil {
			nc.Close()
			return nil, err
		}
		return nc, nil
	})
}

// Connect is Dialer.Connect for who tells nobody else why it waits.
func Connect(ctx context.Context, cfg Config, name string, log zerolog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	return Dialer{Config: cfg, Name: name, Log: log}.Connect(ctx, opts...)
}

// waiter says what is waited for: in the log, and to tell if that is not nil.
type waiter struct {
	log  zerolog.Logger
	tell func(reason string)
}

// retry runs op until it succeeds or ctx ends, with exponential backoff and
// jitter. It tells each failure, and logs one when it differs from the one
// before, and an unchanged one every 30 s.
func retry[T any](ctx context.Context, w waiter, what string, op func() (T, error)) (T, error) {
	var last error
	var said Repeats
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = minRetry, maxRetry
	v, err := backoff.Retry(ctx, func() (T, error) {
		v, err := op()
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return v, err
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, next time.Duration) {
		if w.tell != nil {
			w.tell("cannot " + what + ": " + err.Error())
		}
		if said.New(err) {
			w.log.Warn().Err(err).Int64("retry_ms", next.Milliseconds()).Msg("cannot " + what + ", still trying")
		}
	}))
	if err == nil {
		if said.Over() {
			w.log.Info().Msg(what + " succeeded")
		}
		return v, nil
	}
	var zero T
	return zero, fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), last))
}

// NewInstanceID returns a fresh name for a running instance of service, e.g.
// "emitter-1f3a90c2". It is one token of a subject.
func NewInstanceID(service string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return service + "-" + hex.EncodeToString(b[:])
}
