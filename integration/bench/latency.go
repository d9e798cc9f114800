package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/sluicehq/sluice/pkg/client"
)

func latencies() []benchmark {
	return []benchmark{
		{
			name: "latency_p99", unit: "ms", goal: atMost(2),
			about:  "p99 from publish to subscriber at 20,000 events/s, open loop, against a pull consumer with explicit acks",
			sluice: latencyOf(subsOfKeys(1), subscription), other: latencyNative,
		},
		{
			name: "latency_10k", unit: "ms", goal: atMost(1.5),
			about:  "the same with 10,000 subscriptions of which each event matches one, against Sluice with one",
			sluice: latencyOf(tenThousand, ofKey), other: latencyOf(subsOfKeys(1), subscription),
		},
	}
}

// offered is the rate of the open loop, and how many events it takes.
const offered = 20_000

func paced(o options) int { return o.scale(200_000, 30_000) }

// latencyOf measures the p99 from the time an event was due to its delivery.
func latencyOf(subs func(options) int, spec func(int) client.Spec) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		n, events := subs(o), paced(o)
		wk, err := w.serve(ctx, n, spec, job{Events: events, Subs: 1})
		if err != nil {
			return 0, err
		}
		return p99(ctx, w.publisher(max(n, keys)), wk, events, o)
	}
}

func latencyNative(ctx context.Context, w *world, o options) (float64, error) {
	events := paced(o)
	if err := w.makeStore(ctx); err != nil {
		return 0, err
	}
	wk, err := w.beginWorker(ctx, job{Kind: kindExplicit, Events: events, Subs: 1})
	if err != nil {
		return 0, err
	}
	return p99(ctx, w.publisher(keys), wk, events, o)
}

func p99(ctx context.Context, p *publisher, wk *worker, events int, o options) (float64, error) {
	if err := p.pace(ctx, events, offered); err != nil {
		return 0, err
	}
	l, err := wk.done()
	if o.verbose {
		fmt.Fprintf(os.Stderr, "  latency: p50 %v, p99 %v, max %v\n", l.P50, l.P99, l.Max)
	}
	return float64(l.P99) / float64(time.Millisecond), err
}
