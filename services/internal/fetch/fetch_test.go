package fetch

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type result struct {
	event *event.Event
	err   error
}

// run runs a fetcher for the test and returns a function that gets one event.
func run(t *testing.T, js Source) func(store string, seq uint64) result {
	t.Helper()
	f := New(js, zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func(store string, seq uint64) result {
		t.Helper()
		got := make(chan result, 1)
		if !f.Fetch(pool.Wanted{
			Store: store, Reload: core.Reload{Sequence: seq}, Open: func() bool { return true },
			Got: func(e *event.Event, err error) { got <- result{e, err} },
		}) {
			t.Fatal("the fetcher took nothing on")
		}
		select {
		case r := <-got:
			return r
		case <-time.After(10 * time.Second):
			t.Fatal("no answer in 10 s")
			return result{}
		}
	}
}

// TestAFetchedEventIsTheOneThatWasRead compares with what a reader's consumer
// makes of the same message, also of a stream that allows direct gets.
func TestAFetchedEventIsTheOneThatWasRead(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	get := run(t, Leaders{JetStream: js})
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, AllowDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	stored := []*nats.Msg{
		{Subject: "orders.1.paid", Data: []byte("body"), Header: nats.Header{"x-region": {"eu", "us"}, "ce-type": {"paid"}, "Nats-Msg-Id": {"m1"}}},
		{Subject: "orders.2.sent"},
		{Subject: "orders.3.sent", Header: nats.Header{"Status": {"503"}, "Description": {"No Responders"}}},
		{Subject: "orders.4.sent", Header: nats.Header{"Status": {"404"}}},
		{Subject: "orders.5.sent", Header: nats.Header{"Status": {"shipped"}, "Nats-Pin-Id": {"x"}}},
	}
	for _, m := range stored {
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	read := make(chan feed.Msg, len(stored))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- feed.New(js, feed.Config{Stream: "ORDERS"}).Run(ctx, func(m feed.Msg) { read <- m })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for seq := uint64(1); seq <= uint64(len(stored)); seq++ {
		m := <-read
		want := event.New("ORDERS", selector.Message{Sequence: m.Sequence, Time: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data})
		want.Matched()
		r := get("ORDERS", seq)
		if r.err != nil {
			t.Fatal(r.err)
		}
		if diff := cmp.Diff(r.event.Fields(), want.Fields()); diff != "" || !r.event.Time.Equal(want.Time) ||
			string(r.event.Data) != string(want.Data) || r.event.Type != want.Type || r.event.Stream != want.Stream || r.event.Size() != want.Size() {
			t.Errorf("fetched %+v, read %+v; headers (-got +want):\n%s", r.event, want, diff)
		}
	}
	if err := stream.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if r := get("ORDERS", 1); !errors.Is(r.err, core.ErrGone) {
		t.Errorf("a deleted event: %v", r.err)
	}
	if r := get("ORDERS", 6); r.err == nil || errors.Is(r.err, core.ErrGone) {
		t.Errorf("an event beyond the end of its store: %v", r.err)
	}
	if r := get("NOSUCH", 1); r.err == nil || errors.Is(r.err, core.ErrGone) {
		t.Errorf("an event of a store that does not exist: %v", r.err)
	}
}

// silent is a source of which one store never answers.
type silent string

func (s silent) Msg(ctx context.Context, name string, seq uint64) (*jetstream.RawStreamMsg, error) {
	return source(func(ctx context.Context) error {
		if name == string(s) {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}).Msg(ctx, name, seq)
}

func (s silent) Last(context.Context, string) (uint64, error) { return 0, errors.New("not expected") }

// source answers when the test says so.
type source func(ctx context.Context) error

func (s source) Msg(ctx context.Context, _ string, seq uint64) (*jetstream.RawStreamMsg, error) {
	if err := s(ctx); err != nil {
		return nil, err
	}
	return &jetstream.RawStreamMsg{Subject: "a.b", Sequence: seq}, nil
}

func (s source) Last(context.Context, string) (uint64, error) { return 0, errors.New("not expected") }

func TestASilentStoreIsGivenUpForNow(t *testing.T) {
	t.Parallel()
	get := run(t, source(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}))
	if r := get("ORDERS", 1); !errors.Is(r.err, context.DeadlineExceeded) {
		t.Errorf("a store that does not answer: %v", r.err)
	}
}

// TestAStoreThatDoesNotAnswerHoldsUpNoOther: its orders would hold all workers,
// and fill a queue that is for all.
func TestAStoreThatDoesNotAnswerHoldsUpNoOther(t *testing.T) {
	clocktest.Run(t, func(t *testing.T) {
		f := New(silent("DEAD"), zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		open := func() bool { return true }
		for range queueSize {
			if !f.Fetch(pool.Wanted{Store: "DEAD", Open: open, Got: func(*event.Event, error) {}}) {
				t.Fatal("refused before it was full")
			}
		}
		began, got := time.Now(), make(chan error, 100)
		for seq := range uint64(100) {
			if !f.Fetch(pool.Wanted{Store: "ORDERS", Reload: core.Reload{Sequence: seq}, Open: open, Got: func(_ *event.Event, err error) { got <- err }}) {
				t.Fatal("another store has no room")
			}
		}
		for range 100 {
			if err := <-got; err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("waited %v", waited)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsForLaterLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	f := New(silent(""), zerolog.Nop())
	n := 0
	for ; f.Fetch(pool.Wanted{Store: "ORDERS", Reload: core.Reload{Ahead: true}}); n++ {
		if n > queueSize {
			t.Fatal("the queue has no bound")
		}
	}
	if n != queueSize/2 || !f.Fetch(pool.Wanted{Store: "ORDERS"}) {
		t.Errorf("%d events that are for later, and then no room", n)
	}
}

func TestAFullFetcherSaysSoAndAsksNothingForClosedPools(t *testing.T) {
	t.Parallel()
	f := New(source(func(context.Context) error {
		t.Error("asked for an event that nobody wants")
		return nil
	}), zerolog.Nop())
	asked := make(chan struct{}, queueSize)
	w := pool.Wanted{
		Open: func() bool { asked <- struct{}{}; return false },
		Got:  func(*event.Event, error) { t.Error("answered a closed pool") },
	}
	for range queueSize {
		if !f.Fetch(w) {
			t.Fatal("refused before it was full")
		}
	}
	if f.Fetch(w) {
		t.Error("took on more than it has room for")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	for range queueSize {
		<-asked
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
