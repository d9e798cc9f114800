package parked

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

const ns = wire.DefaultNamespace

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reporter is what a testing.TB and a rapid.T have in common.
type reporter interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Error(args ...any)
}

// bed is a server with what the service uses, and the service.
type bed struct {
	tb      reporter
	srv     *natstest.Server
	nc      *nats.Conn
	js      jetstream.JetStream
	records records
}

// records has a subscription for each name.
type records map[string]bool

func (r records) Get(_ context.Context, name string) (*wire.Record, uint64, error) {
	if !r[name] {
		return nil, 0, fmt.Errorf("read: %w", subscription.ErrNotFound)
	}
	return &wire.Record{Name: name}, 1, nil
}

// newServed returns a bed with a service that is configured like this.
func newServed(t *testing.T, edits ...func(*Config)) *bed {
	t.Helper()
	b := newBed(t)
	b.serve(t, edits...)
	return b
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{tb: t, srv: natstest.Start(t), records: records{"triage": true}}
	b.nc, b.js = b.srv.Conn(), b.srv.JetStream()
	for name, subject := range map[string]string{ns.StreamParked(): ns.Parked("*"), ns.StreamAdvisories(): ns.Advisories()} {
		_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Storage: jetstream.MemoryStorage, AllowDirect: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// serve runs a service, with the edits made to its configuration, until the test
// ends.
func (b *bed) serve(t *testing.T, edits ...func(*Config)) {
	t.Helper()
	replies, err := bus.NewResponder(b.nc, bus.ResponderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{ // with all the time that they need on a busy machine
		Within: time.Minute,

		Namespace: ns, Owner: feed.Owner{Namespace: string(ns), Service: "replayer", Instance: "r1"}, ConfirmAbove: 10_000,
		Records: b.records, Advisor: bus.NewAdvisor(b.nc, ns, "r1", zerolog.Nop()), Log: zerolog.Nop(),
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	s := New(b.js, cfg)
	api, err := endpoint.Serve(b.nc, endpoint.Config{
		Namespace: ns, Service: "replayer", Instance: "r1", Description: "tests", Responder: replies, Log: zerolog.Nop(),
	}, s.Endpoints()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = s.Run(ctx) })
	t.Cleanup(func() {
		_ = api.Stop()
		stop()
		run.Wait()
		replies.Close()
	})
}

// parkedEvent is a message of the parked stream, as a parker writes it.
type parkedEvent struct {
	name    string // of the subscription
	store   string
	seq     uint64
	subject string
	reason  string
	header  nats.Header
	data    string
}

func (e parkedEvent) message() *nats.Msg {
	h := nats.Header{
		wire.HeaderStore: {e.store}, wire.HeaderSequence: {strconv.FormatUint(e.seq, 10)}, wire.HeaderSubject: {e.subject},
		wire.HeaderTime: {"2026-11-23T10:20:30.5Z"}, wire.HeaderSubscription: {e.name}, wire.HeaderEpoch: {"7"},
		wire.HeaderAttempts: {"5"}, wire.HeaderParkReason: {e.reason}, wire.HeaderParkedAt: {"2026-11-23T10:21:00Z"},
	}
	for name, values := range e.header {
		h[name] = values
	}
	return &nats.Msg{Subject: ns.Parked(e.name), Header: h, Data: []byte(e.data)}
}

// order returns the parked event of an order, for the subscription triage.
func order(seq uint64, reason string) parkedEvent {
	return parkedEvent{
		name: "triage", store: "ORDERS", seq: seq, subject: fmt.Sprintf("orders.%d.paid", seq), reason: reason,
		data: fmt.Sprintf(`{"n":%d}`, seq),
	}
}

// park stores events in this order.
func (b *bed) park(events ...parkedEvent) {
	b.tb.Helper()
	want := b.state(ns.StreamParked()).LastSeq + uint64(len(events))
	for _, e := range events {
		if err := b.nc.PublishMsg(e.message()); err != nil {
			b.tb.Fatal(err)
		}
	}
	natstest.AwaitWithin(b.tb, "the events to be parked", time.Millisecond, time.Minute, func() error {
		if n := b.state(ns.StreamParked()).LastSeq; n != want {
			return fmt.Errorf("the last is %d, want %d", n, want)
		}
		return nil
	})
}

func (b *bed) state(stream string) jetstream.StreamState {
	b.tb.Helper()
	s, err := b.js.Stream(context.Background(), stream)
	if err != nil {
		b.tb.Fatal(err)
	}
	return s.CachedInfo().State
}

// ask sends a request and decodes the answer.
func ask[A any](b *bed, verb, name, body string) (out A) {
	b.tb.Helper()
	m, err := b.nc.Request(ns.API(verb, name), []byte(body), time.Minute)
	if err != nil {
		b.tb.Fatalf("%s %s: %v", verb, body, err)
	}
	if err := json.Unmarshal(m.Data, &out); err != nil {
		b.tb.Fatalf("%s %s: %s: %v", verb, body, m.Data, err)
	}
	return out
}

// list asks for a list that must be given.
func (b *bed) list(name, body string) wire.ParkedListResponse {
	b.tb.Helper()
	out := ask[wire.ParkedListResponse](b, wire.VerbParkedList, name, body)
	if out.Error != nil {
		b.tb.Fatalf("list %s: %v", body, out.Error)
	}
	return out
}

// discard asks for what must be carried out.
func (b *bed) discard(name, body string) wire.ParkedDiscardResponse {
	b.tb.Helper()
	out := ask[wire.ParkedDiscardResponse](b, wire.VerbParkedDiscard, name, body)
	if out.Error != nil {
		b.tb.Fatalf("discard %s: %v", body, out.Error)
	}
	return out
}

// sequences are those of the rows.
func sequences(rows []wire.Parked) []uint64 {
	out := []uint64{}
	for _, r := range rows {
		out = append(out, r.Sequence)
	}
	return out
}

// advisories are those of one kind that are stored.
func (b *bed) advisories(what string) (out []wire.Advisory) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cfg := feed.Config{Stream: ns.StreamAdvisories(), Filters: []string{ns.Advisory(what, "*")}, Log: zerolog.Nop()}
	err := feed.Read(ctx, b.js, cfg, func(m feed.Msg) {
		var a wire.Advisory
		if err := json.Unmarshal(m.Data, &a); err != nil {
			b.tb.Error(err)
		}
		out = append(out, a)
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	return out
}
