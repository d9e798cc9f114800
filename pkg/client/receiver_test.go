package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// running is a receiver that runs until stop is called.
type running struct {
	*client.Receiver
	stop func() error // ends its context and returns what Run returned
}

// receive runs a receiver of the emitter's deliveries, in the queue group q.
func receive(t *testing.T, c *client.Client, h client.Handler, opts ...client.ReceiveOption) running {
	t.Helper()
	r, err := c.NewReceiver(target, "q", h, opts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	select {
	case <-r.Ready():
	case err := <-done:
		t.Fatalf("the receiver ended: %v", err)
	}
	return running{r, stop}
}

// quiet keeps expected errors out of the log.
func quiet() client.ReceiveOption { return client.WithOnError(func(*client.Delivery, error) {}) }

func TestADeliveryShowsWhatTheHeadersSay(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	e := newEmitter(t, nc)
	got := make(chan []any, 3)
	receive(t, c, func(_ context.Context, d *client.Delivery) error {
		var body struct{ N int }
		err := d.Decode(&body)
		got <- []any{
			d.Subscription(), d.Store(), d.Sequence(), d.Subject(), d.Time(), d.Attempt(), d.Epoch(), d.ReplayID(), d.Hops(),
			string(d.Data()), d.Headers().Get("ce-type"), body.N,
		}
		return err
	})
	e.send(7, 3, wire.HeaderReplay, "r-1")
	want := []any{
		"triage", "GITHUB", uint64(7), "github.a.b", time.Date(2026, 11, 23, 10, 20, 30, 123456789, time.UTC),
		2, uint64(3), "r-1", 1, `{"n":7}`, "issues.opened", 7,
	}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
	e.send(7, 3, wire.HeaderReplay, "r-1", wire.HeaderHops, "4")
	want[8] = 4
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("delivery of an event that comes again (-want +got):\n%s", diff)
	}
	if err := nc.Publish(target, []byte(`{"n":1}`)); err != nil { // not from Sluice
		t.Fatal(err)
	}
	want = []any{"", "", uint64(0), "", time.Time{}, 0, uint64(0), "", 0, `{"n":1}`, "", 1}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("foreign message (-want +got):\n%s", diff)
	}
}

func TestWhatTheHandlerReturnsIsTheAnswer(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, tt := range []struct {
		name    string
		handler client.Handler
		want    []string
		reports int
	}{
		{"nil", func(context.Context, *client.Delivery) error { return nil }, []string{"+ACK"}, 0},
		{"an error", func(context.Context, *client.Delivery) error { return boom }, []string{"-NAK"}, 1},
		{"a wait", func(context.Context, *client.Delivery) error {
			return fmt.Errorf("busy: %w", client.RetryAfter(boom, time.Second))
		}, []string{`-NAK {"delay": 1000000000}`}, 1},
		{"the end", func(context.Context, *client.Delivery) error {
			return fmt.Errorf("bad event: %w", client.Term(boom))
		}, []string{"+TERM bad event: boom"}, 1},
		{"a panic", func(context.Context, *client.Delivery) error { panic(boom) }, []string{"-NAK"}, 1},
		{"wrapped nils", func(context.Context, *client.Delivery) error {
			return errors.Join(client.Term(nil), client.RetryAfter(nil, time.Second))
		}, []string{"+ACK"}, 0},
		{"its own answers", func(_ context.Context, d *client.Delivery) error {
			return errors.Join(d.InProgress(), d.InProgress(), d.Nak(time.Millisecond))
		}, []string{"+WPI", "+WPI", `-NAK {"delay": 1000000}`}, 0},
		{"its own term", func(_ context.Context, d *client.Delivery) error { return d.Term("") }, []string{"+TERM"}, 0},
		{"an error after its own answer", func(_ context.Context, d *client.Delivery) error {
			return errors.Join(d.Ack(), boom)
		}, []string{"+ACK"}, 1},
		{"two answers", func(_ context.Context, d *client.Delivery) error {
			if err := d.Ack(); err != nil {
				return err
			}
			for _, again := range []error{d.Ack(), d.Nak(0), d.Term("x"), d.InProgress()} {
				if !errors.Is(again, client.ErrAnswered) {
					return fmt.Errorf("answered again: %w", again)
				}
			}
			return nil
		}, []string{"+ACK"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, nc := setup(t)
			e := newEmitter(t, nc)
			var reports atomic.Int32
			r := receive(t, c, tt.handler, client.WithOnError(func(d *client.Delivery, err error) {
				var p *client.PanicError
				if d.Sequence() != 1 || errors.As(err, &p) && len(p.Stack) == 0 || !errors.Is(err, boom) {
					t.Errorf("reported %v for event %d", err, d.Sequence())
				}
				reports.Add(1)
			}))
			e.send(1, 1)
			for _, want := range tt.want {
				if _, got := e.answer(); got != want {
					t.Errorf("answer = %q, want %q", got, want)
				}
			}
			if err := r.stop(); err != nil {
				t.Errorf("Run = %v", err)
			}
			e.none()
			if got := int(reports.Load()); got != tt.reports {
				t.Errorf("%d errors reported, want %d", got, tt.reports)
			}
		})
	}
}

