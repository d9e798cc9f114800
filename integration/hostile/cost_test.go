package hostile

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// costly are pairs of a payload pattern and a payload, each within its own
// bounds, that took up to a minute to be held against each other. By "ok" each
// is found among other patterns.
var costly = []struct{ name, pattern, data string }{
	{"wildcards", alternatives(3400, `{"wildcard":"*b*"}`), manyOf(`"aaaaaaaa"`)},
	{"suffixes", alternatives(3500, `{"suffix":"b"}`), manyOf(`"a"`)},
	{"ranges", alternatives(1200, `{"numeric":[">",9,"<",99]}`), manyOf(`1`)},
	{"$or of objects", `{"ok":true,"$or":` + repeatJSON(3000, `{"a":{"b":"x"}}`) + `}`, manyOf(`{"b":1}`)},
	{"long wildcards", alternatives(60, `{"wildcard":"`+strings.Repeat("*a", 500)+`*b*"}`), manyOf(`"` + strings.Repeat("a", 1000) + `"`)},
}

func repeatJSON(n int, one string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + "]"
}

func alternatives(n int, one string) string { return `{"ok":true,"a":` + repeatJSON(n, one) + `}` }

// manyOf is a payload of almost 1 MB.
func manyOf(one string) string {
	return `{"ok":true,"a":` + repeatJSON(1_000_000/(len(one)+1), one) + `}`
}

// soon is far above what a neighbour may wait, and far below what it did.
const soon = 10 * time.Second

func TestCost_AnEventThatIsTooCostlyIsParkedAndHoldsNobodyUp(t *testing.T) {
	for i, tt := range costly {
		t.Run(tt.name, func(t *testing.T) { // one at a time: they would keep each other waiting
			c := costCase{Env: harness.New(t), data: tt.data}
			c.StartAll()
			c.onExhausted = []string{wire.ExhaustedPark, wire.ExhaustedBlock}[i%2] // waiting would not help
			c.run(tt.pattern)
		})
	}
}

// costCase is a store with a costly subscription and a neighbour.
type costCase struct {
	*harness.Env
	data, onExhausted string
}

func (c *costCase) subscribe(name, pattern string) *harness.Recorder {
	c.T.Helper()
	r := c.Record("to."+name, harness.Ack)
	c.Subscribe(name, client.Spec{
		Store: "EVENTS", Selector: client.Selector{ByEventPayload: json.RawMessage(pattern)}, Start: client.FromAll(),
		OnExhausted: c.onExhausted, Deliver: client.Deliver{Subject: "to." + name},
	})
	return r
}

func (c *costCase) run(pattern string) {
	c.T.Helper()
	c.Store("EVENTS", "events.>")
	hostile := c.subscribe("hostile", `{"$or":[{"small":true},`+pattern+`]}`)
	neighbour := c.subscribe("neighbour", `{"$or":[{"small":true},{"a":[{"exists":true}]}]}`)

	c.Publish("events.1.x", `{"small":true}`)
	neighbour.AwaitCount(1)
	hostile.AwaitCount(1)
	published := time.Now()
	c.Publish("events.1.x", c.data)
	c.Publish("events.1.x", `{"small":true}`)
	for _, d := range neighbour.AwaitCount(3) {
		if waited := d.At.Sub(published); waited > soon {
			c.T.Errorf("the neighbour waited %v for event %d", waited, d.Sequence)
		}
	}
	c.AwaitFloor("hostile", 3)
	hostile.RequireExactly("all but the costly one", []uint64{1, 3})
	parked := c.Stored(wire.DefaultNamespace.StreamParked(), wire.DefaultNamespace.Parked("hostile"))
	if len(parked) != 1 {
		c.T.Fatalf("%d events are parked, want 1", len(parked))
	}
	if h := parked[0].Header; h.Get(wire.HeaderParkReason) != wire.ParkedTooCostly || h.Get(wire.HeaderSequence) != "2" {
		c.T.Errorf("parked with %v", h)
	}
	c.told()
}

// told requires that status, advisory and explanation say why.
func (c *costCase) told() {
	c.T.Helper()
	c.Await("the status of the pool", func() error {
		if s := c.Get("hostile").Status; s == nil || s.TooCostly != 1 {
			return fmt.Errorf("status = %+v", s)
		}
		return nil
	})
	subject := wire.DefaultNamespace.Advisory(wire.AdvEventParked, "hostile")
	c.Await("an advisory", func() error {
		for _, m := range c.Stored(wire.DefaultNamespace.StreamAdvisories(), subject) {
			if strings.Contains(string(m.Data), wire.ParkedTooCostly) {
				return nil
			}
		}
		return fmt.Errorf("none says %q", wire.ParkedTooCostly)
	})
	why, err := c.Client.Explain(c.Context(), "hostile", wire.ExplainRequest{Sequence: 2})
	if err != nil {
		c.T.Fatal(err)
	}
	if why.Matches || len(why.Reasons) != 1 || why.Reasons[0].Found != wire.ParkedTooCostly {
		c.T.Errorf("explained as %+v", why)
	}
}
