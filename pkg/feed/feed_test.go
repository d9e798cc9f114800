package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
)

// protocolHeaders are what the server and client libraries say in headers.
func protocolHeaders() (hs []nats.Header) {
	for _, status := range []string{"100", "200", "400", "404", "408", "409", "412", "423", "503", "active", "shipped"} {
		hs = append(hs, nats.Header{"Status": {status}})
	}
	for _, description := range []string{
		"Idle Heartbeat", "FlowControl Request", "Request Timeout", "No Messages", "Consumer Deleted",
		"Leadership Change", "Message Size Exceeds MaxBytes", "Batch Completed", "Server Shutdown",
	} {
		hs = append(hs, nats.Header{"Status": {"409"}, "Description": {description}}, nats.Header{"Status": {"100"}, "Description": {description}})
	}
	for _, name := range []string{
		"Nats-Pin-Id", "Nats-Pending-Messages", "Nats-Pending-Bytes", "Nats-Last-Consumer", "Nats-Last-Stream",
		"Nats-Consumer-Stalled", "Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp", "Nats-Num-Pending",
		"Nats-Marker-Reason", "Nats-Service-Error", "Nats-Service-Error-Code", "KV-Operation", "Nats-Response-Type",
	} {
		hs = append(hs, nats.Header{name: {"503"}}, nats.Header{"Status": {"503"}, "Description": {"No Responders"}, name: {"1"}})
	}
	return hs
}

func TestWhatAMessageSaysNeverSteersTheFeed(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	var want []nats.Header
	hostile := func() {
		for _, body := range [][]byte{nil, []byte("body")} {
			for _, h := range protocolHeaders() {
				b.store(&nats.Msg{Subject: "e.hostile", Header: h, Data: body})
				b.store(&nats.Msg{Subject: "e.good", Data: []byte("good")})
				want = append(want, h, nil)
			}
		}
	}
	hostile()
	tp := b.run(Config{})
	n := uint64(len(want))
	natstest.Await(t, "what was stored before", func() error { return tp.has(1, n) })
	hostile()
	natstest.Await(t, "what is stored meanwhile", func() error { return tp.has(1, 2*n) })
	for i, m := range tp.msgs {
		for name, values := range want[i] {
			if !slices.Equal(m.Header[name], values) {
				t.Errorf("message %d: %s is %q, want %q", i, name, m.Header[name], values)
			}
		}
		if want[i] == nil && string(m.Data) != "good" {
			t.Errorf("message %d has body %q", i, m.Data)
		}
	}
	if made := tp.js.made.Load(); made != 1 {
		t.Errorf("%d consumers were made, want 1", made)
	}
}

func TestTheFeedGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		disturb func(t *testing.T, b *bed, tp *tape)
	}{
		{"after its consumer was deleted", func(t *testing.T, b *bed, _ *tape) {
			for _, name := range b.consumers() {
				if err := b.stream.DeleteConsumer(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"after the server was restarted", func(_ *testing.T, b *bed, _ *tape) { b.server.Restart() }},
		{"after the connection was lost", func(t *testing.T, b *bed, _ *tape) {
			if err := b.js.Conn().ForceReconnect(); err != nil {
				t.Fatal(err)
			}
		}},
		{"when asked to begin anew", func(_ *testing.T, _ *bed, tp *tape) { tp.feed.Reopen() }},
		{"after its consumer was paused, when asked to begin anew", func(t *testing.T, b *bed, tp *tape) {
			for _, name := range b.consumers() {
				if _, err := b.stream.PauseConsumer(t.Context(), name, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			tp.feed.Reopen()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, nil)
			b.publish(1, 300)
			tp := b.run(Config{Messages: 50})
			for i := range 3 {
				tt.disturb(t, b, tp)
				natstest.Await(t, "the server", func() error { _, err := b.stream.Info(t.Context()); return err })
				b.publish(301+100*i, 400+100*i)
				natstest.Await(t, "everything", func() error { return tp.has(1, uint64(400+100*i)) })
			}
			natstest.Await(t, "all is well", tp.well)
			natstest.Await(t, "one consumer is left", func() error {
				if c := b.consumers(); len(c) != 1 {
					return fmt.Errorf("consumers are %v", c)
				}
				return nil
			})
		})
	}
}

func TestAConsumerOutlivesTheConnection(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	tp := b.run(Config{Messages: 50})
	for i := range 3 {
		b.publish(100*i+1, 100*i+100)
		natstest.Await(t, "everything", func() error { return tp.has(1, uint64(100*i+100)) })
		if err := b.js.Conn().ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		natstest.Await(t, "the server", func() error { _, err := b.stream.Info(t.Context()); return err })
	}
	b.publish(301, 400)
	natstest.Await(t, "everything", func() error { return tp.has(1, 400) })
	if made := tp.js.made.Load(); made != 1 {
		t.Errorf("%d consumers were made, want 1", made)
	}
}

func TestMessagesThatAreLostOnTheWayAreMissedThoughNoneFollows(t *testing.T) {
	t.Parallel()
	b, s := newBed(t, nil).session()
	b.publish(1, 3)
	if err := s.ask(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-s.msgs
	}
	if err := s.read(t.Context()); err == nil || !strings.Contains(err.Error(), "has sent 3 messages, 0 came") {
		t.Errorf("read = %v", err)
	}
}

func TestAConsumerThatIsGoneWithoutAWordIsMissedLongBeforeSilenceProvesIt(t *testing.T) {
	t.Parallel()
	b, s := newBed(t, nil).session()
	s.left = s.batch // as if a request were out: the server would end that with a word
	if err := b.stream.DeleteConsumer(t.Context(), s.name); err != nil {
		t.Fatal(err)
	}
	if err := s.read(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("read = %v", err)
	}
}

// session is one of a Feed that does not run.
func (b *bed) session() (*bed, *session) {
	b.t.Helper()
	s, err := New(b.js, Config{Stream: "EVENTS", Owner: owner}).open(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.close)
	return b, s
}

func TestTheFeedBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.publish(1, 100)
	after := b.run(Config{After: 40})
	natstest.Await(t, "what follows", func() error { return after.has(41, 100) })
	two := b.run(Config{Filters: []string{"e.3", "e.4"}})
	one := b.run(Config{Filters: []string{"e.3"}})
	natstest.Await(t, "what is asked for", func() error {
		two.mu.Lock()
		defer two.mu.Unlock()
		one.mu.Lock()
		defer one.mu.Unlock()
		if len(two.msgs) != 20 || len(one.msgs) != 10 {
			return fmt.Errorf("%d and %d came", len(two.msgs), len(one.msgs))
		}
		return nil
	})
	m := after.msgs[0]
	if m.Subject != "e.1" || string(m.Data) != "41" || m.Pending > 59 || time.Since(m.Time) > time.Minute || time.Until(m.Time) > 0 {
		t.Errorf("the first message is %+v", m)
	}
}

func TestTheLastOfEachSubjectIsListed(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	empty := b.run(Config{LastPerSubject: true})
	natstest.Await(t, "the end of an empty listing", func() error { return empty.wasListed(0) })
	b.publish(1, 100)
	tp := b.run(Config{LastPerSubject: true})
	natstest.Await(t, "the listing", func() error { return errors.Join(tp.has(91, 100), tp.wasListed(10)) })
	tp.feed.Reopen()
	b.publish(101, 110)
	natstest.Await(t, "what follows", func() error { return tp.has(91, 110) })
}

func TestWhatAStreamHoldsIsRead(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	read := func(cfg Config) (seqs []uint64) {
		t.Helper()
		cfg.Stream, cfg.Owner = "EVENTS", owner
		if err := Read(t.Context(), b.js, cfg, func(m Msg) { seqs = append(seqs, m.Sequence) }); err != nil {
			t.Fatal(err)
		}
		return seqs
	}
	if got := read(Config{}); len(got) > 0 {
		t.Errorf("an empty stream holds %v", got)
	}
	b.publish(1, 100)
	if got := read(Config{After: 97}); !slices.Equal(got, []uint64{98, 99, 100}) {
		t.Errorf("behind 97 it holds %v", got)
	}
	if got := read(Config{Filters: []string{"e.3"}, LastPerSubject: true}); !slices.Equal(got, []uint64{93}) {
		t.Errorf("the last of a subject is %v", got)
	}
	if got := read(Config{Filters: []string{"none"}, LastPerSubject: true}); len(got) > 0 {
		t.Errorf("of no subject it holds %v", got)
	}
	b.awaitNoConsumers()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := Read(ctx, b.js, Config{Stream: "NONE", Owner: owner}, func(Msg) {})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a stream that does not exist: %v", err)
	}
}

// wasListed fails unless the listing ended once n messages had come.
func (tp *tape) wasListed(n int) error {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if len(tp.listed) == 0 || tp.listed[0] != n {
		return fmt.Errorf("listed after %v", tp.listed)
	}
	return nil
}

func TestASlowHandlerBoundsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.publish(1, 500)
	gate := make(chan struct{})
	slow := b.runGated(Config{Messages: 100}, gate)
	var delivered uint64
	natstest.AwaitWithin(t, "the server to have sent what it may", 100*time.Millisecond, 20*time.Second, func() error {
		cs := b.consumers()
		if len(cs) != 1 {
			return fmt.Errorf("consumers are %v", cs)
		}
		c, err := b.stream.Consumer(t.Context(), cs[0])
		if err != nil {
			return err
		}
		before := delivered
		if delivered = c.CachedInfo().Delivered.Consumer; delivered == 0 || delivered != before {
			return fmt.Errorf("%d were sent", delivered)
		}
		return nil
	})
	if delivered > 101 {
		t.Errorf("%d messages were sent to a client that handles none, want at most 101", delivered)
	}
	close(gate)
	natstest.Await(t, "everything", func() error { return slow.has(1, 500) })
	if made := slow.js.made.Load(); made != 1 {
		t.Errorf("%d consumers were made, want 1", made)
	}
}

