package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/wire"
)

// TestExplainAgreesWithWhatIsDelivered asks of every event in a store, beside
// the emitter that delivers, and again for the same event by its content.
func TestExplainAgreesWithWhatIsDelivered(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := spec("to.explain")
	s.Selector.ByStream = []string{"orders.eu.>", "bills.>"}
	s.Selector.ByEventType = []string{"placed", "paid"}
	s.Selector.ByEventPattern = json.RawMessage(`{"headers":{"x-shop":["a","b"]}}`)
	s.Selector.ByEventPayload = json.RawMessage(`{"lines":{"total":[{"numeric":[">=",10]}]}}`)
	r := e.Record("to.explain", harness.Ack)
	e.Subscribe("explain", s)
	type event struct {
		subject, body string
		headers       []string
	}
	var events []event
	for _, subject := range []string{"orders.eu.1.placed", "orders.us.1.placed", "orders.eu.1.lost"} {
		for _, body := range []string{`{"lines":[{"total":9},{"total":10.0}]}`, `{"lines":[]}`, `{}`} {
			for _, headers := range [][]string{nil, {"X-Shop", "b"}, {"x-shop", "c", "Ce-Type", "paid"}, {"x-shop", "a", "Ce-Type", "paid"}} {
				events = append(events, event{subject, body, headers})
			}
		}
	}
	for _, x := range events {
		e.Publish(x.subject, x.body, x.headers...)
	}
	e.AwaitFloor("explain", uint64(len(events)))
	var matched []uint64
	for i, x := range events {
		stored, err := e.Client.Explain(e.Context(), "explain", wire.ExplainRequest{Sequence: uint64(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		headers := map[string]wire.StringList{}
		for h := range slices.Chunk(x.headers, 2) {
			headers[h[0]] = wire.StringList{h[1]}
		}
		madeUp, err := e.Client.Explain(e.Context(), "explain", wire.ExplainRequest{
			Event: &wire.ExplainEvent{Subject: x.subject, Headers: headers, Data: json.RawMessage(x.body)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(stored.Reasons) != fmt.Sprint(madeUp.Reasons) {
			t.Errorf("%+v: stored %v, made up %v", x, stored.Reasons, madeUp.Reasons)
		}
		if stored.Matches {
			matched = append(matched, stored.Event.Sequence)
			if stored.Delivery != wire.DeliveryFinished {
				t.Errorf("%+v is %q, want it finished", x, stored.Delivery)
			}
		}
	}
	if len(matched) == 0 {
		t.Error("no event matches")
	}
	r.RequireExactly("what explain says", matched)
	status := e.Get("explain").Status
	if status == nil || status.Evaluated < uint64(len(matched)) || status.Matched != uint64(len(matched)) {
		t.Errorf("status = %+v, want %d matched", status, len(matched))
	}
}
