package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// targets is where deliveries go: subscription i's are on targets + i.
const targets = "bench.out."

// subscription is a Sluice subscription to everything, in mode ack.
func subscription(i int) client.Spec {
	return client.Spec{
		Store: store, Start: client.FromAll(),
		Selector: client.Selector{ByStream: []string{wire.AllStreams}},
		Deliver:  client.Deliver{Subject: targets + strconv.Itoa(i)},
	}
}

// ofKey is a Sluice subscription to the events of one key.
func ofKey(i int) client.Spec {
	s := subscription(i)
	s.Selector.ByStream = []string{subjectOf(i)}
	return s
}

// asking bounds the subscribe requests under way at once.
const asking = 64

// subscribe makes n subscriptions.
func (w *world) subscribe(ctx context.Context, n int, spec func(int) client.Spec) error {
	c, err := client.New(w.NC)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(asking)
	for i := range n {
		g.Go(func() error {
			if _, err := c.Subscribe(ctx, nameOf(i), spec(i)); err != nil {
				return fmt.Errorf("subscribe %d: %w", i, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func nameOf(i int) string { return "bench-" + strconv.Itoa(i) }

// live waits until n pools are live under an owner whose name is not that of
// an earlier one, which may be empty. It returns the owner.
func (w *world) live(ctx context.Context, n int, before string) (owner string, err error) {
	err = w.awaitPools(ctx, func(live map[string]int) bool {
		count := 0
		for name, pools := range live {
			if name != before {
				owner, count = name, count+pools
			}
		}
		return count >= n
	})
	return owner, err
}

// shared waits until n pools are live under two owners, of which each has at
// least two fifths. It returns the one that is not the first.
func (w *world) shared(ctx context.Context, n int, first string) (second string, err error) {
	err = w.awaitPools(ctx, func(live map[string]int) bool {
		for name, pools := range live {
			if name != first && 5*pools >= 2*n && 5*live[first] >= 2*n && pools+live[first] >= n {
				second = name
				return true
			}
		}
		return false
	})
	return second, err
}

// awaitPools watches the pools until done, which is given how many pools of
// each owner are live.
func (w *world) awaitPools(ctx context.Context, done func(live map[string]int) bool) error {
	kv, err := w.JS.KeyValue(ctx, wire.DefaultNamespace.BucketPools())
	if err != nil {
		return err
	}
	watch, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = watch.Stop() }() // the connection ends with the world
	owner, live := map[string]string{}, map[string]int{}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("pools live, by owner: %v: %w", live, ctx.Err())
		case e := <-watch.Updates():
			if e == nil || e.Operation() != jetstream.KeyValuePut {
				continue
			}
			var p wire.Pool
			if err := json.Unmarshal(e.Value(), &p); err != nil {
				return err
			}
			if was, ok := owner[e.Key()]; ok {
				live[was]--
				delete(owner, e.Key())
			}
			if p.State == wire.PoolLive {
				owner[e.Key()] = p.Owner
				live[p.Owner]++
			}
			if done(live) {
				return nil
			}
		}
	}
}
