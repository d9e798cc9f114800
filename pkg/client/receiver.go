package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Handler handles one delivery. Its context ends only when the receiver's
// drain timeout runs out, so that a handler may finish what it began.
type Handler func(ctx context.Context, d *Delivery) error

type receiveConfig struct {
	concurrency  int
	pendingMsgs  int
	pendingBytes int
	drainTimeout time.Duration
	onError      func(*Delivery, error)
}

// ReceiveOption configures a Receiver.
type ReceiveOption func(*receiveConfig) error

// WithConcurrency sets how many handlers may run at once. Defaults to 1.
func WithConcurrency(n int) ReceiveOption {
	return func(c *receiveConfig) error {
		if n < 1 {
			return fmt.Errorf("concurrency %d: want at least 1", n)
		}
		c.concurrency = n
		return nil
	}
}

// WithPending bounds the deliveries that have come and wait for a handler, in
// number and bytes. What comes beyond is dropped, counted in Stats.Dropped,
// and sent again by Sluice after ack_wait. Defaults to 65536, the most that a
// pool ever has in delivery, and 64 MiB.
func WithPending(deliveries, bytes int) ReceiveOption {
	return func(c *receiveConfig) error {
		if deliveries < 1 || bytes < 1 {
			return fmt.Errorf("pending %d deliveries and %d bytes: want at least 1 of each", deliveries, bytes)
		}
		c.pendingMsgs, c.pendingBytes = deliveries, bytes
		return nil
	}
}

// WithDrainTimeout bounds how long what has already come is handled after the
// context ended. Defaults to 30s.
func WithDrainTimeout(d time.Duration) ReceiveOption {
	return func(c *receiveConfig) error {
		if d <= 0 {
			return fmt.Errorf("drain timeout %v: want more than 0", d)
		}
		c.drainTimeout = d
		return nil
	}
}

// WithOnError has every error of a handler, every panic (a *PanicError) and
// every answer that could not be sent reported to f, from the handler's
// goroutine. Defaults to a warning in the log of package slog.
func WithOnError(f func(*Delivery, error)) ReceiveOption {
	return func(c *receiveConfig) error {
		if f == nil {
			return errors.New("on error: no function")
		}
		c.onError = f
		return nil
	}
}

func logError(d *Delivery, err error) {
	attrs := []any{
		"error", err.Error(), "subscription", d.Subscription(), "store", d.Store(),
		"sequence", d.Sequence(), "attempt", d.Attempt(),
	}
	var p *PanicError
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	slog.Warn("delivery not handled", attrs...)
}

// Stats are the counts of a receiver since it began.
type Stats struct {
	Received uint64 // handed to a handler
	Acked    uint64
	Nacked   uint64
	Termed   uint64
	Stale    uint64 // deliveries of a deposed owner, which were dropped unanswered
	Panics   uint64
	Dropped  uint64 // by the NATS client, over the pending bound
}

type counters struct {
	received, acked, nacked, termed, stale, panics, dropped atomic.Uint64
}

// Receiver receives the deliveries of one subject.
type Receiver struct {
	client   *Client
	subject  string
	queue    string
	handler  Handler
	cfg      receiveConfig
	counters counters
	ready    chan struct{}
}

// NewReceiver returns a receiver that is not yet running. The subject is that
// of Deliver.Subject; queue is the queue group, "" for none. The subject may
// have wildcards, to receive for several subscriptions.
func (c *Client) NewReceiver(subject, queue string, h Handler, opts ...ReceiveOption) (*Receiver, error) {
	if h == nil {
		return nil, fmt.Errorf("receive from %q: no handler", subject)
	}
	return c.newReceiver(subject, queue, h, opts)
}

func (c *Client) newReceiver(subject, queue string, h Handler, opts []ReceiveOption) (*Receiver, error) {
	cfg := receiveConfig{
		concurrency: 1, pendingMsgs: 65536, pendingBytes: 64 << 20,
		drainTimeout: 30 * time.Second, onError: logError,
	}
	for _, opt := range opts {
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("receive from %q: %w", subject, err)
		}
	}
	return &Receiver{
		client: c, subject: subject, queue: queue, handler: h, cfg: cfg, ready: make(chan struct{}),
	}, nil
}

// Receive is [Client.NewReceiver] and [Receiver.Run] in one.
func (c *Client) Receive(ctx context.Context, subject, queue string, h Handler, opts ...ReceiveOption) error {
	r, err := c.NewReceiver(subject, queue, h, opts...)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// Ready is closed once the server has the receiver's subscription.
func (r *Receiver) Ready() <-chan struct{} { return r.ready }

// Stats returns the counts up to now.
func (r *Receiver) Stats() Stats {
	c := &r.counters
	return Stats{
		Received: c.received.Load(), Acked: c.acked.Load(), Nacked: c.nacked.Load(), Termed: c.termed.Load(),
		Stale: c.stale.Load(), Panics: c.panics.Load(), Dropped: c.dropped.Load(),
	}
}

// Run receives until ctx ends, then drains: it takes its interest back,
// handles what has already come and returns nil. It returns [ErrDrainTimeout]
// where that takes too long, and another error where the connection or the
// subscription is closed by somebody else. It may be called once.
func (r *Receiver) Run(ctx context.Context) error {
	sub, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer r.close(sub)
	close(r.ready)

	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, r.cfg.concurrency)
	var workers sync.WaitGroup
	for range r.cfg.concurrency {
		workers.Go(func() { ended <- r.work(work, sub) })
	}
	select {
	case <-ctx.Done():
	case err = <-ended: // closed under our feet
	}
	timer := time.AfterFunc(r.cfg.drainTimeout, stop)
	defer timer.Stop()
	drainErr := sub.Drain()
	workers.Wait()
	switch {
	case work.Err() != nil:
		return fmt.Errorf("receive from %q: %d deliveries given back: %w", r.subject, r.giveBack(sub), ErrDrainTimeout)
	case ctx.Err() == nil:
		return fmt.Errorf("receive from %q: %w", r.subject, err)
	case drainErr != nil:
		return fmt.Errorf("receive from %q: drain: %w", r.subject, drainErr)
	}
	return nil
}

