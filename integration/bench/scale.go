package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// survey measures several things of one installation of a size. It adds each
// to the sweep it belongs to.
type survey func(ctx context.Context, w *world, x int, add func(sweep, line string, value float64, unit string)) error

// atRest is over how long the processor time at rest is measured.
const atRest = 20 * time.Second

// installation is all four services with subscriptions, in the order of their start.
type installation struct {
	w         *world
	processes []*lab.Process // the server first
}

// install starts one of each service, with env beside what all get.
func install(ctx context.Context, w *world, env ...string) (*installation, error) {
	in := &installation{w: w, processes: []*lab.Process{w.Server}}
	for _, name := range []string{wire.ServiceRegistry, wire.ServiceEmitter, wire.ServiceHealthmon, wire.ServiceReplayer} {
		p, err := w.service(ctx, name, env...)
		if err != nil {
			return nil, err
		}
		in.processes = append(in.processes, p)
	}
	return in, nil
}

// installWith is install with n subscriptions to one store, each to one subject
// and live. It returns how long these took.
func installWith(ctx context.Context, w *world, n int) (in *installation, took time.Duration, err error) {
	if err := w.makeStore(ctx); err != nil {
		return nil, 0, err
	}
	if in, err = install(ctx, w); err != nil {
		return nil, 0, err
	}
	begin := time.Now()
	if err := w.subscribe(ctx, n, ofKey); err != nil {
		return nil, 0, err
	}
	_, err = w.live(ctx, n, "")
	return in, time.Since(begin), err
}

// bySubscriptions surveys one store with n subscriptions.
func bySubscriptions(ctx context.Context, w *world, n int, add func(string, string, float64, string)) error {
	in, took, err := installWith(ctx, w, n)
	if err != nil {
		return err
	}
	add("seconds", "subscribe to all, until live", took.Seconds(), "s")
	if err := in.checks(ctx, add); err != nil {
		return err
	}
	if err := in.rest(ctx, add); err != nil {
		return err
	}
	joined, taken, err := in.takeover(ctx, n)
	if err != nil {
		return err
	}
	add("seconds", "second emitter, until shared", joined.Seconds(), "s")
	add("seconds", "emitter killed, until all are live", taken.Seconds(), "s")
	return nil
}

// checks asks for the health twice.
func (in *installation) checks(ctx context.Context, add func(string, string, float64, string)) error {
	c, err := client.New(in.w.NC, client.WithTimeout(time.Minute))
	if err != nil {
		return err
	}
	for _, which := range []string{"first health.check", "later health.check"} {
		begin := time.Now()
		if _, err := c.CheckHealth(ctx); err != nil {
			return fmt.Errorf("%s: %w", which, err)
		}
		add("seconds", which, time.Since(begin).Seconds(), "s")
	}
	return nil
}

// rest measures memory, and processor time while nothing happens.
func (in *installation) rest(ctx context.Context, add func(string, string, float64, string)) error {
	if err := lab.Pause(ctx, atRest/2); err != nil {
		return err
	}
	before, calls, err := in.used(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := lab.Pause(ctx, atRest); err != nil {
		return err
	}
	after, callsAfter, err := in.used(ctx)
	if err != nil {
		return err
	}
	took := time.Since(begin).Seconds()
	for i, p := range in.processes {
		add("cpu", p.Name, 100*(after[i]-before[i]).Seconds()/took, "%")
		u, err := p.Usage(ctx)
		if err != nil {
			return err
		}
		add("memory", p.Name, float64(u.Resident)/1024, "MB")
		add("goroutines", p.Name, float64(u.Goroutines), "goroutines")
	}
	add("calls", "JetStream API", float64(callsAfter-calls)/took, "calls/s")
	return nil
}

func (in *installation) used(ctx context.Context) (cpu []time.Duration, calls uint64, err error) {
	for _, p := range in.processes {
		t, err := p.CPU()
		if err != nil {
			return nil, 0, err
		}
		cpu = append(cpu, t)
	}
	calls, err = in.w.APICalls(ctx)
	return cpu, calls, err
}

// takeover starts a second emitter, and kills it once each has about half of the
// pools. It returns how long it took until both shared, and until the
// first had all again.
func (in *installation) takeover(ctx context.Context, n int) (joined, taken time.Duration, err error) {
	first, err := in.w.live(ctx, n, "")
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	second, err := in.w.service(ctx, wire.ServiceEmitter)
	if err != nil {
		return 0, 0, err
	}
	killed, err := in.w.shared(ctx, n, first)
	if err != nil {
		return 0, 0, err
	}
	joined = time.Since(begin)
	begin = time.Now()
	second.Kill()
	_, err = in.w.live(ctx, n, killed)
	return joined, time.Since(begin), err
}

// byStores surveys x stores of five subscriptions each.
func byStores(ctx context.Context, w *world, x int, add func(string, string, float64, string)) error {
	in, err := install(ctx, w)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := w.liveStores(ctx, x); err != nil {
		return err
	}
	add("seconds", "make and subscribe to all, until live", time.Since(begin).Seconds(), "s")
	if err := in.checks(ctx, add); err != nil {
		return err
	}
	return in.rest(ctx, add)
}

func storeName(i int) string { return "BENCH-" + strconv.Itoa(i) }

func (w *world) makeStores(ctx context.Context, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(asking)
	for i := range n {
		g.Go(func() error {
			_, err := w.JS.CreateStream(ctx, jetstream.StreamConfig{Name: storeName(i), Subjects: []string{storeSubject(i) + ".>"}})
			return err
		})
	}
	return g.Wait()
}

// liveStores makes n stores of five subscriptions each, and waits until all are live.
func (w *world) liveStores(ctx context.Context, n int) error {
	if err := w.makeStores(ctx, n); err != nil {
		return err
	}
	if err := w.subscribe(ctx, 5*n, ofStore); err != nil {
		return err
	}
	_, err := w.live(ctx, 5*n, "")
	return err
}

func storeSubject(i int) string { return "bench.stores." + strconv.Itoa(i) }

// ofStore is a subscription of which five have a store together.
func ofStore(i int) client.Spec {
	s := subscription(i)
	s.Store = storeName(i / 5)
	s.Selector.ByStream = []string{fmt.Sprintf("%s.%d.*", storeSubject(i/5), i%5)}
	return s
}
