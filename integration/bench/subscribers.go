package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
)

// subscribe takes deliveries as a plain NATS subscriber does. The last token of
// a delivery's subject is the number of its subscription.
func subscribe(nc *nats.Conn, j job, t *tally) error {
	handle := func(m *nats.Msg) {
		if j.Answer == answerAck {
			if err := m.Respond(nil); err != nil {
				t.fail(err)
				return
			}
		}
		seq, err := strconv.ParseUint(m.Header.Get(wire.HeaderSequence), 10, 64)
		if err != nil {
			t.fail(fmt.Errorf("a delivery without a sequence: %w", err))
			return
		}
		t.add(subscriptionOf(m.Subject, j), seq, m.Header)
	}
	switch j.Answer {
	case answerNever:
		handle = func(*nats.Msg) {}
	case answerNak:
		handle = func(m *nats.Msg) { _ = m.Respond([]byte("-NAK")) } // if it fails, that is as bad
	case answerLate:
		handle = func(m *nats.Msg) { time.AfterFunc(5*time.Second, func() { _ = m.Respond(nil) }) }
	}
	sub, err := nc.Subscribe(j.Subject, handle)
	if err != nil {
		return err
	}
	return sub.SetPendingLimits(-1, -1)
}

// subscriptionOf is the number of the subscription that a delivery is for,
// where each event goes to several of them.
func subscriptionOf(subject string, j job) int {
	if j.Subs == 1 {
		return 0
	}
	n, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
	if err != nil {
		return j.Subs // is found to be wrong by whoever counts
	}
	return n
}

// consume takes events from native durable pull consumers.
func consume(ctx context.Context, nc *nats.Conn, j job, t *tally) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	n := j.Subs
	if j.Filters > 0 {
		n = j.Filters
	}
	var mu sync.Mutex // each consumer has a goroutine of its own
	for i := range n {
		cfg := jetstream.ConsumerConfig{Durable: "native-" + strconv.Itoa(i), AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy}
		if j.Kind == kindExplicit {
			cfg.AckPolicy, cfg.MaxAckPending = jetstream.AckExplicitPolicy, 10_000
		}
		sub := i
		if j.Filters > 0 {
			cfg.FilterSubject, sub = subjectOf(i), 0
		}
		cons, err := js.CreateConsumer(ctx, store, cfg)
		if err != nil {
			return err
		}
		_, err = cons.Consume(func(m jetstream.Msg) {
			if j.Kind == kindExplicit {
				if err := m.Ack(); err != nil {
					t.fail(err)
					return
				}
			}
			meta, err := m.Metadata()
			if err != nil {
				t.fail(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			t.add(sub, meta.Sequence.Stream, m.Headers())
		}, jetstream.PullMaxMessages(prefetch(n, j)))
		if err != nil {
			return err
		}
	}
	return nil
}

// prefetch is how many messages each of n consumers asks for at once.
func prefetch(n int, j job) int {
	most := 5000
	if n > 1 {
		most = 100
	}
	if j.Bytes > 0 { // the server drops a client that has over 64 MB to read
		most = min(most, 16<<20/j.Bytes)
	}
	return most
}

// ordered takes events from a native ordered consumer.
func ordered(ctx context.Context, nc *nats.Conn, t *tally) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	cons, err := js.OrderedConsumer(ctx, store, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	_, err = cons.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			t.fail(err)
			return
		}
		t.add(0, meta.Sequence.Stream, m.Headers())
	}, jetstream.PullMaxMessages(5000))
	return err
}
