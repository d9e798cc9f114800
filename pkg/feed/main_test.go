package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var owner = Owner{Namespace: "sluice", Service: "emitter", Instance: "emitter-1"}

// bed is a stream of the subjects e.>, and a client of it.
type bed struct {
	t      testing.TB
	server *natstest.Server
	js     jetstream.JetStream
	stream jetstream.Stream
}

func newBed(t testing.TB, edit func(*jetstream.StreamConfig)) *bed {
	t.Helper()
	b := &bed{t: t, server: natstest.Start(t)}
	b.js = b.server.JetStream()
	cfg := jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"e.>"}}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if b.stream, err = b.js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

// publish stores events with the numbers from..to as their bodies.
func (b *bed) publish(from, to int) {
	b.t.Helper()
	for i := from; i <= to; i++ {
		b.store(&nats.Msg{Subject: fmt.Sprintf("e.%d", i%10), Data: fmt.Append(nil, i)})
	}
}

func (b *bed) store(m *nats.Msg) {
	b.t.Helper()
	if _, err := b.js.PublishMsg(b.t.Context(), m); err != nil {
		b.t.Fatal(err)
	}
}

// consumers are the names of the stream's consumers.
func (b *bed) consumers() (names []string) {
	l := b.stream.ListConsumers(b.t.Context())
	for c := range l.Info() {
		names = append(names, c.Name)
	}
	if err := l.Err(); err != nil {
		b.t.Fatal(err)
	}
	return names
}

// awaitNoConsumers waits for the end of what was deleted: a Feed does not wait
// for that for ever.
func (b *bed) awaitNoConsumers() {
	b.t.Helper()
	natstest.Await(b.t, "no consumer to be left", func() error {
		if left := b.consumers(); len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
}

// counting counts the consumers that were asked for.
type counting struct {
	jetstream.JetStream
	made atomic.Int64
}

func (c *counting) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	c.made.Add(1)
	return c.JetStream.CreateConsumer(ctx, stream, cfg)
}

// tape is what a running Feed has handed over.
type tape struct {
	feed *Feed
	js   *counting
	gate <-chan struct{} // nil: open
	stop func() error    // ends Run and returns what that returns

	mu     sync.Mutex
	msgs   []Msg
	states []State
	listed []int // after how many messages
}

// run runs a Feed until the test ends.
func (b *bed) run(cfg Config) *tape {
	b.t.Helper()
	return b.runGated(cfg, nil)
}

// runGated runs a Feed whose handler waits until the gate is closed.
func (b *bed) runGated(cfg Config, gate <-chan struct{}) *tape {
	b.t.Helper()
	tp := &tape{js: &counting{JetStream: b.js}, gate: gate}
	cfg.Stream, cfg.Owner, cfg.Purpose, cfg.Log = "EVENTS", owner, "reads events", zerolog.Nop()
	cfg.OnState = func(s State) { tp.mu.Lock(); defer tp.mu.Unlock(); tp.states = append(tp.states, s) }
	cfg.OnListed = func() { tp.mu.Lock(); defer tp.mu.Unlock(); tp.listed = append(tp.listed, len(tp.msgs)) }
	tp.feed = New(tp.js, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tp.feed.Run(ctx, tp.take) }()
	tp.stop = sync.OnceValue(func() error { cancel(); return <-done })
	b.t.Cleanup(func() {
		if err := tp.stop(); err != nil {
			b.t.Errorf("Run = %v", err)
		}
	})
	return tp
}

func (tp *tape) take(m Msg) {
	if tp.gate != nil {
		<-tp.gate
	}
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.msgs = append(tp.msgs, m)
}

// has fails unless exactly the sequences of from..to came, in order.
func (tp *tape) has(from, to uint64) error {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	for i, m := range tp.msgs {
		if want := from + uint64(i); m.Sequence != want || want > to {
			return fmt.Errorf("message %d has sequence %d, want %d of at most %d", i, m.Sequence, want, to)
		}
	}
	if n := uint64(len(tp.msgs)); n < to-from+1 {
		return fmt.Errorf("%d of %d messages came", n, to-from+1)
	}
	return nil
}

// well fails if the last state that was told, if any was, is a trouble.
func (tp *tape) well() error {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if n := len(tp.states); n > 0 && tp.states[n-1] != (State{}) {
		return fmt.Errorf("state is %+v", tp.states[n-1])
	}
	return nil
}

// said fails unless the last state is what ok takes.
func (tp *tape) said(ok func(State) bool) error {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if len(tp.states) == 0 {
		return errors.New("no state was told")
	}
	if s := tp.states[len(tp.states)-1]; !ok(s) {
		return fmt.Errorf("state is %d times %w", s.Reopened, s.Err)
	}
	return nil
}
