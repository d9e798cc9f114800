package main

import (
	"context"
	"slices"
	"time"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/wire"
)

// largeTimeout bounds one side of a round with many subscriptions.
const largeTimeout = 10 * time.Minute

// largeRounds are enough for what takes so long to set up.
const largeRounds = 2

func larges() []benchmark {
	row := func(name, unit string, goal goal, about string, measure func(context.Context, *installation, int) (float64, error)) benchmark {
		return benchmark{name: name, unit: unit, goal: goal, about: about, timeout: largeTimeout, most: largeRounds, sluice: ofMany(measure)}
	}
	return []benchmark{
		row("takeover_50k", "s", atMost(6),
			"from the kill of one of two emitters to all 50,000 subscriptions live", takeover),
		row("join_50k", "s", atMost(15),
			"from the start of a second emitter to 50,000 subscriptions shared and live", join),
		row("cold_start_50k", "s", atMost(15),
			"from the start of all services, killed before, to all 50,000 subscriptions live", startAnew),
		row("rest_50k_emitter", "%", atMost(4),
			"processor time of the emitter while nothing happens to 50,000 subscriptions", atRestOf(wire.ServiceEmitter)),
		row("rest_50k_healthmon", "%", atMost(3),
			"the same of the health monitor", atRestOf(wire.ServiceHealthmon)),
	}
}

// ofMany measures an installation of all services that has many subscriptions,
// all of them live.
func ofMany(measure func(ctx context.Context, in *installation, n int) (float64, error)) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		n := o.scale(50_000, 3_000)
		in, _, err := installWith(ctx, w, n)
		if err != nil {
			return 0, err
		}
		return measure(ctx, in, n)
	}
}

func takeover(ctx context.Context, in *installation, n int) (float64, error) {
	_, taken, err := in.takeover(ctx, n)
	return taken.Seconds(), err
}

func join(ctx context.Context, in *installation, n int) (float64, error) {
	joined, _, err := in.takeover(ctx, n)
	return joined.Seconds(), err
}

// startAnew kills all services and starts them again.
func startAnew(ctx context.Context, in *installation, n int) (float64, error) {
	owner, err := in.w.live(ctx, n, "")
	if err != nil {
		return 0, err
	}
	for _, p := range in.processes[1:] { // all but the server
		p.Kill()
	}
	begin := time.Now()
	if _, err := install(ctx, in.w); err != nil {
		return 0, err
	}
	if _, err := in.w.live(ctx, n, owner); err != nil {
		return 0, err
	}
	return time.Since(begin).Seconds(), nil
}

// atRestOf measures a service over a minute, in which each does at least once
// what it does from time to time.
func atRestOf(name string) func(context.Context, *installation, int) (float64, error) {
	return func(ctx context.Context, in *installation, _ int) (float64, error) {
		settled, measured := atRest, time.Minute
		if in.w.o.short {
			settled, measured = time.Second, 2*time.Second
		}
		if err := lab.Pause(ctx, settled); err != nil {
			return 0, err
		}
		at := slices.IndexFunc(in.processes, func(p *lab.Process) bool { return p.Name == name })
		return in.processes[at].Load(ctx, measured)
	}
}
