package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/sony/gobreaker/v2"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/jsapi"
)

const (
	// lookAgain is what a call leaves of its request's time, for finding out
	// what a write did that was not confirmed.
	lookAgain     = 300 * time.Millisecond
	callTimeout   = answerWithin - lookAgain // bounds a call that no request waits for
	fairTimeout   = 500 * time.Millisecond   // a call cut shorter says nothing of JetStream
	gateFailures  = 3
	minProbeWait  = 250 * time.Millisecond
	maxProbeWait  = 5 * time.Second
	probeWaitGrow = 1.7
)

// errAway is in the error of a call to JetStream that was not made, or that
// JetStream did not answer.
var errAway = errors.New("JetStream is away")

// gate lets calls through to JetStream while it answers. After a few failures
// in a row it refuses calls, and lets one probe through at growing intervals.
//
// A refusal is a failure, and so is a call that nobody takes. One that waits in
// vain is a failure only where JetStream answers no other one meanwhile: else it
// is busy, and to refuse what it would answer helps nobody.
type gate struct {
	breaker *gobreaker.TwoStepCircuitBreaker[any]
	log     zerolog.Logger

	mu       sync.Mutex
	waits    *backoff.ExponentialBackOff
	probeAt  time.Time     // no call before, while the breaker is open
	answered time.Time     // when JetStream answered last
	opened   chan struct{} // cap 1
}

func newGate(log zerolog.Logger) *gate {
	g := &gate{log: log, waits: backoff.NewExponentialBackOff(), opened: make(chan struct{}, 1)}
	g.waits.InitialInterval, g.waits.MaxInterval, g.waits.Multiplier = minProbeWait, maxProbeWait, probeWaitGrow
	g.waits.Reset()
	g.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Timeout:       minProbeWait / 2,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= gateFailures },
		IsExcluded:    func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: g.changed,
	})
	return g
}

// changed is called with the breaker's lock held: it must not use the breaker.
func (g *gate) changed(_ string, from, to gobreaker.State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch to {
	case gobreaker.StateOpen:
		g.probeAt = time.Now().Add(g.waits.NextBackOff())
		if from == gobreaker.StateClosed {
			g.log.Warn().Msg("jetstream is away, requests are refused")
		}
		select {
		case g.opened <- struct{}{}:
		default:
		}
	case gobreaker.StateClosed:
		g.waits.Reset()
		g.probeAt = time.Time{}
		g.log.Info().Msg("jetstream is back")
	case gobreaker.StateHalfOpen:
	}
}

// do makes one call to JetStream, within callTime(ctx). The error of a
// call that JetStream did not answer is errAway, with bucket.ErrNotSent where nothing
// was sent; any other error is an answer.
func (g *gate) do(ctx context.Context, call func(context.Context) error) error {
	if g.waiting() {
		return fmt.Errorf("%w: %w", errAway, bucket.ErrNotSent)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w: no time is left for the request", errAway, bucket.ErrNotSent)
	}
	done, err := g.breaker.Allow()
	if err != nil {
		return fmt.Errorf("%w: %w", errAway, bucket.ErrNotSent)
	}
	outcome := errAway // of a call that panics
	defer func() { done(outcome) }()
	limit := callTime(ctx)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err = call(ctx)
	if !away(err) {
		g.heard()
		outcome = nil
		return err
	}
	outcome = context.Canceled // counts neither way
	if limit >= fairTimeout && (!late(err) || g.silentSince(began)) {
		outcome = err
	}
	if notSent(err) {
		return fmt.Errorf("%w: %w: %w", errAway, bucket.ErrNotSent, err)
	}
	return fmt.Errorf("%w: %w", errAway, err)
}

// through is do for a call that returns something.
func through[T any](ctx context.Context, g *gate, call func(context.Context) (T, error)) (v T, err error) {
	err = g.do(ctx, func(ctx context.Context) error {
		var err error
		v, err = call(ctx)
		return err
	})
	return v, err
}

// heard notes that JetStream has answered.
func (g *gate) heard() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered = time.Now()
}

func (g *gate) silentSince(t time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answered.Before(t)
}

// callTime is how long a call may take: nearly all that is left of the
// request's time, so that a server that is slow is not taken for one that is
// away.
func callTime(ctx context.Context) time.Duration {
	until, ok := ctx.Deadline()
	if !ok {
		return callTimeout
	}
	left := time.Until(until)
	return max(left-lookAgain, left/2)
}

// shut reports whether the breaker is open, or half open.
func (g *gate) shut() bool { return g.breaker.State() != gobreaker.StateClosed }

// waiting reports whether the breaker is open and its next probe not yet due.
func (g *gate) waiting() bool {
	if !g.shut() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.probeAt)
}

// hurry makes the next probe due, e.g. after a reconnect.
func (g *gate) hurry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probeAt = time.Time{}
	g.waits.Reset()
}

// run probes while the gate is shut, so that it opens without a request's
// help, until ctx ends. tell is called when it shuts and when it opens.
func (g *gate) run(ctx context.Context, probe func(context.Context) error, tell func(open bool)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.opened:
		}
		if !g.shut() {
			continue // a signal of a failed probe that another one has made up for
		}
		tell(false)
		for ctx.Err() == nil && g.shut() {
			select {
			case <-ctx.Done():
			case <-time.After(minProbeWait):
				_ = g.do(ctx, probe) // refused unless one is due; the breaker keeps the outcome
			}
		}
		tell(true)
	}
}

// away reports whether err says that JetStream did not answer, or could not.
func away(err error) bool {
	var full *jsapi.FullError
	if err == nil || errors.As(err, &full) {
		return false
	}
	for _, target := range []error{
		context.DeadlineExceeded, context.Canceled, nats.ErrTimeout,
		nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrConnectionDraining,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code == 503 {
		return true
	}
	return notSent(err)
}

// late reports whether err says no more than that no answer came in time.
func late(err error) bool {
	return !notSent(err) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout))
}

// notSent reports whether err proves that nobody took the request.
func notSent(err error) bool {
	for _, target := range []error{
		nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting,
		jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
		jetstream.ErrJetStreamNotEnabledForAccount,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
