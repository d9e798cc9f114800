// Command soak uses Sluice for a while as many users at once would, kills an
// emitter every other minute, and says two things: whether every subscription
// got every event, in order; and whether anything grows that should not:
// memory, goroutines, descriptors, consumers and what lies in Sluice's own
// buckets.
//
// The nats-server and the services are processes of their own, on loopback.
// It works on Linux, and ends with 1 where something was lost or grows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "soak:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// options of a soak.
type options struct {
	time          time.Duration // of load
	rate          int           // events a second
	subscriptions int
	names         float64       // subscribed to and unsubscribed again, a second
	retention     time.Duration // of names that are gone
	kill          time.Duration // time between two kills; an emitter is back after a tenth of it, at most 5 s
	sample        time.Duration // time between two samples
	patience      time.Duration // how long everything may take to arrive, once nothing more is published
	series        string        // file for the samples
}

func parse(args []string) (options, error) {
	o := options{patience: 2 * time.Minute}
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.DurationVar(&o.time, "time", 20*time.Minute, "how long there is load, at least 10s")
	f.IntVar(&o.rate, "rate", 300, "events published a second")
	f.IntVar(&o.subscriptions, "subscriptions", 200, "steady subscriptions, of eight kinds of selectors")
	f.Float64Var(&o.names, "names", 3, "further subscriptions a second, each under a new name and removed after some seconds")
	f.DurationVar(&o.retention, "retention", time.Minute, "how long Sluice remembers names that are gone")
	f.DurationVar(&o.kill, "kill", 2*time.Minute, "time between two kills of an emitter; 0 kills none")
	f.DurationVar(&o.sample, "sample", 10*time.Second, "time between two samples")
	f.StringVar(&o.series, "series", "", "also write the samples to this `file`, one JSON object a line")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%q: there are only flags; --help lists them", f.Arg(0))
	case o.time < 10*time.Second:
		return o, fmt.Errorf("-time %s: want at least 10s", o.time)
	case o.rate < 1 || o.rate > 20_000:
		return o, fmt.Errorf("-rate %d: want 1 to 20000", o.rate)
	case o.subscriptions < len(kinds()) || o.subscriptions > 10_000:
		return o, fmt.Errorf("-subscriptions %d: want %d to 10000", o.subscriptions, len(kinds()))
	case o.names < 0 || o.names > 100:
		return o, fmt.Errorf("-names %g: want 0 to 100", o.names)
	case o.sample < time.Second || o.sample > o.time/6:
		return o, fmt.Errorf("-sample %s: want 1s to a sixth of -time", o.sample)
	}
	return o, nil
}

// run soaks, prints what came of it, and returns an error where that is bad.
func run(ctx context.Context, o options, out *os.File) (err error) {
	bins, err := lab.Binaries()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bins)) }()
	w, err := lab.Open(ctx, bins)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	s, err := start(ctx, w, o)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("soak: %s, %d events/s, %d subscriptions, %g names/s\n", o.time, o.rate, o.subscriptions, o.names)
	if _, err := out.WriteString(head); err != nil {
		return err
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	late := s.settle(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text, bad := s.report(late)
	_, err = out.WriteString(text)
	return errors.Join(bad, err)
}

// soak is a world under load.
type soak struct {
	o     options
	w     *lab.World
	c     *client.Client
	subs  []*subscription
	calls calls
	watch *watch
}

// start brings up the services and the steady subscriptions.
func start(ctx context.Context, w *lab.World, o options) (*soak, error) {
	c, err := client.New(w.NC, client.WithTimeout(10*time.Second))
	if err != nil {
		return nil, err
	}
	s := &soak{o: o, w: w, c: c}
	if err := makeStore(ctx, w); err != nil {
		return nil, err
	}
	s.watch = newWatch(w)
	for _, p := range []struct{ role, service string }{
		{"registry", wire.ServiceRegistry},
		{"emitter", wire.ServiceEmitter},
		{"healthmon", wire.ServiceHealthmon},
		{"replayer", wire.ServiceReplayer},
	} {
		proc, err := w.Service(ctx, p.service, s.env()...)
		if err != nil {
			return nil, err
		}
		s.watch.processes = append(s.watch.processes, watched{p.role, proc})
	}
	for i := range o.subscriptions {
		sub := newSubscription(i)
		if err := sub.listen(w.NC); err != nil {
			return nil, err
		}
		s.subs = append(s.subs, sub)
		if err := s.calls.do("subscribe", func() error {
			_, err := c.Subscribe(ctx, sub.name, sub.spec())
			return err
		}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// env makes what is kept for days by default level off within minutes.
func (s *soak) env() []string {
	return []string{"SLUICE_NAMES_RETENTION=" + s.o.retention.String(), "SLUICE_MAX_ADVISORIES_BYTES=1048576"}
}

// load does everything at once, for the time that was asked for. Only what ends
// the soak is an error: a request that fails is counted.
func (s *soak) load(ctx context.Context) error {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, s.o.time)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for _, work := range []func(context.Context) error{
		s.publish, s.useNames, s.pause, s.seek, s.vanish, s.killEmitters,
		func(ctx context.Context) error { return s.watch.run(ctx, s.o.sample) },
	} {
		g.Go(func() error { return work(ctx) })
	}
	err := g.Wait()
	if whole.Err() != nil {
		return whole.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return nil
	}
	return err
}

// every calls f at an interval until ctx ends. It returns f's first error.
func every(ctx context.Context, interval time.Duration, f func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := f(); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
	}
}
