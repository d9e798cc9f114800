package main

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/wire"
)

func colds() []benchmark {
	return []benchmark{
		{
			name: "cold_start_10k", unit: "s", goal: atMost(10),
			about:  "from the start of an emitter to all 10,000 subscriptions live, their last owner killed",
			sluice: coldStart,
		},
		{
			name: "memory_idle", unit: "KiB", goal: atMost(8),
			about:  "resident memory of the emitter for each of 10,000 idle subscriptions",
			sluice: memoryIdle,
		},
	}
}

// coldStart has an emitter claim everything, kills it, and measures the next one.
func coldStart(ctx context.Context, w *world, o options) (float64, error) {
	n := tenThousand(o)
	first, err := w.idle(ctx, n)
	if err != nil {
		return 0, err
	}
	owner, err := w.live(ctx, n, "")
	if err != nil {
		return 0, err
	}
	first.Kill()
	begin := time.Now()
	if _, err := w.service(ctx, wire.ServiceEmitter); err != nil {
		return 0, err
	}
	if _, err := w.live(ctx, n, owner); err != nil {
		return 0, err
	}
	return time.Since(begin).Seconds(), nil
}

// idle makes n subscriptions to a store in which nothing happens, and returns
// the emitter once it serves them.
func (w *world) idle(ctx context.Context, n int) (*lab.Process, error) {
	if err := w.makeStore(ctx); err != nil {
		return nil, err
	}
	if _, err := w.service(ctx, wire.ServiceRegistry); err != nil {
		return nil, err
	}
	emitter, err := w.service(ctx, wire.ServiceEmitter)
	if err != nil {
		return nil, err
	}
	if err := w.subscribe(ctx, n, ofKey); err != nil {
		return nil, err
	}
	_, err = w.live(ctx, n, "")
	return emitter, err
}

// memoryIdle compares the emitter with one that has a single subscription.
func memoryIdle(ctx context.Context, w *world, o options) (float64, error) {
	n := tenThousand(o)
	emitter, err := w.idle(ctx, 1)
	if err != nil {
		return 0, err
	}
	before, err := residentAtRest(ctx, settle(o, 1), emitter)
	if err != nil {
		return 0, err
	}
	if err := w.subscribe(ctx, n, ofKey); err != nil {
		return 0, err
	}
	if _, err := w.live(ctx, n, ""); err != nil {
		return 0, err
	}
	after, err := residentAtRest(ctx, settle(o, 7), emitter)
	return float64(after-before) / float64(n-1), err
}

// settle is how long the resident memory must not have shrunk to count: a
// process gives back what it does not need some five seconds after its work. A
// short run waits for so many seconds only.
func settle(o options, short int) time.Duration {
	return time.Duration(o.scale(12, short)) * time.Second
}

// residentAtRest is the resident memory of a process in KiB, once it has not
// shrunk for a while.
func residentAtRest(ctx context.Context, settled time.Duration, p *lab.Process) (int, error) {
	least, since := 0, time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := p.Resident()
		if err != nil {
			return 0, err
		}
		if least == 0 || now < least {
			least, since = now, time.Now()
		}
		if time.Since(since) > settled {
			return least, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
