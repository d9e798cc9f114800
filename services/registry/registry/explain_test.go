package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// choosy is a subscription that uses all four members of a selector.
const choosy = `{"store":"ORDERS","deliver":{"subject":"w"},"start":"all","selector":{"by_stream":"orders.eu.>","by_event_type":["placed","paid"],` +
	`"by_event_pattern":{"headers":{"x-shop":["a","b"]}},"by_event_payload":{"total":[{"numeric":[">=",10]}]}}}`

func (e *env) explain(name, body string) wire.ExplainResponse {
	e.tb.Helper()
	return ok[wire.ExplainResponse](e, wire.VerbExplain, name, body)
}

func TestExplainTellsEveryMemberThatDoesNotHold(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("choosy", choosy)
	all := []wire.ExplainReason{
		{Member: "selector.by_stream", Path: "subject", Want: `"orders.eu.>"`, Found: `"orders.us.lost"`},
		{Member: "selector.by_event_type", Path: "type", Want: `["paid","placed"]`, Found: `"lost"`},
		{Member: "selector.by_event_pattern", Path: "headers.x-shop", Want: `["a","b"]`, Found: `"c"`},
		{Member: "selector.by_event_payload", Path: "total", Want: `[{"numeric":[">=",10]}]`, Found: `9.5`},
	}
	for _, tt := range []struct {
		name, event string
		want        []wire.ExplainReason
	}{
		{"all of them", `{"subject":"orders.us.lost","headers":{"X-Shop":["c","a"]},"data":{"total":9.5}}`, all},
		{"none", `{"subject":"orders.eu.7.paid","headers":{"X-Shop":"b"},"data":{"total":10}}`, []wire.ExplainReason{}},
		{"a type from a header", `{"subject":"orders.eu.lost","headers":{"x-shop":"a","ce-type":"paid"},"data":{"total":10}}`, []wire.ExplainReason{}},
		{"null is a payload", `{"subject":"orders.eu.paid","headers":{"x-shop":"a"},"data":null}`, []wire.ExplainReason{
			{Member: "selector.by_event_payload", Path: "total", Want: `[{"numeric":[">=",10]}]`, Found: "nothing"},
		}},
	} {
		got := e.explain("choosy", `{"event":`+tt.event+`}`)
		if diff := cmp.Diff(got.Reasons, tt.want); diff != "" || got.Matches != (len(tt.want) == 0) {
			t.Errorf("%s: matches %v, reasons (-got +want):\n%s", tt.name, got.Matches, diff)
		}
		if got.Name != "choosy" || got.Delivery != "" || got.Event.Time.IsZero() {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	got := e.explain("choosy", `{"event":{"subject":"orders.eu.paid","headers":{"ce-id":"i"},"time":"2026-01-01T01:00:00+01:00"}}`)
	want := wire.ExplainedEvent{
		Store: "ORDERS", Subject: "orders.eu.paid", Type: "paid", Stream: "orders.eu", ID: "i",
		Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(got.Event, want); diff != "" {
		t.Errorf("event (-got +want):\n%s", diff)
	}
	if last := got.Reasons[len(got.Reasons)-1]; last.Path != "" || last.Want != "a JSON payload" {
		t.Errorf("without data: %+v", last)
	}
}

func TestExplainOfAStoredEventSaysHowFarThePoolHasCome(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.publish("orders.eu.1", 3)
	sub := e.subscribe("s", body()).Subscription // from 4 on
	e.publish("orders.eu.1", 17)
	outcomes := func(want map[uint64]wire.ExplainDelivery) {
		t.Helper()
		for seq, delivery := range want {
			got := e.explain("s", fmt.Sprintf(`{"sequence":%d}`, seq))
			if !got.Matches || got.Delivery != delivery || got.Event.Sequence != seq || got.Event.Stream != "orders.eu" || got.Event.ID != fmt.Sprint("ORDERS:", seq) {
				t.Errorf("%d: %+v, want %q", seq, got, delivery)
			}
		}
	}
	outcomes(map[uint64]wire.ExplainDelivery{3: wire.DeliveryBeforeStart, 4: wire.DeliveryNotYetRead}) // nobody has claimed it
	pools := subscription.NewPools(e.bucket(ns.BucketPools()))
	pool := &wire.Pool{
		Schema: 1, Name: "s", UID: sub.UID, Owner: "emitter-1", Epoch: 1, State: wire.PoolLive,
		Checkpoint: wire.Checkpoint{Floor: 6, Ranges: [][2]uint64{{9, 10}}}, ClaimedAt: time.Now(), UpdatedAt: time.Now(),
	}
	rev, err := pools.Write(t.Context(), pool, 0)
	if err != nil {
		t.Fatal(err)
	}
	outcomes(map[uint64]wire.ExplainDelivery{
		3: wire.DeliveryFinished, 6: wire.DeliveryFinished, 7: wire.DeliveryPending, 9: wire.DeliveryFinished, 11: "", // the owner is silent
	})
	_, err = e.nc.Subscribe(ns.EmitterPools("emitter-1"), func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"pools":[{"name":"s","uid":"` + sub.UID + `","floor":7,"position":12}]}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the owner's word", func() error {
		if got := e.explain("s", `{"sequence":11}`); got.Delivery != wire.DeliveryPending {
			return fmt.Errorf("delivery = %q", got.Delivery)
		}
		return nil
	})
	outcomes(map[uint64]wire.ExplainDelivery{7: wire.DeliveryFinished, 8: wire.DeliveryPending, 12: wire.DeliveryPending, 13: wire.DeliveryNotYetRead})
	if _, err := e.bucket(ns.BucketPools()).Update(t.Context(), "s", []byte("{"), rev); err != nil {
		t.Fatal(err)
	}
	outcomes(map[uint64]wire.ExplainDelivery{3: "", 7: "", 13: ""})
}

func TestDeliveryAsThePoolEntryAndItsOwnerHaveIt(t *testing.T) {
	t.Parallel()
	rec := &wire.Record{StartSequence: 100}
	owned := func(cp wire.Checkpoint) *wire.Pool { return &wire.Pool{Owner: "emitter-1", Checkpoint: cp} }
	for _, tt := range []struct {
		name string
		pool *wire.Pool
		live *wire.PoolStatus
		seq  uint64
		want wire.ExplainDelivery
	}{
		{"never claimed, before the start", nil, nil, 99, wire.DeliveryBeforeStart},
		{"never claimed, at the start", nil, nil, 100, wire.DeliveryNotYetRead},
		{"sought back", &wire.Pool{}, nil, 50, wire.DeliveryNotYetRead},
		{"sought back and delivered", owned(wire.Checkpoint{Floor: 80}), nil, 50, wire.DeliveryFinished},
		{"between what is finished", owned(wire.Checkpoint{Floor: 119, Ranges: [][2]uint64{{125, 126}}}), nil, 124, wire.DeliveryPending},
		{"the owner is silent", owned(wire.Checkpoint{Floor: 119}), nil, 120, ""},
		{"nobody owns it", &wire.Pool{Checkpoint: wire.Checkpoint{Floor: 119}}, nil, 120, wire.DeliveryNotYetRead},
		{"the owner has read it", owned(wire.Checkpoint{Floor: 119}), &wire.PoolStatus{Floor: 119, Position: 120}, 120, wire.DeliveryPending},
		{"the owner has finished it", owned(wire.Checkpoint{Floor: 119}), &wire.PoolStatus{Floor: 120, Position: 120}, 120, wire.DeliveryFinished},
		{"the owner has not read it", owned(wire.Checkpoint{Floor: 119}), &wire.PoolStatus{Floor: 119, Position: 119}, 120, wire.DeliveryNotYetRead},
	} {
		e := madeUp(rec, &wire.ExplainEvent{Subject: "a.b"}, time.Now())
		e.Sequence = tt.seq
		if got := delivery(rec, tt.pool, tt.live, e); got != tt.want {
			t.Errorf("%s: %d is %q, want %q", tt.name, tt.seq, got, tt.want)
		}
	}
}

// TestTheStoreMayAllowDirectGets: with what a replica adds to an event it would
// be judged differently than when it is delivered.
func TestTheStoreMayAllowDirectGets(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	stream, err := e.js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg("orders.1")
	msg.Header = nats.Header{"X-Shop": {"a", "b"}}
	if _, err := e.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	e.publish("orders.2", 1)
	e.subscribe("own", `{"store":"ORDERS","deliver":{"subject":"w"},"start":"all","selector":{"by_event_pattern":{"headers":{"x-shop":"a","nats-stream":[{"exists":false}]}}}}`)
	want := []wire.ExplainReason{{Member: "selector.by_event_pattern", Path: "headers.x-shop", Want: `"a"`, Found: "nothing"}}
	for _, direct := range []bool{false, true} {
		cfg := stream.CachedInfo().Config
		cfg.AllowDirect = direct
		if _, err := e.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if got := e.explain("own", `{"sequence":1}`); !got.Matches {
			t.Errorf("allow_direct %v: %+v", direct, got.Reasons)
		}
		if diff := cmp.Diff(e.explain("own", `{"sequence":2}`).Reasons, want); diff != "" {
			t.Errorf("allow_direct %v: reasons (-got +want):\n%s", direct, diff)
		}
	}
}

func TestDeliveryOfAnEventBeforeTheTimeAskedFor(t *testing.T) {
	t.Parallel()
	rec := &wire.Record{StartSequence: 5}
	rec.Spec.Start = wire.Position{Kind: wire.PositionTime, Time: time.Unix(100, 0)}
	passed := &wire.Pool{Owner: "emitter-1", Checkpoint: wire.Checkpoint{Floor: 6}}
	for _, tt := range []struct {
		pool *wire.Pool
		seq  uint64
		at   int64
		want wire.ExplainDelivery
	}{
		{nil, 4, 90, wire.DeliveryBeforeStart},
		{nil, 5, 99, wire.DeliveryBeforeStart}, // the time lay in the future when it was stored
		{nil, 6, 100, wire.DeliveryNotYetRead},
		{passed, 4, 90, wire.DeliveryFinished},
		{passed, 5, 99, wire.DeliveryBeforeStart},
		{passed, 6, 100, wire.DeliveryFinished},
	} {
		e := madeUp(rec, &wire.ExplainEvent{Subject: "a.b"}, time.Unix(tt.at, 0))
		e.Sequence = tt.seq
		if got := delivery(rec, tt.pool, nil, e); got != tt.want {
			t.Errorf("%d at %d, %+v: %q, want %q", tt.seq, tt.at, tt.pool, got, tt.want)
		}
	}
}

func TestASequenceThatTheStoreDoesNotHoldIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("s", body())
	s, err := e.js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(seq uint64, reason string) {
		t.Helper()
		bad := e.refused(wire.VerbExplain, "s", fmt.Sprintf(`{"sequence":%d}`, seq), wire.CodeBadField)
		if len(bad.Details) != 1 || bad.Details[0].Field != "sequence" || !strings.Contains(bad.Details[0].Reason, reason) {
			t.Errorf("%d: %+v, want %q", seq, bad.Details, reason)
		}
	}
	refused(1, "its last event is 0")
	e.publish("orders.1.placed", 5)
	if err := s.DeleteMsg(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	refused(4, "it was deleted")
	refused(6, "its last event is 5")
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(3)); err != nil {
		t.Fatal(err)
	}
	refused(2, "its first event is 3")
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused(5, "it is empty")
	if err := e.js.DeleteStream(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	_ = e.refused(wire.VerbExplain, "s", `{"sequence":5}`, wire.CodeNoStore)
	e.store("ORDERS", "orders.>")
	e.publish("orders.1.placed", 5)
	_ = e.refused(wire.VerbExplain, "s", `{"sequence":5}`, wire.CodeNoStore) // another store
	if got := e.explain("s", `{"event":{"subject":"orders.1"}}`); !got.Matches {
		t.Errorf("an event that is made up needs no store: %+v", got)
	}
}

// TestAnExplanationIsBounded: the larger event is one that no emitter judges
// either, and that is the explanation.
func TestAnExplanationIsBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var leaf []string
	for i := range 600 {
		leaf = append(leaf, fmt.Sprintf(`{"wildcard":"*a*b*%d"}`, i))
	}
	e.subscribe("dear", `{"store":"ORDERS","deliver":{"subject":"w"},"start":"all","selector":{"by_event_payload":{"x":[`+strings.Join(leaf, ",")+`]}}}`)
	event := func(n int) []byte {
		data, err := json.Marshal(map[string][]string{"x": strings.Split(strings.Repeat("ab ", n), " ")})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, n := range []int{1_000, 100_000} {
		if _, err := e.js.Publish(t.Context(), "orders.1", event(n)); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.explain("dear", `{"sequence":1}`); got.Matches || len(got.Reasons) == 0 {
		t.Errorf("%+v", got)
	}
	got := e.explain("dear", `{"sequence":2}`)
	if got.Matches || len(got.Reasons) != 1 || got.Reasons[0].Found != wire.ParkedTooCostly {
		t.Errorf("%+v", got)
	}
}

func TestAnExplanationWaitsForOthersOnlyAWhile(t *testing.T) {
	t.Parallel()
	s := &api{Service: &Service{explaining: make(chan struct{}, 1)}}
	s.explaining <- struct{}{}
	rec := &wire.Record{Spec: wire.Spec{Selector: wire.Selector{ByStream: wire.StringList{"a"}}}}
	e := madeUp(rec, &wire.ExplainEvent{Subject: "b"}, time.Now())
	if _, err := s.reasons(context.Background(), rec, e); !errors.Is(err, &wire.Error{ErrCode: wire.CodeTooMany}) {
		t.Errorf("err = %v, want %d", err, wire.CodeTooMany)
	}
	<-s.explaining
	if why, err := s.reasons(context.Background(), rec, e); err != nil || len(why) != 1 || len(s.explaining) != 0 {
		t.Errorf("reasons = %v, %v, slots taken: %d", why, err, len(s.explaining))
	}
}