func TestMessagesAsLargeAsTheServerTakesAreRead(t *testing.T) {
	t.Parallel()
	b := &bed{t: t, server: natstest.Start(t, func(o *server.Options) { o.MaxPayload = 2 << 20 })}
	b.js = b.server.JetStream()
	var err error
	if b.stream, err = b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"e.>"}}); err != nil {
		t.Fatal(err)
	}
	tp := b.run(Config{Bytes: 1024})
	for i := range 10 {
		b.store(&nats.Msg{Subject: "e.large", Data: bytes.Repeat([]byte("x"), 2<<20-i)})
		b.publish(1, 1)
	}
	natstest.Await(t, "everything", func() error { return tp.has(1, 20) })
}

func TestAMessageLargerThanTheServerStillTakesIsRead(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.publish(1, 3)
	b.store(&nats.Msg{Subject: "e.large", Data: make([]byte, 900_000)})
	b.publish(5, 8)
	tp := &tape{js: &counting{JetStream: b.js}}
	f := New(tp.js, Config{Stream: "EVENTS", Owner: owner})
	f.handle = tp.take
	s, err := f.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.bytes = 1000 // as if the server had taken less
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.read(ctx) }()
	natstest.Await(t, "everything", func() error { return tp.has(1, 8) })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("read = %v", err)
	}
	s.close()
}

func TestAFeedThatCannotReadSaysWhyAndRecovers(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 })
	b.publish(1, 10)
	if _, err := b.js.CreateConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{Durable: "other"}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	tp := b.run(Config{})
	natstest.Await(t, "the reason", func() error {
		return tp.said(func(s State) bool {
			return s.Reopened > 2 && errors.Is(s.Err, jetstream.ErrMaximumConsumersLimit) && strings.Contains(s.Err.Error(), "maximum consumers limit")
		})
	})
	if made, d := tp.js.made.Load(), time.Since(begun); made > 20+int64(4*d/time.Second) {
		t.Errorf("%d consumers were asked for in %v", made, d)
	}
	if err := b.stream.DeleteConsumer(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "everything", func() error { return tp.has(1, 10) })
	natstest.Await(t, "all is well", func() error { return tp.said(func(s State) bool { return s == State{} }) })
	tp.feed.Reopen() // the only place is that of its own consumer
	b.publish(11, 20)
	natstest.Await(t, "more", func() error { return tp.has(1, 20) })
}

func TestAFeedThatMayNotReadSaysSo(t *testing.T) {
	t.Parallel()
	for _, denied := range []string{"$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.MSG.NEXT.>", "$JS.API.STREAM.INFO.*"} {
		t.Run(denied, func(t *testing.T) {
			t.Parallel()
			limited := natstest.Start(t, func(o *server.Options) {
				o.Users = []*server.User{
					{Username: "all", Password: "p"},
					{Username: "some", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{denied}}}},
				}
			})
			all, err := jetstream.New(limited.Conn(nats.UserInfo("all", "p")))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := all.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"e.>"}}); err != nil {
				t.Fatal(err)
			}
			b := &bed{t: t}
			b.js, err = jetstream.New(limited.Conn(nats.UserInfo("some", "p")))
			if err != nil {
				t.Fatal(err)
			}
			tp := b.run(Config{Look: func(*jetstream.StreamInfo) error { return nil }})
			natstest.Await(t, "the reason", func() error {
				return tp.said(func(s State) bool {
					return errors.Is(s.Err, nats.ErrPermissionViolation) && strings.Contains(s.Err.Error(), "Permissions Violation for Publish to")
				})
			})
		})
	}
}

func TestAnotherStreamOfTheNameEndsTheFeed(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.publish(1, 10)
	another := errors.New("another stream")
	var created time.Time
	tp := &tape{js: &counting{JetStream: b.js}}
	f := New(tp.js, Config{Stream: "EVENTS", Owner: owner, Look: func(i *jetstream.StreamInfo) error {
		if !created.IsZero() && !created.Equal(i.Created) {
			return another
		}
		created = i.Created
		return nil
	}})
	done := make(chan error, 1)
	go func() { done <- f.Run(context.Background(), tp.take) }()
	natstest.Await(t, "everything", func() error { return tp.has(1, 10) })
	if err := b.js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"e.>"}}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, another) {
			t.Errorf("Run = %v, want %v", err, another)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run goes on after 20 s")
	}
}

func TestAFeedThatEndsLeavesNoConsumer(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.publish(1, 10)
	tp := b.run(Config{})
	natstest.Await(t, "everything", func() error { return tp.has(1, 10) })
	c, err := b.stream.Consumer(t.Context(), b.consumers()[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.CachedInfo().Config
	if !strings.HasPrefix(cfg.Name, "sluice_emitter-1_") || len(cfg.Name) > 31 || cfg.Description == "" {
		t.Errorf("the consumer is %q: %q", cfg.Name, cfg.Description)
	}
	for name, want := range map[string]string{"io.sluice.service": "emitter", "io.sluice.instance": "emitter-1", "io.sluice.namespace": "sluice", "io.nats.monitor.enabled": "true"} {
		if got := cfg.Metadata[name]; got != want {
			t.Errorf("metadata %s = %q, want %q", name, got, want)
		}
	}
	if err := tp.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	b.awaitNoConsumers()
}