// open subscribes and waits until the server has the subscription.
func (r *Receiver) open(ctx context.Context) (*nats.Subscription, error) {
	sub, err := r.client.nc.QueueSubscribeSync(r.subject, r.queue)
	if err != nil {
		return nil, fmt.Errorf("receive from %q: %w", r.subject, err)
	}
	err = sub.SetPendingLimits(r.cfg.pendingMsgs, r.cfg.pendingBytes)
	if err == nil {
		err = r.client.flush(ctx)
	}
	if err != nil {
		_ = sub.Unsubscribe()
		return nil, fmt.Errorf("receive from %q: %w", r.subject, err)
	}
	return sub, nil
}

// close ends the subscription, if it is there still, and lets the last
// answers reach the server.
func (r *Receiver) close(sub *nats.Subscription) {
	r.countDropped(sub)
	_ = sub.Unsubscribe()
	_ = r.client.flush(context.Background()) // best effort: an answer that is lost means a repeat
}

// work handles deliveries until the subscription has ended and everything
// that came before is taken, or until ctx ends. It returns why.
func (r *Receiver) work(ctx context.Context, sub *nats.Subscription) error {
	for {
		d, err := r.next(ctx, sub)
		if err != nil {
			return err
		}
		r.handle(ctx, d)
	}
}

// next returns the next delivery that is not stale.
func (r *Receiver) next(ctx context.Context, sub *nats.Subscription) (*Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		msg, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrSlowConsumer):
			r.countDropped(sub)
			continue
		case errors.Is(err, nats.ErrNoResponders):
			continue // a status message that strayed here
		case err != nil:
			return nil, err
		}
		d := &Delivery{msg: msg, nc: r.client.nc, counters: &r.counters}
		if r.stale(d) {
			r.counters.stale.Add(1)
			continue
		}
		r.counters.received.Add(1)
		return d, nil
	}
}

// stale reports whether a deposed owner sent d. A replay has an order of its
// own and is never stale.
func (r *Receiver) stale(d *Delivery) bool {
	name := d.Subscription()
	if name == "" || d.msg.Header.Get(wire.HeaderReplay) != "" {
		return false
	}
	return r.client.epochs.stale(name, d.Epoch(), time.Now())
}

func (r *Receiver) countDropped(sub *nats.Subscription) {
	if n, err := sub.Dropped(); err == nil && n > 0 {
		r.counters.dropped.Store(uint64(n))
	}
}

// handle calls the handler and answers with what it returned.
func (r *Receiver) handle(ctx context.Context, d *Delivery) {
	err := r.call(ctx, d)
	if err != nil {
		r.cfg.onError(d, err)
	}
	var term *termError
	var retry *retryError
	switch {
	case err == nil:
		err = d.Ack()
	case errors.As(err, &term):
		err = d.Term(err.Error())
	case errors.As(err, &retry):
		err = d.Nak(retry.delay)
	default:
		err = d.Nak(0)
	}
	if err != nil && !errors.Is(err, ErrAnswered) { // the handler may have answered by itself
		r.cfg.onError(d, err)
	}
}

// call calls the handler and turns a panic into an error.
func (r *Receiver) call(ctx context.Context, d *Delivery) (err error) {
	defer func() {
		if v := recover(); v != nil {
			r.counters.panics.Add(1)
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return r.handler(ctx, d)
}

// giveBack asks for another attempt, somewhere else, of everything that has
// come and was not begun. It returns how many that were.
func (r *Receiver) giveBack(sub *nats.Subscription) int {
	for n := 0; ; {
		if pending, _, err := sub.Pending(); err != nil || pending == 0 {
			return n
		}
		msg, err := sub.NextMsg(time.Second) // does not wait: there are some
		if errors.Is(err, nats.ErrSlowConsumer) || errors.Is(err, nats.ErrNoResponders) {
			continue // the latter is a status message that strayed here
		}
		if err != nil {
			return n
		}
		d := &Delivery{msg: msg, nc: r.client.nc, counters: &r.counters}
		switch err := d.Nak(0); {
		case errors.Is(err, ErrReply): // not Sluice's
		case err != nil:
			return n
		default:
			n++
		}
	}
}

// Messages yields deliveries one after the other; the loop's body answers
// each. What has come and was not yielded when the loop or ctx ends is given
// back for another attempt. The iteration ends without an error when ctx ends
// and with one when the connection is closed. Concurrency, drain timeout and
// error function mean nothing here.
func (c *Client) Messages(ctx context.Context, subject, queue string, opts ...ReceiveOption) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		r, err := c.newReceiver(subject, queue, nil, opts)
		if err != nil {
			yield(nil, err)
			return
		}
		sub, err := r.open(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.close(sub)
		defer func() {
			_ = sub.Drain()
			_ = r.client.flush(context.Background()) // so that all that was sent to us is here
			r.giveBack(sub)
		}()
		for {
			d, err := r.next(ctx, sub)
			switch {
			case ctx.Err() != nil:
				if d != nil {
					_ = d.Nak(0)
				}
				return
			case err != nil:
				yield(nil, fmt.Errorf("receive from %q: %w", subject, err))
				return
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}
