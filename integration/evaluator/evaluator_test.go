package evaluator_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/integration/evaluator"
	"github.com/sluicehq/sluice/integration/events"
	"github.com/sluicehq/sluice/pkg/wire"
)

var stored = time.Date(2026, 11, 23, 10, 0, 0, 500_000_000, time.UTC)

// five are events with and without ce-type, of two streams, a second apart.
func five() []evaluator.Stored {
	all := []evaluator.Stored{
		{Subject: "a.x.1", Headers: map[string][]string{"ce-type": {"made"}, "X-Key": {"k1", "k2"}}},
		{Subject: "a.x.made"},
		{Subject: "a.y.1", Headers: map[string][]string{"ce-type": {"gone"}, "x-key": {"k1"}}, Data: []byte(`{"n":1}`)},
		{Subject: "a.y.gone", Data: []byte(`{"n":2}`)},
		{Subject: "b", Headers: map[string][]string{"ce-type": {"made"}}, Data: []byte(`{"n":2`)},
	}
	for i := range all {
		all[i].Sequence = uint64(i + 1)
		all[i].Time = stored.Add(time.Duration(i) * time.Second)
	}
	return all
}

// deliveries returns the sequences and keys that spec must get of five, where
// the store's last sequence was 3 when it was asked for.
func deliveries(t *testing.T, spec wire.Spec) (sequences []uint64, keys []string) {
	t.Helper()
	spec.Store = "S"
	all, err := evaluator.Deliveries(five(), evaluator.Subscription{Spec: spec, Last: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all[0] {
		sequences, keys = append(sequences, e.Sequence), append(keys, e.Key)
	}
	return sequences, keys
}

func TestStartsCountFromWhereTheContractSays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		start wire.Position
		want  []uint64
	}{
		"new":            {wire.Position{}, []uint64{4, 5}},
		"all":            {wire.Position{Kind: wire.PositionAll}, []uint64{1, 2, 3, 4, 5}},
		"a sequence":     {wire.Position{Kind: wire.PositionSequence, Sequence: 3}, []uint64{3, 4, 5}},
		"a time":         {wire.Position{Kind: wire.PositionTime, Time: stored.Add(time.Second)}, []uint64{2, 3, 4, 5}},
		"just after one": {wire.Position{Kind: wire.PositionTime, Time: stored.Add(time.Second + 1)}, []uint64{3, 4, 5}},
		"the future":     {wire.Position{Kind: wire.PositionTime, Time: stored.Add(time.Hour)}, nil},
	} {
		got, _ := deliveries(t, wire.Spec{Start: tt.start, Selector: wire.Selector{ByStream: wire.StringList{"$all"}}})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSelectorsMatchAloneAndTogether(t *testing.T) {
	t.Parallel()
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, tt := range map[string]struct {
		selector wire.Selector
		want     []uint64
	}{
		"a literal subject":     {wire.Selector{ByStream: wire.StringList{"a.x.1"}}, []uint64{1}},
		"a star":                {wire.Selector{ByStream: wire.StringList{"a.*.1"}}, []uint64{1, 3}},
		"a star at the end":     {wire.Selector{ByStream: wire.StringList{"a.*"}}, nil},
		"the rest":              {wire.Selector{ByStream: wire.StringList{"a.>"}}, []uint64{1, 2, 3, 4}},
		"the rest is not empty": {wire.Selector{ByStream: wire.StringList{"b.>"}}, nil},
		"any of the filters":    {wire.Selector{ByStream: wire.StringList{"b", "a.x.*"}}, []uint64{1, 2, 5}},
		"a type":                {wire.Selector{ByEventType: wire.StringList{"made"}}, []uint64{1, 2, 5}},
		"any of the types":      {wire.Selector{ByEventType: wire.StringList{"gone", "1"}}, []uint64{3, 4}},
		"types have a case":     {wire.Selector{ByEventType: wire.StringList{"Made"}}, nil},
		"stream and type": {
			wire.Selector{ByStream: wire.StringList{"a.>"}, ByEventType: wire.StringList{"made"}}, []uint64{1, 2},
		},
		"a payload":           {wire.Selector{ByEventPayload: raw(`{"n":[1,2]}`)}, []uint64{3, 4}},
		"no JSON, no payload": {wire.Selector{ByEventPayload: raw(`{"m":[{"exists":false}]}`)}, []uint64{3, 4}},
		"all four": {
			wire.Selector{
				ByStream: wire.StringList{"a.y.>"}, ByEventType: wire.StringList{"gone"},
				ByEventPattern: raw(`{"sequence":[{"numeric":[">",3]}]}`), ByEventPayload: raw(`{"n":[1,2]}`),
			}, []uint64{4},
		},
		"the event's stream, with its type":    {wire.Selector{ByEventPattern: raw(`{"stream":"a.x.1"}`)}, []uint64{1}},
		"the event's stream, without its type": {wire.Selector{ByEventPattern: raw(`{"stream":["a.x","a.y"]}`)}, []uint64{2, 4}},
		"a header's name is in lower case":     {wire.Selector{ByEventPattern: raw(`{"headers":{"x-key":"k1"}}`)}, []uint64{1, 3}},
		"a header's first value counts":        {wire.Selector{ByEventPattern: raw(`{"headers":{"x-key":"k2"}}`)}, nil},
		"an id that is the place":              {wire.Selector{ByEventPattern: raw(`{"id":"S:2"}`)}, []uint64{2}},
		"a time":                               {wire.Selector{ByEventPattern: raw(`{"time":"2026-11-23T10:00:02.5Z"}`)}, []uint64{3}},
		"data in the document":                 {wire.Selector{ByEventPattern: raw(`{"data":{"n":2}}`)}, []uint64{4}},
		"no data": {
			wire.Selector{ByEventPattern: raw(`{"data":[{"exists":false}],"source":[{"exists":false}]}`)}, []uint64{1, 2, 5},
		},
	} {
		got, _ := deliveries(t, wire.Spec{Start: wire.Position{Kind: wire.PositionAll}, Selector: tt.selector})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAByteOrderMarkIsPassedOver(t *testing.T) {
	t.Parallel()
	spec := wire.Spec{Store: "S", Selector: wire.Selector{ByEventPayload: json.RawMessage(`{"n":1}`)}}
	got, err := evaluator.Deliveries([]evaluator.Stored{{Sequence: 9, Subject: "a", Data: []byte("\ufeff{\"n\":1}")}}, evaluator.Subscription{Spec: spec})
	if err != nil || len(got[0]) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestIDsAreTakenInTurn(t *testing.T) {
	t.Parallel()
	for want, headers := range map[string]map[string][]string{
		"ce":  {"ce-id": {"ce"}, "Nats-Msg-Id": {"msg"}, "ce-source": {"src"}},
		"msg": {"Nats-Msg-Id": {"msg"}, "ce-source": {"src"}},
		"S:9": {"ce-source": {"src"}},

		"a%20b": {"ce-id": {"a%20b"}, "ce-source": {"src"}},
		"é %zz": {"ce-id": {"%C3%A9%20%zz"}, "ce-source": {"src"}, "Ce-Specversion": {"1.0"}},
	} {
		spec := wire.Spec{Store: "S", Selector: wire.Selector{
			ByEventPattern: json.RawMessage(`{"id":"` + want + `","source":"src","store":"S"}`),
		}}
		got, err := evaluator.Deliveries([]evaluator.Stored{{Sequence: 9, Subject: "a", Headers: headers}}, evaluator.Subscription{Spec: spec})
		if err != nil || len(got[0]) != 1 {
			t.Errorf("id %q: %v, %v", want, got, err)
		}
	}
}

func TestKeysAreWhatOrderBySays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		by   wire.OrderBy
		want []string
	}{
		"stream":  {wire.OrderBy{}, []string{"a.x.1", "a.x", "a.y.1", "a.y", "b"}},
		"subject": {wire.OrderBy{Kind: wire.OrderSubject}, []string{"a.x.1", "a.x.made", "a.y.1", "a.y.gone", "b"}},
		"none":    {wire.OrderBy{Kind: wire.OrderNone}, []string{"1", "2", "3", "4", "5"}},
		"token":   {wire.OrderBy{Kind: wire.OrderToken, Token: 2}, []string{"x", "x", "y", "y", ""}},
		"header":  {wire.OrderBy{Kind: wire.OrderHeader, Header: "x-key"}, []string{"k1", "", "k1", "", ""}},
	} {
		_, got := deliveries(t, wire.Spec{
			Start: wire.Position{Kind: wire.PositionAll}, OrderBy: tt.by,
			Selector: wire.Selector{ByStream: wire.StringList{"$all"}},
		})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDeliveriesAreBySequenceForEachSubscription(t *testing.T) {
	t.Parallel()
	all := five()
	all[0], all[4] = all[4], all[0]
	sub := func(filter string) evaluator.Subscription {
		return evaluator.Subscription{Spec: wire.Spec{
			Start: wire.Position{Kind: wire.PositionAll}, OrderBy: wire.OrderBy{Kind: wire.OrderSubject},
			Selector: wire.Selector{ByStream: wire.StringList{filter}},
		}}
	}
	got, err := evaluator.Deliveries(all, sub("*.*.1"), sub("c"), sub("b"))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]evaluator.Expected{{{Sequence: 1, Key: "a.x.1"}, {Sequence: 3, Key: "a.y.1"}}, nil, {{Sequence: 5, Key: "b"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}
}

func TestTypeAndStreamOfGeneratedEventsAreTheGenerators(t *testing.T) {
	t.Parallel()
	for e := range events.Generate(5, 500) {
		s := evaluator.Stored{Subject: e.Subject, Headers: e.Headers}
		if evaluator.Type(s) != e.Type || evaluator.Stream(s) != e.Stream {
			t.Fatalf("%q: type %q, stream %q, want %q, %q", e.Subject, evaluator.Type(s), evaluator.Stream(s), e.Type, e.Stream)
		}
	}
}
