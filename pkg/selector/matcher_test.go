package selector_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
)

func newEvent(subject string, header nats.Header, data string) *selector.Event {
	e := selector.NewEvent("S", selector.Message{Sequence: 9, Time: stored, Subject: subject, Header: header, Data: []byte(data)})
	return &e
}

func compile(t interface{ Fatal(...any) }, s wire.Selector) *selector.Matcher {
	m, err := selector.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func explain(t interface{ Fatal(...any) }, m *selector.Matcher, e *selector.Event) []wire.ExplainReason {
	why, err := m.Explain(e)
	if err != nil {
		t.Fatal(err)
	}
	return why
}

func TestAllMembersOfASelectorMustHold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		sel         wire.Selector
		json, plain bool // whether the event with headers and a JSON payload matches, and the one without
	}{
		{"a filter", wire.Selector{ByStream: wire.StringList{"github.*.opened"}}, true, true},
		{"any of several filters", wire.Selector{ByStream: wire.StringList{"x.>", "github.>"}}, true, true},
		{"none of several filters", wire.Selector{ByStream: wire.StringList{"x.>", "github.a"}}, false, false},
		{"$all", wire.Selector{ByStream: wire.StringList{"$all"}}, true, true},
		{"$all beside others", wire.Selector{ByStream: wire.StringList{"x", "$all"}}, true, true},
		{">", wire.Selector{ByStream: wire.StringList{">"}}, true, true},
		{"a type", wire.Selector{ByEventType: wire.StringList{"closed", "opened"}}, true, true},
		{"another type", wire.Selector{ByEventType: wire.StringList{"open"}}, false, false},
		{"type and another filter", wire.Selector{ByStream: wire.StringList{"x.>"}, ByEventType: wire.StringList{"opened"}}, false, false},
		{"payload", wire.Selector{ByEventPayload: json.RawMessage(`{"n":1}`)}, true, false},
		{"absence in a payload needs a payload", wire.Selector{ByEventPayload: json.RawMessage(`{"m":[{"exists":false}]}`)}, true, false},
		{"event pattern", wire.Selector{ByEventPattern: json.RawMessage(`{"headers":{"x-region":["eu"]}}`)}, true, false},
		{"both patterns", wire.Selector{ByEventPattern: json.RawMessage(`{"type":"opened"}`), ByEventPayload: json.RawMessage(`{"n":2}`)}, false, false},
		{"pattern and another type", wire.Selector{ByEventType: wire.StringList{"x"}, ByEventPattern: json.RawMessage(`{"type":"opened"}`)}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := compile(t, tt.sel)
			for _, c := range []struct {
				e    *selector.Event
				want bool
			}{
				{newEvent("github.a.opened", nats.Header{"X-Region": {"eu"}}, `{"n":1}`), tt.json},
				{newEvent("github.a.opened", nil, "no JSON"), tt.plain},
			} {
				if got := m.Judge(c.e) == pattern.Matches; got != c.want {
					t.Errorf("Match(%s) = %v, want %v", c.e.Data, got, c.want)
				}
				if why := explain(t, m, c.e); (len(why) == 0) != c.want {
					t.Errorf("Explain(%s) = %v, want reasons: %v", c.e.Data, why, !c.want)
				}
			}
		})
	}
}

func TestABadPatternIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sel  wire.Selector
		want string
	}{
		{wire.Selector{ByEventPattern: json.RawMessage(`{"nosuch":1}`)}, "selector.by_event_pattern"},
		{wire.Selector{ByEventPayload: json.RawMessage(`{"n":[{"nosuch":1}]}`)}, "selector.by_event_payload"},
	} {
		if _, err := selector.Compile(tt.sel); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Compile = %v, want an error that names %s", err, tt.want)
		}
	}
}

