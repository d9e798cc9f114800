package park

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type message struct {
	subject string
	header  nats.Header
	data    []byte
}

func (m message) Subject() string      { return m.subject }
func (m message) Headers() nats.Header { return m.header }
func (m message) Data() []byte         { return m.data }

func parked(body []byte, reason string) pool.Parked {
	e := event.New("ORDERS", 42, time.Now(), message{"orders.1.paid", nats.Header{"x-region": {"eu"}, "Nats-Msg-Id": {"m1"}}, body})
	e.Matched()
	return pool.Parked{Event: e, Name: "triage", UID: "u1", Epoch: 7, Attempts: 5, Reason: reason}
}

// park parks one event through pub and waits until it is stored.
func park(t *testing.T, pub Publisher, limit int64, p pool.Parked) {
	t.Helper()
	parker := New(pub, wire.DefaultNamespace, func() int64 { return limit }, zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- parker.Run(ctx) }()
	stored := make(chan struct{})
	if !parker.Park(p, func() { close(stored) }) {
		t.Fatal("the parker took nothing on")
	}
	select {
	case <-stored:
	case <-time.After(10 * time.Second):
		t.Error("not stored in 10 s")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAParkedEventKeepsItsBodyItsHeadersAndTheReason(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	if _, err := bus.Ensure(t.Context(), js, bus.Layout{Namespace: wire.DefaultNamespace}.WithDefaults(), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	park(t, js, 1<<20, parked([]byte("body"), "refused\r\nby \x00 the subscriber"))
	stream, err := js.Stream(t.Context(), wire.DefaultNamespace.StreamParked())
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), wire.DefaultNamespace.Parked("triage"))
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != "body" {
		t.Errorf("body = %q", m.Data)
	}
	for name, want := range map[string]string{
		"x-region": "eu", wire.HeaderSubscription: "triage", wire.HeaderStore: "ORDERS", wire.HeaderSequence: "42",
		wire.HeaderSubject: "orders.1.paid", wire.HeaderEpoch: "7", wire.HeaderAttempts: "5",
		wire.HeaderParkReason: "refused  by   the subscriber", wire.HeaderParkedBody: "",
	} {
		if got := m.Header.Get(name); got != want && (len(m.Header[name]) != 1 || m.Header[name][0] != want) {
			t.Errorf("header %s = %q, want %q", name, m.Header[name], want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, m.Header[wire.HeaderParkedAt][0]); err != nil {
		t.Errorf("%s: %v", wire.HeaderParkedAt, err)
	}
}

func TestAnEventTooLargeToParkIsParkedWithoutItsBody(t *testing.T) {
	t.Parallel()
	pub := &publisher{}
	park(t, pub, 4096, parked(make([]byte, 4000), "why"))
	if m := pub.last.Load(); len(m.Data) != 0 || m.Header.Get(wire.HeaderParkedBody) != "omitted" {
		t.Errorf("stored %d bytes with %s %q", len(m.Data), wire.HeaderParkedBody, m.Header.Get(wire.HeaderParkedBody))
	}
}

func TestParkingIsTriedAgainUnderTheSameId(t *testing.T) {
	t.Parallel()
	pub := &publisher{failures: 2}
	park(t, pub, 1<<20, parked([]byte("x"), strings.Repeat("é", 5000)))
	if pub.calls.Load() != 3 {
		t.Errorf("%d calls, want 3", pub.calls.Load())
	}
	if r := pub.last.Load().Header.Get(wire.HeaderParkReason); len(r) < maxReason/2 || len(r) > maxReason+len("…") {
		t.Errorf("a reason of %d bytes was kept", len(r))
	}
}

func TestAFullParkerSaysSo(t *testing.T) {
	t.Parallel()
	parker := New(&publisher{}, wire.DefaultNamespace, func() int64 { return 0 }, zerolog.Nop())
	for range queueSize {
		if !parker.Park(pool.Parked{}, func() {}) {
			t.Fatal("refused before it was full")
		}
	}
	if parker.Park(pool.Parked{}, func() {}) {
		t.Error("took on more than it has room for")
	}
}

// publisher fails a few times and keeps the last message.
type publisher struct {
	failures int32
	calls    atomic.Int32
	last     atomic.Pointer[nats.Msg]
}

func (p *publisher) PublishMsg(_ context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	p.last.Store(m)
	if len(opts) != 1 {
		return nil, errors.New("no message id given")
	}
	if p.calls.Add(1) <= p.failures {
		return nil, context.DeadlineExceeded
	}
	return &jetstream.PubAck{}, nil
}
