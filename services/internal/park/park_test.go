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
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func makeEvent(header nats.Header, body []byte) *event.Event {
	e := event.New("ORDERS", selector.Message{Sequence: 42, Time: time.Now(), Subject: "orders.1.paid", Header: header, Data: body})
	e.Matched()
	return e
}

func parked(body []byte, reason string) pool.Parked {
	e := makeEvent(nats.Header{"x-region": {"eu"}, "Nats-Msg-Id": {"m1"}}, body)
	return pool.Parked{
		Park: core.Park{Event: e, Attempts: 5, Reason: reason}, Name: "triage", UID: "u1", Epoch: 7,
		Open: func() bool { return true },
	}
}

// park parks one event through pub and waits until it is stored.
func park(t *testing.T, pub Publisher, limit int64, p pool.Parked) {
	t.Helper()
	parkWith(t, New(pub, wire.DefaultNamespace, func() int64 { return limit }, zerolog.Nop()), p)
}

// parkWith runs the parker until it has stored p.
func parkWith(t *testing.T, parker *Parker, p pool.Parked) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- parker.Run(ctx) }()
	stored := make(chan struct{})
	p.Done = func(err error) {
		switch {
		case err == nil:
			close(stored)
		case !parker.Add(p):
			t.Error("the parker took nothing on")
		}
	}
	if !parker.Add(p) {
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
	pub := &publisher{errs: []error{context.DeadlineExceeded, context.DeadlineExceeded}}
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
		if !parker.Add(pool.Parked{}) {
			t.Fatal("refused before it was full")
		}
	}
	if parker.Add(pool.Parked{}) {
		t.Error("took on more than it has room for")
	}
}

// TestAnEventWithAsManyHeadersAsAStoreTakesIsParked: with those that parking
// adds they are more than JetStream takes.
func TestAnEventWithAsManyHeadersAsAStoreTakesIsParked(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	if _, err := bus.Ensure(t.Context(), js, bus.Layout{Namespace: wire.DefaultNamespace}.WithDefaults(), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	header := nats.Header{"x-large": {strings.Repeat("h", 65300)}}
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "orders.1.paid", Header: header, Data: []byte("body")}); err != nil {
		t.Fatalf("the store does not take the event, so this test shows nothing: %v", err)
	}
	park(t, js, 1<<20, withHeader(header))
	stream, err := js.Stream(t.Context(), wire.DefaultNamespace.StreamParked())
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), wire.DefaultNamespace.Parked("triage"))
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, m.Header, m.Data, parts{body: true})
}

func withHeader(h nats.Header) pool.Parked {
	p := parked(nil, "why")
	p.Event = makeEvent(h, []byte("body"))
	return p
}

// wantParts requires that of the event of withHeader exactly the given parts
// are kept, what is missing is named, and its place is there in any case.
func wantParts(t *testing.T, h nats.Header, body []byte, want parts) {
	t.Helper()
	omitted := map[bool]string{false: wire.Omitted, true: ""}
	if got := (parts{headers: len(h["x-large"]) > 0, body: string(body) == "body"}); got != want ||
		h.Get(wire.HeaderParkedHeaders) != omitted[want.headers] || h.Get(wire.HeaderParkedBody) != omitted[want.body] {
		t.Errorf("kept %+v, want %+v; said headers %q, body %q", got, want, h.Get(wire.HeaderParkedHeaders), h.Get(wire.HeaderParkedBody))
	}
	for name, value := range map[string]string{
		wire.HeaderStore: "ORDERS", wire.HeaderSequence: "42", wire.HeaderSubject: "orders.1.paid", wire.HeaderParkReason: "why",
	} {
		if got := h.Get(name); got != value {
			t.Errorf("header %s = %q, want %q", name, got, value)
		}
	}
}

func TestOnlyWhatIsRefusedForGoodIsLeftOut(t *testing.T) {
	t.Parallel()
	api := func(code int, err jetstream.ErrorCode) error { return &jetstream.APIError{Code: code, ErrorCode: err} }
	tooLarge := api(400, jetstream.JSErrCodeStreamMessageExceedsMaximum)
	for _, tt := range []struct {
		name   string
		errs   []error
		stored parts
	}{
		{"taken", nil, parts{headers: true, body: true}},
		{"refused once", []error{api(400, 10097)}, parts{body: true}},
		{"larger than the connection takes", []error{nats.ErrMaxPayload, nats.ErrMaxPayload}, parts{}},
		{"refused twice", []error{tooLarge, tooLarge}, parts{}},
		{"refused, then away", []error{tooLarge, context.DeadlineExceeded}, parts{headers: true, body: true}},
		{"no leader", []error{api(503, 10008)}, parts{headers: true, body: true}},
		{"no room in the account", []error{api(400, 10002)}, parts{headers: true, body: true}},
		{"no stream", []error{jetstream.ErrNoStreamResponse}, parts{headers: true, body: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pub := &publisher{errs: tt.errs}
			park(t, pub, 1<<20, withHeader(nats.Header{"x-large": {"h"}}))
			m := pub.last.Load()
			wantParts(t, m.Header, m.Data, tt.stored)
		})
	}
}

