package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// namesRetention is the day of the default, shortened. What is over is kept
	// in memory for that and the 30 s between two listings: namesWarm is longer.
	namesRetention = 4 * time.Second
	namesWarm      = 40 * time.Second
	namesRate      = 140                    // subscriptions a second
	namesLive      = 250 * time.Millisecond // each of them
	namesEvery     = 2 * time.Second        // between two looks

	heapOf   = "heap of "
	ofServer = heapOf + "nats-server"
)

func names() []benchmark {
	return []benchmark{{
		name: "names_once", unit: "times", goal: atMost(1.15), most: 1,
		about:  "18,000 names used once, retention shortened: largest growth of a service's memory or of the buckets, last third against first",
		sluice: namesOnce,
	}}
}

// namesOnce makes subscriptions and removes them again, each under a name of its
// own. It returns the largest growth of the live memory of a service, and of the
// messages in the buckets together. The nats-server's memory is only shown: it
// moves with the buffers of the blocks that it writes, of up to 8 MB each.
func namesOnce(ctx context.Context, w *world, o options) (float64, error) {
	if err := w.makeStore(ctx); err != nil {
		return 0, err
	}
	in, err := install(ctx, w, "SLUICE_NAMES_RETENTION="+namesRetention.String(),
		"SLUICE_HEALTH_INTERVAL=500ms", "SLUICE_MAX_ADVISORIES_BYTES=1048576") // soon reached
	if err != nil {
		return 0, err
	}
	if err := w.useOnce(ctx, "warm", int(namesWarm.Seconds())*namesRate); err != nil {
		return 0, err
	}
	g, gctx := errgroup.WithContext(ctx)
	using, done := context.WithCancel(gctx)
	var seen []map[string]float64
	g.Go(func() error {
		defer done()
		return w.useOnce(gctx, "name", o.scale(18_000, 3_600))
	})
	g.Go(func() (err error) {
		seen, err = w.look(gctx, using.Done(), in.processes)
		return err
	})
	if err := g.Wait(); err != nil {
		return 0, err
	}
	return growth(seen, o), nil
}

// useOnce makes n subscriptions at a rate, and removes each a moment later.
func (w *world) useOnce(ctx context.Context, prefix string, n int) error {
	c, err := client.New(w.NC)
	if err != nil {
		return err
	}
	due := time.NewTicker(time.Second / namesRate)
	defer due.Stop()
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		select {
		case <-ctx.Done():
			return g.Wait()
		case <-due.C:
		}
		g.Go(func() error {
			name := prefix + "-" + strconv.Itoa(i)
			if _, err := c.Subscribe(ctx, name, ofKey(i)); err != nil {
				return fmt.Errorf("subscribe %s: %w", name, err)
			}
			if err := lab.Pause(ctx, namesLive); err != nil {
				return err
			}
			if _, err := c.Unsubscribe(ctx, name); err != nil {
				return fmt.Errorf("unsubscribe %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// look measures, again and again until done, what may grow.
func (w *world) look(ctx context.Context, done <-chan struct{}, processes []*lab.Process) (seen []map[string]float64, err error) {
	next := time.NewTicker(namesEvery)
	defer next.Stop()
	for {
		now := map[string]float64{}
		for _, p := range processes {
			u, err := p.Usage(ctx)
			if err != nil {
				return nil, err
			}
			now[heapOf+p.Name] = float64(u.Heap)
		}
		ns := wire.DefaultNamespace
		for _, bucket := range []string{ns.BucketSubscriptions(), ns.BucketPools(), ns.BucketHealth()} {
			s, err := w.JS.Stream(ctx, "KV_"+bucket)
			if err != nil {
				return nil, err
			}
			now["messages in the buckets"] += float64(s.CachedInfo().State.Msgs)
		}
		seen = append(seen, now)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-done:
			return seen, nil
		case <-next.C:
		}
	}
}

// growth is the largest ratio of the median of the last third to that of the first.
func growth(seen []map[string]float64, o options) (most float64) {
	third := max(len(seen)/3, 1)
	var said []string
	for what := range seen[0] {
		first, last := typical(seen[:third], what), typical(seen[len(seen)-third:], what)
		if what != ofServer {
			most = max(most, last/first)
		}
		said = append(said, fmt.Sprintf("%s %.0f to %.0f", what, first, last))
	}
	if o.verbose {
		fmt.Fprintln(os.Stderr, "  "+strings.Join(said, ", "))
	}
	return most
}

func typical(seen []map[string]float64, what string) float64 {
	var vs []float64
	for _, s := range seen {
		vs = append(vs, s[what])
	}
	m, _ := median(vs)
	return m
}
