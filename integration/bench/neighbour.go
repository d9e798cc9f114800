package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/client"
)

func neighbours() []benchmark {
	return []benchmark{{
		name: "slow_neighbour", unit: "ms", goal: atMost(2), alone: true,
		about:  "p99 of 999 healthy subscriptions beside a bad one that gets every event: the worst of four kinds, against a healthy one",
		sluice: worstNeighbour, other: goodNeighbour,
	}}
}

// beside is the rate of events, and how many of them, in this benchmark.
const besideRate = 2_000

func beside(o options) int { return o.scale(20_000, 1_000) }

// bad are the kinds of bad neighbours: one that never answers, one that answers
// after five seconds, one that is gone, and one to whom every event is poison.
func bad() []string { return []string{answerNever, answerLate, neighbourGone, answerNak} }

const neighbourGone = "gone"

// worstNeighbour is the highest p99 of all kinds, each in a world of its own.
func worstNeighbour(ctx context.Context, _ *world, o options) (float64, error) {
	worst := 0.0
	for _, kind := range bad() {
		v, err := inWorld(ctx, o, besides(kind))
		if err != nil {
			return 0, fmt.Errorf("neighbour %q: %w", kind, err)
		}
		worst = max(worst, v)
	}
	return worst, nil
}

func goodNeighbour(ctx context.Context, _ *world, o options) (float64, error) {
	return inWorld(ctx, o, besides(answerAck))
}

// besides measures the p99 of 999 subscriptions of which each event matches
// one, beside one more that gets all of them and answers in the given way.
func besides(neighbour string) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		const healthy = 999
		if err := w.makeStore(ctx); err != nil {
			return 0, err
		}
		if err := w.sluice(ctx); err != nil {
			return 0, err
		}
		if neighbour != neighbourGone {
			if _, err := w.beginWorker(ctx, job{Kind: kindSubscribe, Subject: "bench.neighbour", Answer: neighbour, Events: beside(o), Subs: 1}); err != nil {
				return 0, err
			}
		}
		wk, err := w.beginWorker(ctx, job{Kind: kindSubscribe, Subject: targets + "*", Answer: answerAck, Events: beside(o), Subs: 1})
		if err != nil {
			return 0, err
		}
		err = w.subscribe(ctx, healthy+1, func(i int) client.Spec {
			s := ofKey(i)
			if i == healthy {
				s = subscription(i)
				s.Deliver.Subject = "bench.neighbour"
				s.AckWait = time.Second
			}
			return s
		})
		if err != nil {
			return 0, err
		}
		if _, err := w.live(ctx, healthy, ""); err != nil { // a bad one may be waiting
			return 0, err
		}
		p := w.publisher(healthy)
		if err := p.pace(ctx, beside(o), besideRate); err != nil {
			return 0, err
		}
		l, err := wk.done()
		return float64(l.P99) / float64(time.Millisecond), err
	}
}
