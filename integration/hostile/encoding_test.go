package hostile

import (
	"encoding/json"
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
)

// encodings are events as other systems write them, each of which is of type
// "order placed" and has the payload {"n":1}, or is not.
var encodings = []struct {
	name, body string
	headers    []string
	matches    bool
}{
	{"a byte order mark", "\ufeff{\"n\":1}", []string{"ce-type", "order placed"}, true},
	{"a byte order mark in the middle", "{\ufeff\"n\":1}", []string{"ce-type", "order placed"}, false},
	{"UTF-16", "\xff\xfe{\x00}\x00", []string{"ce-type", "order placed"}, false},
	{"a CloudEvent", `{"n":1}`, []string{"ce-specversion", "1.0", "ce-type", "order%20placed"}, true},
	{"a CloudEvent of an older version", `{"n":1}`, []string{"CE-SPECVERSION", "0.3", "CE-TYPE", `"order placed"`}, true},
	{"no CloudEvent", `{"n":1}`, []string{"ce-type", "order%20placed"}, false},
	{"escaped twice", `{"n":1}`, []string{"ce-specversion", "1.0", "ce-type", "order%2520placed"}, false},
	{"no UTF-8", `{"n":1}`, []string{"ce-specversion", "1.0", "ce-type", "order%C0%A0placed"}, false},
}

func TestEncoding_OfOtherSystemsIsReadAndPassedOnUnchanged(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Store("EVENTS", "events.>")
	e.StartAll()
	r := e.RecordBodies("to.reader", harness.Ack)
	e.Subscribe("reader", client.Spec{
		Store: "EVENTS", Start: client.FromAll(), Deliver: client.Deliver{Subject: "to.reader"},
		Selector: client.Selector{ByEventType: []string{"order placed"}, ByEventPayload: json.RawMessage(`{"n":1}`)},
	})
	var want []uint64
	bodies := map[uint64]string{}
	for _, tt := range encodings {
		seq := e.Publish("events.1", tt.body, tt.headers...)
		bodies[seq] = tt.body
		if tt.matches {
			want = append(want, seq)
		}
	}
	e.AwaitFloor("reader", uint64(len(encodings)))
	r.RequireExactly("those that match", want)
	for _, d := range r.Deliveries() {
		if string(d.Data) != bodies[d.Sequence] {
			t.Errorf("event %d came as %q", d.Sequence, d.Data)
		}
	}
}