func TestStatsCountTheAnswers(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	e := newEmitter(t, nc)
	r := receive(t, c, func(_ context.Context, d *client.Delivery) error {
		switch d.Sequence() {
		case 1, 2, 3:
			return nil
		case 4, 5:
			return errors.New("again")
		case 6:
			return client.Term(errors.New("never"))
		default:
			panic("seven")
		}
	}, quiet())
	for seq := range uint64(7) {
		e.send(seq+1, 1)
	}
	for range 7 {
		e.answer()
	}
	if err := r.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	want := client.Stats{Received: 7, Acked: 3, Nacked: 3, Termed: 1, Panics: 1}
	if diff := cmp.Diff(want, r.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestOneAtATimeKeepsTheOrder(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	e := newEmitter(t, nc)
	const n = 2000
	var seen []uint64
	r := receive(t, c, func(_ context.Context, d *client.Delivery) error {
		seen = append(seen, d.Sequence()) // the race detector sees overlap
		return nil
	})
	for seq := range uint64(n) {
		e.send(seq, 1)
	}
	for want := range uint64(n) {
		if seq, _ := e.answer(); seq != want {
			t.Fatalf("answer for %d, want %d", seq, want)
		}
	}
	if err := r.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	for i, seq := range seen {
		if seq != uint64(i) {
			t.Fatalf("event %d came at place %d", seq, i)
		}
	}
}

func TestConcurrencyIsReachedAndNeverExceeded(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	e := newEmitter(t, nc)
	const bound = 3
	var now, most atomic.Int32
	gate := make(chan struct{})
	receive(t, c, func(context.Context, *client.Delivery) error {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-gate
		return nil
	}, client.WithConcurrency(bound))
	for seq := range uint64(20) {
		e.send(seq, 1)
	}
	natstest.Await(t, "all handlers at work", func() error {
		if n := now.Load(); n != bound {
			return fmt.Errorf("%d at work, want %d", n, bound)
		}
		return nil
	})
	close(gate)
	for range 20 {
		e.answer()
	}
	if most.Load() != bound {
		t.Errorf("%d handlers at once, want %d", most.Load(), bound)
	}
}

func TestDeliveriesOfADeposedOwnerAreDroppedAndCounted(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	e := newEmitter(t, nc)
	r := receive(t, c, func(context.Context, *client.Delivery) error { return nil })
	e.send(1, 5)
	e.send(2, 4)                                     // deposed
	e.send(3, 4, wire.HeaderSubscription, "another") // epochs are each subscription's own
	e.send(4, 4, wire.HeaderReplay, "r-1")
	e.send(5, 6)
	e.send(6, 5) // deposed now
	e.send(7, 6)
	for _, want := range []uint64{1, 3, 4, 5, 7} {
		if seq, _ := e.answer(); seq != want {
			t.Errorf("answer for %d, want %d", seq, want)
		}
	}
	if err := r.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	e.none()
	if got := r.Stats().Stale; got != 2 {
		t.Errorf("%d stale, want 2", got)
	}
}

func TestTheEndOfTheContextDrains(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	e := newEmitter(t, nc)
	began, gate := make(chan struct{}, 50), make(chan struct{})
	r := receive(t, c, func(ctx context.Context, _ *client.Delivery) error {
		began <- struct{}{}
		<-gate
		return ctx.Err()
	})
	for seq := range uint64(50) {
		e.send(seq, 1)
	}
	<-began
	flush(t, nc)
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	natstest.Await(t, "the interest to be taken back", func() error {
		if _, err := nc.Request(target, nil, time.Second); !errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("a request is answered with %w", err)
		}
		return nil
	})
	select {
	case err := <-ended:
		t.Fatalf("Run = %v before the handlers were done", err)
	default:
	}
	close(gate)
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	for range 50 {
		if seq, body := e.answer(); body != "+ACK" {
			t.Errorf("answer to %d = %q, want an ack", seq, body)
		}
	}
}

func TestADrainThatTakesTooLongGivesTheRestBack(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	e := newEmitter(t, nc)
	began := make(chan struct{}, 10)
	r := receive(t, c, func(ctx context.Context, _ *client.Delivery) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}, client.WithDrainTimeout(50*time.Millisecond), quiet())
	for seq := range uint64(10) {
		e.send(seq, 1)
	}
	<-began
	flush(t, nc)
	if err := r.stop(); !errors.Is(err, client.ErrDrainTimeout) {
		t.Errorf("Run = %v, want %v", err, client.ErrDrainTimeout)
	}
	for range 10 {
		if seq, body := e.answer(); body != "-NAK" {
			t.Errorf("answer to %d = %q, want a nak", seq, body)
		}
	}
}

func TestWhatIsOverThePendingBoundIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	own, nc := srv.Conn(), srv.Conn()
	c, err := client.New(own)
	if err != nil {
		t.Fatal(err)
	}
	e := newEmitter(t, nc)
	began, gate := make(chan struct{}, 10), make(chan struct{})
	r := receive(t, c, func(context.Context, *client.Delivery) error {
		began <- struct{}{}
		<-gate
		return nil
	}, client.WithPending(2, 1<<20))
	e.send(0, 1)
	<-began
	for seq := range uint64(6) {
		e.send(seq+1, 1)
	}
	flush(t, nc)
	flush(t, own) // all of them have come
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	heard := uint64(0) // requests that came before the interest was gone: no room for them either
	natstest.Await(t, "the interest to be taken back", func() error {
		if _, err := nc.Request(target, nil, 200*time.Millisecond); !errors.Is(err, nats.ErrNoResponders) {
			heard++
			return fmt.Errorf("a request is answered with %w", err)
		}
		return nil
	})
	close(gate)
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	for want := range uint64(3) {
		if seq, _ := e.answer(); seq != want {
			t.Errorf("answer for %d, want %d", seq, want)
		}
	}
	e.none()
	if got := r.Stats().Dropped; got != 4+heard {
		t.Errorf("%d dropped, want %d", got, 4+heard)
	}
}

func TestWithoutAReplySubjectAnswersDoNothing(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	r := receive(t, c, func(_ context.Context, d *client.Delivery) error { return d.InProgress() },
		client.WithOnError(func(_ *client.Delivery, err error) { t.Errorf("reported %v", err) }))
	if err := nc.PublishMsg(&nats.Msg{Subject: target, Header: nats.Header{wire.HeaderSequence: {"1"}}}); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the delivery", func() error {
		if got := r.Stats().Acked; got != 1 {
			return fmt.Errorf("%d handled", got)
		}
		return nil
	})
}

func TestAReceiverWhoseConnectionIsClosedFails(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	nc := srv.Conn()
	c, err := client.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.NewReceiver(target, "", func(context.Context, *client.Delivery) error { return nil }, client.WithConcurrency(4))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(t.Context()) }()
	<-r.Ready()
	nc.Close()
	if err := <-done; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Run = %v, want %v", err, nats.ErrConnectionClosed)
	}
	if err := c.Receive(t.Context(), target, "", func(context.Context, *client.Delivery) error { return nil }); err == nil {
		t.Error("a receiver on a closed connection runs")
	}
}

func TestAReceiverGoesOnAfterTheServerWasAway(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	c, err := client.New(srv.Conn())
	if err != nil {
		t.Fatal(err)
	}
	nc := srv.Conn()
	e := newEmitter(t, nc)
	receive(t, c, func(context.Context, *client.Delivery) error { return nil })
	e.send(1, 1)
	e.answer()
	srv.Restart()
	natstest.Await(t, "the receiver's interest", func() error {
		reply, err := nc.Request(target, nil, time.Second)
		if err != nil {
			return err
		}
		if string(reply.Data) != "+ACK" {
			return fmt.Errorf("answer %q", reply.Data)
		}
		return nil
	})
	e.send(2, 1)
	if seq, body := e.answer(); seq != 2 || body != "+ACK" {
		t.Errorf("answer for %d = %q", seq, body)
	}
}

func TestReceiveRefusesOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	c, _ := setup(t)
	handler := func(context.Context, *client.Delivery) error { return nil }
	for name, opt := range map[string]client.ReceiveOption{
		"concurrency": client.WithConcurrency(0), "pending": client.WithPending(0, 1), "bytes": client.WithPending(1, 0),
		"drain timeout": client.WithDrainTimeout(0), "on error": client.WithOnError(nil),
	} {
		if _, err := c.NewReceiver(target, "", handler, opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := c.NewReceiver(target, "", nil); err == nil {
		t.Error("no handler: no error")
	}
	if err := c.Receive(t.Context(), "a b", "", handler); err == nil {
		t.Error("a bad subject: no error")
	}
}