func TestAllMembersThatDoNotHoldAreTold(t *testing.T) {
	t.Parallel()
	m := compile(t, wire.Selector{
		ByStream:       wire.StringList{"orders.>", "bills.*.paid"},
		ByEventType:    wire.StringList{"placed"},
		ByEventPattern: json.RawMessage(`{"headers":{"x-region":["eu","us"]},"data":{"n":[{"numeric":[">",5]}]},"subject":"x"}`),
		ByEventPayload: json.RawMessage(`{"n":[{"numeric":[">",5]}],"tags":{"name":"new"},"gone":[{"exists":true}]}`),
	})
	const (
		stream, typ       = "selector.by_stream", "selector.by_event_type"
		envelope, payload = "selector.by_event_pattern", "selector.by_event_payload"
	)
	for _, tt := range []struct {
		name string
		e    *selector.Event
		want []wire.ExplainReason
	}{
		{"each of the four", newEvent("x", nats.Header{"X-Region": {"asia"}}, `{"n":5,"tags":[{"name":"old"}],"gone":1}`), []wire.ExplainReason{
			{Member: stream, Path: "subject", Want: `["bills.*.paid","orders.>"]`, Found: `"x"`},
			{Member: typ, Path: "type", Want: `"placed"`, Found: `"x"`},
			{Member: envelope, Path: "headers.x-region", Want: `["eu","us"]`, Found: `"asia"`},
			{Member: envelope, Path: "data.n", Want: `[{"numeric":[">",5]}]`, Found: `5`},
			{Member: payload, Path: "n", Want: `[{"numeric":[">",5]}]`, Found: `5`},
			{Member: payload, Path: "tags[0].name", Want: `"new"`, Found: `"old"`},
		}},
		{"one pattern alone", newEvent("orders.1.placed", nats.Header{"x-region": {"eu"}}, `{"n":6,"tags":{"name":"new"},"gone":null}`), []wire.ExplainReason{
			{Member: envelope, Path: "subject", Want: `"x"`, Found: `"orders.1.placed"`},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(explain(t, m, tt.e), tt.want); diff != "" {
				t.Errorf("reasons (-got +want):\n%s", diff)
			}
		})
	}
	t.Run("no JSON", func(t *testing.T) {
		t.Parallel()
		why := explain(t, m, newEvent("orders.1.placed", nil, "text"))
		last := why[len(why)-1]
		if last.Member != payload || last.Path != "" || last.Want != "a JSON payload" || last.Found == "" {
			t.Errorf("the last reason is %+v", last)
		}
	})
}

func TestReasonsAreShortHoweverLongTheTexts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 10_000)
	m := compile(t, wire.Selector{
		ByStream: wire.StringList{long}, ByEventType: wire.StringList{long + "x", "b"},
		ByEventPayload: json.RawMessage(`{"` + long + `":{"a":1,"b":1}}`),
	})
	why := explain(t, m, newEvent(long+"."+long, nil, `{}`))
	if len(why) != 4 {
		t.Errorf("%d reasons, want 4", len(why))
	}
	for _, r := range why {
		for _, text := range []string{r.Path, r.Want, r.Found} {
			if len(text) > 300 || strings.ContainsRune(text, '\uFFFD') {
				t.Errorf("%s: %d bytes: %.40s…", r.Member, len(text), text)
			}
		}
	}
}

// dear is a payload pattern, and a payload, that together cost more than there is.
func dear() (pattern json.RawMessage, data string) {
	one := strings.TrimSuffix(strings.Repeat(`{"suffix":"b"},`, 3000), ",")
	return json.RawMessage(`{"a":[` + one + `]}`), `{"a":[` + strings.Repeat(`"a",`, 10_000) + `"a"]}`
}

func TestSelector_TooCostlyToJudgeIsAVerdictAndAReason(t *testing.T) {
	t.Parallel()
	costly, data := dear()
	inData := json.RawMessage(`{"data":` + string(costly) + `}`)
	for _, tt := range []struct {
		name string
		sel  wire.Selector
		want pattern.Verdict
		why  []string // the members that are told, and what was found
	}{
		{"the payload", wire.Selector{ByEventPayload: costly}, pattern.TooCostly, []string{"selector.by_event_payload too costly to judge"}},
		{"the event document", wire.Selector{ByEventPattern: inData}, pattern.TooCostly, []string{"selector.by_event_pattern too costly to judge"}},
		{
			"of another type",
			wire.Selector{ByEventType: wire.StringList{"other"}, ByEventPayload: costly},
			pattern.NoMatch,
			[]string{`selector.by_event_type "b"`, "selector.by_event_payload too costly to judge"},
		},
		{
			"the event document does not match",
			wire.Selector{ByEventPattern: json.RawMessage(`{"type":"other"}`), ByEventPayload: costly},
			pattern.NoMatch,
			[]string{`selector.by_event_pattern "b"`, "selector.by_event_payload too costly to judge"},
		},
		{"a cheap pattern", wire.Selector{ByEventPayload: json.RawMessage(`{"a":"a"}`)}, pattern.Matches, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, e := compile(t, tt.sel), newEvent("a.b", nil, data)
			if got := m.Judge(e); got != tt.want {
				t.Errorf("Judge = %v, want %v", got, tt.want)
			}
			var why []string
			for _, r := range explain(t, m, e) {
				why = append(why, r.Member+" "+r.Found)
			}
			if diff := cmp.Diff(tt.why, why); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}
