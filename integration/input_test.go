package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/evaluator"
	"github.com/sluicehq/sluice/integration/events"
	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// generated is how many generated events the big tests use.
const generated = 20_000

// input is the generated events of a seed, with the webhooks spread among them
// where they are at hand.
func input(t *testing.T, seed uint64, n int) []*nats.Msg {
	t.Helper()
	dir, err := events.DataDir()
	if err != nil {
		t.Fatal(err)
	}
	webhooks, found, err := events.Webhooks(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: %d generated events, %d real webhooks", seed, n, len(webhooks))
	msgs := make([]*nats.Msg, 0, n+len(webhooks))
	for e := range events.Generate(seed, n) {
		if found && len(webhooks) > 0 && len(msgs)%50 == 7 {
			msgs = append(msgs, webhooks[0].Msg())
			webhooks = webhooks[1:]
		}
		msgs = append(msgs, e.Msg())
	}
	for _, w := range webhooks {
		msgs = append(msgs, w.Msg())
	}
	return msgs
}

// stored reads everything that a store holds.
func stored(t *testing.T, e *harness.Env, name string) []evaluator.Stored {
	t.Helper()
	ctx := e.Context()
	s, err := e.JS.Stream(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := e.JS.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	all := make([]evaluator.Stored, 0, info.State.Msgs)
	for uint64(len(all)) < info.State.Msgs {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("read store %s after %d events: %v", name, len(all), err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, evaluator.Stored{
			Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
			Subject: msg.Subject(), Headers: msg.Headers(), Data: msg.Data(),
		})
	}
	return all
}

// wish is a subscription of the real-input test.
type wish struct {
	name     string
	selector client.Selector
	order    wire.OrderBy
	start    func(stored []evaluator.Stored) wire.Position // over the first half
	publish  bool
}

func fromNew([]evaluator.Stored) wire.Position { return client.FromNew() }
func fromAll([]evaluator.Stored) wire.Position { return client.FromAll() }
func fromSequence(half []evaluator.Stored) wire.Position {
	return client.FromSequence(half[len(half)/3].Sequence)
}

func fromTime(half []evaluator.Stored) wire.Position { return client.FromTime(half[len(half)/2].Time) }

func wishes() []wish {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	return []wish{
		{name: "everything", start: fromAll, selector: client.Selector{ByStream: []string{"$all"}}},
		{name: "streams", start: fromSequence, order: client.OrderBySubject(), selector: client.Selector{
			ByStream: []string{"orders.eu.*", "devices.plant-a.>", "github.Codertocat.>", "users.web.de.cohort1"},
		}},
		{name: "types", start: fromTime, selector: client.Selector{
			ByEventType: []string{"order.created", "battery_raised", "link_lost", "push", "issues.opened", "payment.captured"},
		}},
		{name: "pattern", start: fromNew, order: client.OrderByHeader("X-Tenant"), selector: client.Selector{
			ByEventPattern: raw(`{"headers": {"x-region": ["eu", "us"], "traceparent": [{"exists": true}]}, "source": [{"prefix": "/shop/"}]}`),
		}},
		{name: "webhooks", start: fromAll, selector: client.Selector{
			ByEventPayload: raw(`{"issue": {"user": {"login": [{"prefix": "Coder"}]}, "comments": [{"numeric": [">=", 0]}]}}`),
		}},
		{name: "payload", start: fromTime, order: client.OrderByToken(1), selector: client.Selector{
			ByEventPayload: raw(`{"$or": [
				{"order": {"status": ["open", "paid"], "total": {"amount": [{"numeric": [">", 10, "<=", 2500]}]}}},
				{"items": {"serial": 9007199254740993, "options": {"name": "size", "value": "XL"}}},
				{"device": {"owner": {"address": {"zip.code": [{"prefix": "9"}]}}, "discount": [{"exists": false}]}}]}`),
		}},
		{name: "exact-numbers", start: fromSequence, publish: true, selector: client.Selector{
			ByEventPayload: raw(`{"schema version": 2.0, "id": [9007199254740992, 9007199254740994], "note": [{"anything-but": null}]}`),
		}},
		{name: "stream-type", start: fromNew, selector: client.Selector{
			ByStream: []string{"payments.card.>", "payments.sepa.>"}, ByEventType: []string{"refund.settled", "payout.declined", "payment.expired"},
		}},
		{name: "type-payload", start: fromAll, order: client.OrderByNone(), selector: client.Selector{
			ByEventType:    []string{"user.locked", "login.locked", "team.deleted"},
			ByEventPayload: raw(`{"actor": {"email": [{"suffix": "@example.org"}, null]}, "context": {"agent": [{"wildcard": "*/8.*"}, {"anything-but": {"prefix": "M"}}]}}`),
		}},
		{name: "all-four", start: fromSequence, selector: client.Selector{
			ByStream: []string{"repos.acme.*", "repos.globex.*"}, ByEventType: []string{"issue.opened", "issue.closed", "push.labeled", "check.edited"},
			ByEventPattern: raw(`{"type": [{"anything-but": ["push.labeled"]}], "headers": {"x-priority": ["1", "2", "3"]}, "data": {"labels": [{"exists": true}]}}`),
			ByEventPayload: raw(`{"repository": {"score": [{"numeric": [">=", -5, "<", 7.5]}]}, "commits": {"tags": ["sale", "new"]}}`),
		}},
		{name: "nothing", start: fromAll, selector: client.Selector{
			ByStream: []string{"orders.>"}, ByEventPayload: raw(`{"id": 9007199254740993.5}`),
		}},
	}
}

func TestExactlyWhatMatchesArrivesOfRealInput(t *testing.T) {
	t.Parallel()
	const name = "EVENTS"
	e := harness.New(t, harness.OnServer(harness.StartNATS(t)))
	e.Store(name, events.Subjects()...)
	for _, svc := range []string{wire.ServiceRegistry, wire.ServiceEmitter, wire.ServiceEmitter, wire.ServiceHealthmon, wire.ServiceReplayer} {
		e.Spawn(svc)
	}

	msgs := input(t, 20261123, generated)
	half := len(msgs) / 2
	e.PublishAll(msgs[:half])
	first := stored(t, e, name)

	asked := wishes()
	subs := make([]evaluator.Subscription, len(asked))
	rs := make([]*harness.Recorder, len(asked))
	for i, w := range asked {
		rs[i] = e.Record("real."+w.name, harness.Ack)
		s := client.Spec{
			Store: name, Selector: w.selector, Start: w.start(first), OrderBy: w.order,
			Deliver: client.Deliver{Subject: "real." + w.name},
		}
		if w.publish {
			s.Deliver.Mode = wire.ModePublish
		}
		subs[i] = evaluator.Subscription{Spec: e.Subscribe(w.name, s).Spec, Last: uint64(half)}
	}
	e.PublishAll(msgs[half:])

	all := stored(t, e, name)
	expected, err := evaluator.Deliveries(all, subs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range asked {
		checkWish(t, w, rs[i], expected[i], all)
		t.Logf("%-14s %6d events", w.name, len(expected[i]))
	}
	for i, w := range asked { // nothing else came meanwhile
		e.AwaitPool(w.name, "everything read", func(*wire.Pool) error {
			st := e.Get(w.name).Status
			if st == nil || st.Position < uint64(len(msgs)) || st.Pending > 0 {
				return fmt.Errorf("its status is %+v", st)
			}
			return nil
		})
		if got := rs[i].Count(); got != len(expected[i]) {
			t.Errorf("%s: %d deliveries in the end, want %d", w.name, got, len(expected[i]))
		}
	}
}

func checkWish(t *testing.T, w wish, r *harness.Recorder, expected []evaluator.Expected, all []evaluator.Stored) {
	t.Helper()
	if len(expected) == 0 != (w.name == "nothing") && (w.name != "webhooks" || len(all) > generated) {
		t.Errorf("%s: %d events are expected: the test tells little", w.name, len(expected))
	}
	keys := make(map[uint64]string, len(expected))
	for _, x := range expected {
		keys[x.Sequence] = x.Key
	}
	want := slices.Collect(maps.Keys(keys))
	r.AwaitAll(want)
	r.RequireExactly(w.name, want)
	r.RequireOrder(w.name, func(d harness.Delivery) string { return keys[d.Sequence] })
	for _, d := range r.Deliveries() {
		if err := checkDelivery(w, r, d, all[d.Sequence-1]); err != nil {
			t.Fatalf("%s: event %d: %v", w.name, d.Sequence, err)
		}
	}
}

// checkDelivery compares a delivery with the event as it is stored.
func checkDelivery(w wish, r *harness.Recorder, d harness.Delivery, s evaluator.Stored) error {
	if d.Sum != r.Sum(s.Data) {
		return errors.New("the body is another one")
	}
	if d.Subscription != w.name || d.Store != "EVENTS" || d.Subject != s.Subject || d.Epoch == 0 || d.Answered == w.publish {
		return fmt.Errorf("the headers are %v", d.Header)
	}
	if at := d.Header.Get(wire.HeaderTime); at != s.Time.UTC().Format(time.RFC3339Nano) {
		return fmt.Errorf("the time is %s, want %v", at, s.Time)
	}
	for h, want := range s.Headers {
		kept := len(h) < 5 || h[:5] != "Nats-"
		if got := d.Header[h]; kept && !slices.Equal(got, want) || !kept && got != nil {
			return fmt.Errorf("header %s is %q, want %q", h, got, want)
		}
	}
	return nil
}
