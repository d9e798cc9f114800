package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/wire"
)

func rests() []benchmark {
	return []benchmark{
		{
			name: "stores_rest", unit: "requests/s", goal: atMost(50),
			about:  "requests to JetStream, those for messages too, for 1,000 stores with five subscriptions each and no events",
			sluice: storesRest(requestsAtRest),
		},
		{
			name: "stores_routines", unit: "goroutines", goal: atMost(1500),
			about:  "goroutines of the emitter then",
			sluice: storesRest(goroutinesAtRest),
		},
	}
}

// quietFor is over how long requests are counted, once that long has passed.
const quietFor = 30 * time.Second

// storesRest measures an emitter that reads many stores in which nothing happens.
func storesRest(measure func(context.Context, *world, *lab.Process) (float64, error)) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		stores := o.scale(1000, 100)
		if _, err := w.service(ctx, wire.ServiceRegistry); err != nil {
			return 0, err
		}
		emitter, err := w.service(ctx, wire.ServiceEmitter)
		if err != nil {
			return 0, err
		}
		if err := w.liveStores(ctx, stores); err != nil {
			return 0, err
		}
		if err := lab.Pause(ctx, quietFor); err != nil {
			return 0, err
		}
		return measure(ctx, w, emitter)
	}
}

// requestsAtRest counts what the server's API has answered, and the requests for
// messages, which the server does not count.
func requestsAtRest(ctx context.Context, w *world, _ *lab.Process) (float64, error) {
	asked := make(chan *nats.Msg, 1<<16)
	sub, err := w.NC.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT.>", asked)
	if err != nil {
		return 0, fmt.Errorf("subscribe to requests for messages: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection ends with the world
	before, err := w.APICalls(ctx)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := lab.Pause(ctx, quietFor); err != nil {
		return 0, err
	}
	after, err := w.APICalls(ctx)
	if err != nil {
		return 0, err
	}
	return float64(int(after-before)+len(asked)) / time.Since(begin).Seconds(), nil
}

func goroutinesAtRest(ctx context.Context, _ *world, emitter *lab.Process) (float64, error) {
	u, err := emitter.Usage(ctx)
	return float64(u.Goroutines), err
}
