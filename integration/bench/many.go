package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/client"
)

func publishers() []benchmark {
	return []benchmark{
		{
			name: "publisher_cost_1k", unit: "events/s", goal: atLeast(5),
			about:  "publish rate while 1,000 subscriptions with a subject filter each are served, against 1,000 consumers",
			sluice: publishBeside(thousand, ofKey), other: publishNative(thousand),
		},
		{
			name: "publisher_cost_10k", unit: "events/s", goal: atLeast(0.9),
			about:  "the same with 10,000 subscriptions, against Sluice with one that gets everything",
			sluice: publishBeside(tenThousand, ofKey), other: publishBeside(subsOfKeys(1), subscription),
		},
	}
}

func fanouts() []benchmark {
	return []benchmark{{
		name: "fanout_1k", unit: "deliveries/s", goal: atLeast(1.2),
		about:  "1,000 subscriptions, mode ack, that all get every event, against 1,000 consumers without acks",
		sluice: fanOut, other: fanOutNative,
	}}
}

// thousand is as many as a stream has consumers by default.
func thousand(o options) int { return o.scale(keys, 300) }

// tenThousand is the number of subscriptions of the large benchmarks.
func tenThousand(o options) int { return o.scale(10_000, 1_000) }

func subsOfKeys(n int) func(options) int { return func(options) int { return n } }

// published is how many events the publisher's rate is measured with.
func published(o options) int { return o.scale(60_000, 4_000) }

// publishBeside measures the rate at which events can be published while n
// subscriptions are served with them. Each event goes to one subscription.
func publishBeside(subs func(options) int, spec func(int) client.Spec) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		return publishOver(max(subs(o), thousand(o)), subs(o), spec)(ctx, w, o)
	}
}

// publishOver is publishBeside for events of the given number of keys.
func publishOver(keys, subs int, spec func(int) client.Spec) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		events := published(o)
		wk, err := w.serve(ctx, subs, spec, job{Events: events, Subs: 1})
		if err != nil {
			return 0, err
		}
		return publishRate(ctx, w.publisher(keys), wk, events)
	}
}

// publishRate is the publisher's alone; the events must all be delivered too.
func publishRate(ctx context.Context, p *publisher, wk *worker, events int) (float64, error) {
	begin := time.Now()
	if err := p.burst(ctx, events); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	if _, err := wk.done(); err != nil {
		return 0, err
	}
	return float64(events) / took.Seconds(), nil
}

// serve runs Sluice with n live subscriptions, whose deliveries a worker acks.
func (w *world) serve(ctx context.Context, n int, spec func(int) client.Spec, j job) (*worker, error) {
	if err := w.makeStore(ctx); err != nil {
		return nil, err
	}
	if err := w.sluice(ctx); err != nil {
		return nil, err
	}
	j.Kind, j.Subject, j.Answer = kindSubscribe, targets+"*", answerAck
	wk, err := w.beginWorker(ctx, j)
	if err != nil {
		return nil, err
	}
	if err := w.subscribe(ctx, n, spec); err != nil {
		return nil, err
	}
	if _, err := w.live(ctx, n, ""); err != nil {
		return nil, fmt.Errorf("wait for the pools: %w", err)
	}
	return wk, nil
}

// fanned is how many events are fanned out.
func fanned(o options) int { return o.scale(1_000, 40) }

func fanOut(ctx context.Context, w *world, o options) (float64, error) {
	events, subs := fanned(o), thousand(o)
	wk, err := w.serve(ctx, subs, subscription, job{Events: events, Subs: subs})
	if err != nil {
		return 0, err
	}
	return fanRate(ctx, w, wk, events, subs)
}

func fanOutNative(ctx context.Context, w *world, o options) (float64, error) {
	events, subs := fanned(o), thousand(o)
	if err := w.makeStore(ctx); err != nil {
		return 0, err
	}
	wk, err := w.beginWorker(ctx, job{Kind: kindAckNone, Events: events, Subs: subs})
	if err != nil {
		return 0, err
	}
	return fanRate(ctx, w, wk, events, subs)
}

// fanRate is the rate of deliveries, from the first publish to the last of them.
func fanRate(ctx context.Context, w *world, wk *worker, events, subs int) (float64, error) {
	begin := time.Now()
	if err := w.publisher(keys).burst(ctx, events); err != nil {
		return 0, err
	}
	return rate(wk, begin, events*subs)
}
