package main

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	store      = "BENCH"
	eventBytes = 256
	keys       = 1000 // subjects of the events
	headerSent = "x-sent"
)

// subjectOf is the subject of the events of a key.
func subjectOf(key int) string { return "bench.events." + strconv.Itoa(key) + ".created" }

// makeStore creates the stream that events are published to.
func (w *world) makeStore(ctx context.Context) error {
	_, err := w.JS.CreateStream(ctx, jetstream.StreamConfig{
		Name: store, Subjects: []string{"bench.events.>"}, Storage: jetstream.FileStorage, MaxConsumers: -1,
	})
	return err
}

// publisher publishes events of one size, with two headers.
type publisher struct {
	w       *world
	subject func(i int) string // of event i, from 0
	body    []byte
	next    int
}

func (w *world) publisher(keys int) *publisher { return w.publisherOf(keys, eventBytes) }

// publisherOf takes keys in turn.
func (w *world) publisherOf(keys, size int) *publisher {
	return w.publisherTo(func(i int) string { return subjectOf(i % keys) }, size)
}

func (w *world) publisherTo(subject func(int) string, size int) *publisher {
	body := make([]byte, size)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	return &publisher{w: w, subject: subject, body: body}
}

// send publishes the next event without waiting for the store. A time that is
// not zero goes with it.
func (p *publisher) send(at time.Time) error {
	m := nats.NewMsg(p.subject(p.next))
	m.Header.Set("x-region", "eu")
	sent := "0"
	if !at.IsZero() {
		sent = strconv.FormatInt(at.UnixNano(), 10)
	}
	m.Header.Set(headerSent, sent)
	m.Data = p.body
	p.next++
	_, err := p.w.JS.PublishMsgAsync(m, jetstream.WithStallWait(20*time.Second))
	return err
}

// sentAt is when an event was to be published, in nanoseconds since 1970; 0 if
// it does not say.
func sentAt(h nats.Header) int64 {
	v := h[headerSent]
	if len(v) != 1 {
		return 0
	}
	n, _ := strconv.ParseInt(v[0], 10, 64) // 0 is what a wrong one says
	return n
}

// burst publishes n events as fast as the store takes them and waits until it
// has them all.
func (p *publisher) burst(ctx context.Context, n int) error {
	for range n {
		if err := p.send(time.Time{}); err != nil {
			return err
		}
	}
	return p.wait(ctx)
}

func (p *publisher) wait(ctx context.Context) error {
	select {
	case <-p.w.JS.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pace publishes n events at a rate a second, each due at its own time whatever
// became of those before (open loop), and stamped with that time.
func (p *publisher) pace(ctx context.Context, n, rate int) error {
	begin := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent := 0; sent < n; {
		due := min(n, int(time.Since(begin).Seconds()*float64(rate)))
		for ; sent < due; sent++ {
			at := begin.Add(time.Duration(float64(sent) / float64(rate) * float64(time.Second)))
			if err := p.send(at); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return p.wait(ctx)
}

// fill makes the store and puts n events of a size into it.
func (w *world) fill(ctx context.Context, n, size int) error {
	if err := w.makeStore(ctx); err != nil {
		return err
	}
	return w.publisherOf(keys, size).burst(ctx, n)
}