func TestAnEventThatCannotBeParkedHoldsNoWorkerAndItsPoolIsTold(t *testing.T) {
	t.Parallel()
	room := errors.New("away")
	for _, tt := range []struct {
		err  error
		want string
		full bool
	}{
		{
			&jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "maximum bytes exceeded"},
			"the parked stream is full: it holds as much as it may: purge it, or raise SLUICE_MAX_PARKED_BYTES", true,
		},
		{&jetstream.APIError{Code: 400, ErrorCode: 10002}, "the parked stream is full: the account has used up its storage", true},
		{room, "events cannot be parked: away", false},
	} {
		pub := &publisher{fail: func(m *nats.Msg) error {
			if m.Subject != wire.DefaultNamespace.Parked("triage") {
				return tt.err
			}
			return nil
		}}
		parker := New(pub, wire.DefaultNamespace, func() int64 { return 1 << 20 }, zerolog.Nop())
		told := make(chan error, 2*workers)
		for range 2 * workers {
			p := parked(nil, "why")
			p.Name, p.Done = "jammed", func(err error) { told <- err }
			if !parker.Add(p) {
				t.Fatal("the parker took nothing on")
			}
		}
		stored := make(chan error, 1)
		other := parked(nil, "why")
		other.Done = func(err error) { stored <- err }
		if !parker.Add(other) { // behind all of them
			t.Fatal("the parker took nothing on")
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- parker.Run(ctx) }()
		if err := <-stored; err != nil {
			t.Errorf("the other's event is not parked: %v", err)
		}
		for range 2 * workers { // before the parker ends: then it tells nobody
			if err := <-told; err == nil || err.Error() != tt.want || errors.Is(err, core.ErrFull) != tt.full {
				t.Errorf("told %v, want %q", err, tt.want)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

func TestEventsOfClosedPoolsAreNotParked(t *testing.T) {
	t.Parallel()
	pub := &publisher{}
	parker := New(pub, wire.DefaultNamespace, func() int64 { return 1 << 20 }, zerolog.Nop())
	p := parked(nil, "why")
	p.Open, p.Done = func() bool { return false }, func(error) { t.Error("a closed pool is told") }
	if !parker.Add(p) {
		t.Fatal("the parker took nothing on")
	}
	parkWith(t, parker, parked(nil, "why"))
	if n := pub.calls.Load(); n != 1 {
		t.Errorf("%d events stored, want 1", n)
	}
}

// publisher fails as it is told and keeps the last message.
type publisher struct {
	errs  []error // of the first calls
	fail  func(*nats.Msg) error
	calls atomic.Int32
	last  atomic.Pointer[nats.Msg]
}

func (p *publisher) PublishMsg(_ context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	p.last.Store(m)
	if len(opts) != 1 {
		return nil, errors.New("no message id given")
	}
	if n := int(p.calls.Add(1)); n <= len(p.errs) {
		return nil, p.errs[n-1]
	}
	if p.fail != nil {
		if err := p.fail(m); err != nil {
			return nil, err
		}
	}
	return &jetstream.PubAck{}, nil
}

func TestAnEventParkedByAReplayNamesItAndNoEpoch(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	if _, err := bus.Ensure(t.Context(), js, bus.Layout{Namespace: wire.DefaultNamespace}.WithDefaults(), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	live, replayed := parked([]byte("body"), "no"), parked([]byte("body"), "no")
	replayed.Replay = "r1"
	park(t, js, 1<<20, live)
	park(t, js, 1<<20, replayed) // not taken for the same one
	stream, err := js.Stream(t.Context(), wire.DefaultNamespace.StreamParked())
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if got, epoch := m.Header.Get(wire.HeaderReplay), m.Header[wire.HeaderEpoch]; got != "r1" || epoch != nil {
		t.Errorf("replay %q, epoch %q; want r1 and none", got, epoch)
	}
}
