package client

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Delivery is one event as it came to the subscriber. In mode publish no
// answer is waited for: answers then do nothing, so that the same handler
// serves both modes.
//
// A message that somebody else published to the delivery subject is a Delivery
// too; its accessors return zero values.
type Delivery struct {
	msg      *nats.Msg
	nc       *nats.Conn
	counters *counters
	answered atomic.Bool
}

// Data returns the event's bytes, unchanged.
func (d *Delivery) Data() []byte { return d.msg.Data }

// Headers returns the event's own headers and those of the delivery.
func (d *Delivery) Headers() nats.Header { return d.msg.Header }

// Decode reads the event's JSON into v.
func (d *Delivery) Decode(v any) error {
	if err := json.Unmarshal(d.msg.Data, v); err != nil {
		return fmt.Errorf("decode event %d of %s: %w", d.Sequence(), d.Store(), err)
	}
	return nil
}

// Subscription returns the name of the subscription.
func (d *Delivery) Subscription() string { return d.msg.Header.Get(wire.HeaderSubscription) }

// Store returns the name of the store that holds the event.
func (d *Delivery) Store() string { return d.msg.Header.Get(wire.HeaderStore) }

// Sequence returns where the event stands in its store.
func (d *Delivery) Sequence() uint64 { return d.number(wire.HeaderSequence) }

// Subject returns the subject under which the event is stored.
func (d *Delivery) Subject() string { return d.msg.Header.Get(wire.HeaderSubject) }

// Time returns when the event was stored.
func (d *Delivery) Time() time.Time {
	t, err := time.Parse(time.RFC3339Nano, d.msg.Header.Get(wire.HeaderTime))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Attempt returns which attempt to deliver the event this is, from 1.
func (d *Delivery) Attempt() int { return int(d.number(wire.HeaderAttempt)) }

// Epoch returns the epoch of the pool that sent the event. A higher one means
// a later owner.
func (d *Delivery) Epoch() uint64 { return d.number(wire.HeaderEpoch) }

// Hops returns how often the event has gone through Sluice, this delivery
// included: 1, as a rule. A higher number says that the event had been delivered
// before, and was stored again. At wire.MaxHops that ends.
func (d *Delivery) Hops() int {
	n := int(d.number(wire.HeaderHops))
	if n == 0 && d.Subscription() != "" {
		return 1 // the header begins with the second time
	}
	return n
}

// ReplayID returns the id of the replay that sent the event, "" in live delivery.
func (d *Delivery) ReplayID() string { return d.msg.Header.Get(wire.HeaderReplay) }

func (d *Delivery) number(header string) uint64 {
	n, err := strconv.ParseUint(d.msg.Header.Get(header), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Ack says that the event is done with. The answer is sent in the background;
// if it is lost the event comes again after ack_wait.
func (d *Delivery) Ack() error {
	return d.finish("ack", []byte("+ACK"), &d.counters.acked)
}

// Nak asks for another attempt: after delay, or after the subscription's own
// backoff where delay is 0 or less.
func (d *Delivery) Nak(delay time.Duration) error {
	body := []byte("-NAK")
	if delay > 0 {
		body = fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds())
	}
	return d.finish("nak", body, &d.counters.nacked)
}

// Term gives the event up: it is parked now, with the reason.
func (d *Delivery) Term(reason string) error {
	body := []byte("+TERM")
	if reason != "" {
		body = append(append(body, ' '), reason...)
	}
	return d.finish("term", body, &d.counters.termed)
}

// InProgress says that the event is being worked on: ack_wait starts anew. It
// may be sent as often as wanted, until the delivery is answered.
func (d *Delivery) InProgress() error {
	if d.answered.Load() {
		return fmt.Errorf("in progress: %w", ErrAnswered)
	}
	return d.send("in progress", []byte("+WPI"))
}

// finish sends the one answer that a delivery gets. After an error it may be
// answered again.
func (d *Delivery) finish(what string, body []byte, count *atomic.Uint64) error {
	if !d.answered.CompareAndSwap(false, true) {
		return fmt.Errorf("%s: %w", what, ErrAnswered)
	}
	if err := d.send(what, body); err != nil {
		d.answered.Store(false)
		return err
	}
	count.Add(1)
	return nil
}

func (d *Delivery) send(what string, body []byte) error {
	if d.msg.Reply == "" {
		return nil
	}
	// Whoever can publish to the delivery subject chooses the reply subject. It
	// must not lend them what only this program may publish to.
	if !wire.IsAnswerSubject(d.msg.Reply, d.nc.Opts.InboxPrefix) {
		return fmt.Errorf("%s: %w: %q", what, ErrReply, d.msg.Reply)
	}
	if err := d.nc.Publish(d.msg.Reply, body); err != nil {
		return fmt.Errorf("%s event %d of %s: %w", what, d.Sequence(), d.Store(), err)
	}
	return nil
}
