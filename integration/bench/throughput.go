package main

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func throughputs() []benchmark {
	return []benchmark{
		{
			name: "throughput_ack", unit: "events/s", goal: atLeast(1),
			about:  "300,000 events to one subscription, mode ack, against a durable pull consumer with explicit acks",
			sluice: catchUp(stored(throughputEvents), wire.ModeAck), other: native(stored(throughputEvents), kindExplicit),
		},
		{
			name: "throughput_publish", unit: "events/s", goal: atLeast(0.6),
			about:  "the same in mode publish, against a pull consumer without acks",
			sluice: catchUp(stored(throughputEvents), wire.ModePublish), other: native(stored(throughputEvents), kindAckNone),
		},
	}
}

func backlogs() []benchmark {
	return []benchmark{{
		name: "backlog", unit: "events/s", goal: atLeast(0.6),
		about:  "one subscription, mode ack, catches up on 1,000,000 events, against an ordered consumer, which acks nothing",
		sluice: catchUp(stored(backlogEvents), wire.ModeAck), other: native(stored(backlogEvents), kindOrdered),
	}}
}

func throughputEvents(o options) int { return o.scale(300_000, 30_000) }
func backlogEvents(o options) int    { return o.scale(1_000_000, 60_000) }

// stock is what lies in the store before anybody reads it.
type stock struct {
	events func(options) int
	size   int // bytes of each
}

func stored(events func(options) int) stock { return stock{events, eventBytes} }

// catchUp measures one subscription that reads what is stored, from the
// subscribe request to the last event.
func catchUp(s stock, mode string) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		n := s.events(o)
		if err := w.fill(ctx, n, s.size); err != nil {
			return 0, err
		}
		answer := answerAck
		if mode == wire.ModePublish {
			answer = answerNone
		}
		return w.workOff(ctx, n, answer, 1, func(i int) client.Spec {
			s := subscription(i)
			s.Deliver.Mode = mode
			return s
		})
	}
}

// workOff runs Sluice with subscriptions of which the first wants all n events that
// are stored. It returns the rate at which that one gets them.
func (w *world) workOff(ctx context.Context, n int, answer string, subs int, spec func(int) client.Spec) (float64, error) {
	if err := w.sluice(ctx); err != nil {
		return 0, err
	}
	wk, err := w.beginWorker(ctx, job{Kind: kindSubscribe, Subject: targets + "0", Answer: answer, Events: n, Subs: 1})
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := w.subscribe(ctx, subs, spec); err != nil {
		return 0, err
	}
	return rate(wk, begin, n)
}

// native measures a consumer that reads what is stored, from its creation to
// the last event.
func native(s stock, kind string) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		n := s.events(o)
		if err := w.fill(ctx, n, s.size); err != nil {
			return 0, err
		}
		wk, err := w.startWorker(ctx, job{Kind: kind, Events: n, Subs: 1, Bytes: s.size})
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := wk.begin(); err != nil {
			return 0, err
		}
		return rate(wk, begin, n)
	}
}

// rate is how many deliveries a second came in since begin.
func rate(wk *worker, begin time.Time, n int) (float64, error) {
	if _, err := wk.done(); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}
