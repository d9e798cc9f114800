package feed

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How fast a stream of small messages is read, beside the client library's
// ordered consumer: what one run says of both can be compared.
func BenchmarkRead(b *testing.B) {
	const events = 200_000
	bed := newBed(b, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage })
	for i := range events {
		m := &nats.Msg{Subject: fmt.Sprintf("e.%d", i%100), Data: []byte("0123456789"), Header: nats.Header{"ce-type": {"made"}}}
		if _, err := bed.js.PublishMsgAsync(m); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 0 {
			<-bed.js.PublishAsyncComplete()
		}
	}
	<-bed.js.PublishAsyncComplete()
	readers := map[string]func(ctx context.Context, handle func(seq uint64)) error{
		"feed": func(ctx context.Context, handle func(uint64)) error {
			return New(bed.js, Config{Stream: "EVENTS", Owner: owner}).Run(ctx, func(m Msg) { handle(m.Sequence) })
		},
		"ordered": func(ctx context.Context, handle func(uint64)) error {
			cons, err := bed.js.OrderedConsumer(ctx, "EVENTS", jetstream.OrderedConsumerConfig{})
			if err != nil {
				return err
			}
			cc, err := cons.Consume(func(m jetstream.Msg) {
				meta, err := m.Metadata()
				if err != nil {
					b.Error(err)
					return
				}
				handle(meta.Sequence.Stream)
			}, jetstream.PullMaxMessagesWithBytesLimit(4096, 8<<20))
			if err != nil {
				return err
			}
			<-ctx.Done()
			cc.Stop()
			<-cc.Closed()
			return nil
		},
	}
	for _, name := range []string{"ordered", "feed"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithCancel(context.Background())
				err := readers[name](ctx, func(seq uint64) {
					if seq == events {
						cancel()
					}
				})
				cancel()
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
