package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

var (
	// ErrAnswered is returned by an answer to a delivery that has been
	// answered for good already.
	ErrAnswered = errors.New("the delivery has been answered")
	// ErrReply is returned by an answer to a message that asks for it on a
	// subject that is neither Sluice's nor an inbox: Sluice has not sent it.
	ErrReply = errors.New("the reply subject is none that Sluice makes")
	// ErrDrainTimeout is returned by a receiver whose context ended and whose
	// handlers did not finish within the drain timeout. What they had not
	// begun has been given back for another attempt.
	ErrDrainTimeout = errors.New("the drain timeout ran out")
	// ErrLost is yielded where a subscriber was too slow and the NATS client
	// dropped messages. Dropped deliveries come again after ack_wait; dropped
	// advisories and reports do not.
	ErrLost = errors.New("messages were dropped because they were taken too slowly")
)

// CodeOf returns the code of the Sluice error in err, or 0 if there is none.
func CodeOf(err error) wire.ErrCode {
	var werr *wire.Error
	if errors.As(err, &werr) {
		return werr.ErrCode
	}
	return 0
}

// Term wraps err so that a handler that returns it gives the event up: it is
// parked now, whatever attempts are left. The reason is the error's text.
// Term(nil) is nil.
func Term(err error) error {
	if err == nil {
		return nil
	}
	return &termError{err}
}

type termError struct{ error }

func (e *termError) Unwrap() error { return e.error }

// RetryAfter wraps err so that a handler that returns it asks for the next
// attempt after delay instead of the subscription's own backoff. A delay of
// 0 or less is the subscription's own. RetryAfter(nil, …) is nil.
func RetryAfter(err error, delay time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryError{err, delay}
}

type retryError struct {
	error
	delay time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// PanicError is what a handler's panic is reported as.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where
}

func (e *PanicError) Error() string { return fmt.Sprintf("the handler panicked: %v", e.Value) }

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func badName(name string) *wire.Error {
	err := wire.Errorf(wire.CodeBadField, "the name %q is not allowed", name)
	err.Details = []wire.Fault{{Field: "name", Reason: "want 1 to 64 characters of A-Z, a-z, 0-9, _ and -"}}
	return err
}

// nobody is the error for a request that no service listens for.
func (c *Client) nobody(verb, subject string) *wire.Error {
	service := serviceOf(verb)
	return wire.Errorf(wire.CodeUnavailable,
		"nobody answers on %q, so nothing was done: start %s (go run ./services/%s, or ./services/standalone for everything), "+
			"or check that the namespace %q and the NATS account are those it runs in (nats service ls)",
		subject, c.ns.MicroName(service), service, string(c.ns))
}

// serviceOf returns the service that serves verb.
func serviceOf(verb string) string {
	group, _, _ := strings.Cut(verb, ".")
	switch group {
	case "health":
		return wire.ServiceHealthmon
	case "replay", "parked":
		return wire.ServiceReplayer
	default:
		return wire.ServiceRegistry
	}
}
