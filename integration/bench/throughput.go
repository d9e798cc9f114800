package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	store      = "BENCH"
	target     = "bench.target"
	workerArg  = "-worker"
	eventBytes = 256
	keys       = 1000
)

// fill creates the store and publishes n events of 256 bytes with two headers,
// over 1,000 subjects.
func fill(ctx context.Context, w *world, n int) error {
	_, err := w.js.CreateStream(ctx, jetstream.StreamConfig{Name: store, Subjects: []string{"bench.events.>"}, Storage: jetstream.FileStorage})
	if err != nil {
		return err
	}
	body := make([]byte, eventBytes)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	for i := range n {
		m := nats.NewMsg("bench.events." + strconv.Itoa(i%keys) + ".created")
		m.Header.Set("x-region", "eu")
		m.Header.Set("x-trace", strconv.Itoa(i))
		m.Data = body
		if _, err := w.js.PublishMsgAsync(m, jetstream.WithStallWait(20*time.Second)); err != nil {
			return err
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sluiceAck measures from the subscribe request to the last event's answer.
func sluiceAck(ctx context.Context, w *world, o options) (float64, error) {
	if err := fill(ctx, w, o.events); err != nil {
		return 0, err
	}
	for _, s := range []string{"registry", "emitter"} {
		if err := w.service(ctx, s); err != nil {
			return 0, err
		}
	}
	lines, err := w.startWorker(ctx, "answer", strconv.Itoa(o.events))
	if err != nil {
		return 0, err
	}
	if err := await(lines, "ready"); err != nil {
		return 0, err
	}
	c, err := client.New(w.nc)
	if err != nil {
		return 0, err
	}
	if err := emitterThere(ctx, w); err != nil {
		return 0, err
	}
	var begin time.Time
	err = eventually(ctx, func() error {
		begin = time.Now()
		_, err := c.Subscribe(ctx, "bench", client.Spec{
			Store:    store,
			Selector: client.Selector{ByStream: []string{wire.AllStreams}},
			Start:    client.FromAll(),
			Deliver:  client.Deliver{Subject: target},
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	return rate(lines, begin, o.events)
}

// emitterThere waits until an emitter has announced itself.
func emitterThere(ctx context.Context, w *world) error {
	return eventually(ctx, func() error {
		_, err := w.nc.RequestWithContext(ctx, "$SRV.PING."+wire.DefaultNamespace.MicroName(wire.ServiceEmitter), nil)
		return err
	})
}

// nativeAck measures from the creation of the consumer to the last event's ack.
func nativeAck(ctx context.Context, w *world, o options) (float64, error) {
	if err := fill(ctx, w, o.events); err != nil {
		return 0, err
	}
	lines, err := w.startWorker(ctx, "pull", strconv.Itoa(o.events))
	if err != nil {
		return 0, err
	}
	if err := await(lines, "ready"); err != nil {
		return 0, err
	}
	begin := time.Now()
	return rate(lines, begin, o.events)
}

func await(lines *bufio.Scanner, want string) error {
	if !lines.Scan() {
		return fmt.Errorf("the worker ended before it said %q: %w", want, lines.Err())
	}
	if lines.Text() != want {
		return fmt.Errorf("the worker said %q, not %q", lines.Text(), want)
	}
	return nil
}

func rate(lines *bufio.Scanner, begin time.Time, n int) (float64, error) {
	if err := await(lines, "done"); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

// work is what a worker process does.
func work(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("worker: want a URL, a job and a number")
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer nc.Close()
	done := make(chan error, 1)
	switch args[1] {
	case "answer":
		err = answer(nc, n, done)
	case "pull":
		err = pull(ctx, nc, n, done)
	default:
		err = fmt.Errorf("worker: no job %q", args[1])
	}
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		if err == nil {
			err = nc.Flush()
		}
		if err == nil {
			fmt.Println("done")
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer is a subscriber that acks every delivery and counts distinct events.
func answer(nc *nats.Conn, n int, done chan<- error) error {
	seen, count := make([]bool, n+1), 0
	sub, err := nc.Subscribe(target, func(m *nats.Msg) {
		if err := m.Respond(nil); err != nil {
			done <- err
			return
		}
		seq, err := strconv.Atoi(m.Header.Get(wire.HeaderSequence))
		if err != nil || seq < 1 || seq > n {
			done <- fmt.Errorf("sequence %d: want 1 to %d: %w", seq, n, err)
			return
		}
		if !seen[seq] {
			seen[seq] = true
			if count++; count == n {
				done <- nil
			}
		}
	})
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	fmt.Println("ready")
	return nil
}

// pull is a native durable consumer with explicit acks.
func pull(ctx context.Context, nc *nats.Conn, n int, done chan<- error) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	cons, err := js.CreateConsumer(ctx, store, jetstream.ConsumerConfig{
		Durable: "native", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
	})
	if err != nil {
		return err
	}
	count := 0
	_, err = cons.Consume(func(m jetstream.Msg) {
		if err := m.Ack(); err != nil {
			done <- err
			return
		}
		if count++; count == n {
			done <- nil
		}
	}, jetstream.PullMaxMessages(5000))
	return err
}
