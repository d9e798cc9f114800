package pool_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// lastReply is a connection that sends nothing.
type lastReply struct{ reply string }

func (p *lastReply) PublishMsg(m *nats.Msg) error {
	p.reply = m.Reply
	return nil
}

// BenchmarkPoolAck is the life of an event inside the pool: offered, sent, acked.
func BenchmarkPoolAck(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	tm := timers.New()
	go func() { _ = tm.Run(ctx) }()
	pub := &lastReply{}
	p, err := pool.New(pool.Config{
		Config:       core.Config{Record: &wire.Record{Name: "triage", Spec: spec()}, Budget: core.NewBudget(1 << 30)},
		AnswerPrefix: prefix, Publish: pub.PublishMsg, Carriers: &pool.Carriers{}, Timers: tm,
		Notify: func(core.Notice) {}, Moved: func() {},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	events := make([]*event.Event, 0, 1024)
	b.ReportAllocs()
	for seq := uint64(1); b.Loop(); seq++ {
		if len(events) == 0 {
			b.StopTimer()
			for i := range uint64(cap(events)) {
				events = append(events, makeEvent(seq+i, fmt.Sprintf("k%d.x", i%64), nats.Header{"a": {"1"}, "b": {"2"}}, 256))
			}
			b.StartTimer()
		}
		if !p.Offer(events[0]) {
			b.Fatal("no room")
		}
		events = events[1:]
		if len(events) == 0 {
			events = make([]*event.Event, 0, 1024)
		}
		p.Flush()
		if !p.Answer(pub.reply[len(prefix):], nil, nil) {
			b.Fatal("not settled")
		}
	}
}
