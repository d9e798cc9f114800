package match_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/match"
)

func newEvent(subject string, header nats.Header, data string) *selector.Event {
	e := selector.NewEvent("S", selector.Message{Sequence: 1, Time: time.Unix(0, 0), Subject: subject, Header: header, Data: []byte(data)})
	return &e
}

func compile(t interface{ Fatal(...any) }, s wire.Selector) *selector.Matcher {
	m, err := selector.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestABadFilterLeavesNothingInTheIndex(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "b..c", "b.", ".b", "*..c", "b.>.c"} {
		x := match.NewIndex[int]()
		if err := x.Add(1, compile(t, wire.Selector{ByStream: wire.StringList{"a.b", bad}})); err == nil {
			t.Errorf("the filter %q was taken", bad)
		}
		if got := goesTo(x, newEvent("a.b", nil, "")); len(got) != 0 || x.Has(1) || x.Len() != 0 || !x.Bare() {
			t.Errorf("after %q: found %v, has %v, len %d", bad, got, x.Has(1), x.Len())
		}
	}
}

func subject(wild bool) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		tokens := []string{"a", "b", "cc", "*x"}
		if wild {
			tokens = append(tokens, "*", "*")
		}
		ts := rapid.SliceOfN(rapid.SampledFrom(tokens), 1, 4).Draw(t, "tokens")
		if wild && rapid.IntRange(0, 2).Draw(t, "full") == 0 {
			ts = append(ts, ">")
		}
		return strings.Join(ts, ".")
	})
}

// manyNumbers is a pattern with nearly as many alternatives as there may be.
var manyNumbers = json.RawMessage(`{"n":[2` + strings.Repeat(",7", 4000) + `]}`)

func anySelector() *rapid.Generator[wire.Selector] {
	return rapid.Custom(func(t *rapid.T) wire.Selector {
		var s wire.Selector
		if rapid.Bool().Draw(t, "by_stream") {
			s.ByStream = rapid.SliceOfN(rapid.OneOf(subject(true), rapid.Just("$all"), rapid.Just("a.>"), rapid.Just("a.*")), 1, 4).Draw(t, "filters")
		}
		if rapid.Bool().Draw(t, "by_event_type") {
			s.ByEventType = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "cc", "t"}), 1, 3).Draw(t, "types")
		}
		if rapid.IntRange(0, 5).Draw(t, "long lists") == 0 { // more than are filed by both
			for i := range 17 {
				s.ByStream = append(s.ByStream, fmt.Sprintf("f%d.>", i))
				s.ByEventType = append(s.ByEventType, fmt.Sprintf("t%d", i))
			}
		}
		if rapid.IntRange(0, 2).Draw(t, "by_event_pattern") == 0 {
			s.ByEventPattern = json.RawMessage(rapid.SampledFrom([]string{
				`{"type":["a","t"]}`, `{"headers":{"k":["v"]}}`, `{"subject":[{"prefix":"a."}]}`,
				`{"headers":{"k":[{"exists":false}]}}`, `{"data":{"n":1}}`, `{"$or":[{"type":"b"},{"data":{"n":2}}]}`,
			}).Draw(t, "event pattern"))
		}
		if rapid.IntRange(0, 9).Draw(t, "many alternatives") == 0 { // too many to be filed by each of several filters
			for i := range 5 {
				s.ByStream = append(s.ByStream, fmt.Sprintf("g%d.*", i))
			}
			s.ByEventPayload = manyNumbers
		} else if rapid.IntRange(0, 2).Draw(t, "by_event_payload") == 0 {
			s.ByEventPayload = json.RawMessage(rapid.SampledFrom([]string{
				`{"n":[1,2]}`, `{"n":[{"numeric":[">",1]}]}`, `{"m":[{"exists":false}]}`, `{"n":1,"s":["x","y"]}`,
			}).Draw(t, "payload pattern"))
		}
		return s
	})
}

func anyEvent() *rapid.Generator[*selector.Event] {
	return rapid.Custom(func(t *rapid.T) *selector.Event {
		h := nats.Header{}
		if rapid.Bool().Draw(t, "ce-type") {
			h["ce-type"] = []string{rapid.SampledFrom([]string{"a", "t"}).Draw(t, "type")}
		}
		if rapid.Bool().Draw(t, "header") {
			h["K"] = []string{rapid.SampledFrom([]string{"v", "w"}).Draw(t, "value")}
		}
		data := rapid.SampledFrom([]string{`{"n":1}`, `{"n":2,"s":"x"}`, `{"n":1.0,"s":"y","m":null}`, `{}`, `no JSON`, ``}).Draw(t, "data")
		return newEvent(subject(false).Draw(t, "subject"), h, data)
	})
}

// TestTheIndexAgreesWithAskingEach also adds, replaces and removes between events.
func TestTheIndexAgreesWithAskingEach(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x := match.NewIndex[int]()
		all := map[int]*selector.Matcher{}
		key := rapid.IntRange(0, 9)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k, m := key.Draw(t, "key"), compile(t, anySelector().Draw(t, "selector"))
				if err := x.Add(k, m); err != nil {
					t.Fatal(err)
				}
				all[k] = m
			},
			"remove": func(t *rapid.T) {
				k := key.Draw(t, "key")
				x.Remove(k)
				delete(all, k)
			},
			"remove some of all": func(t *rapid.T) {
				x.Keys(func(k int) {
					if k%3 == 0 {
						x.Remove(k)
						delete(all, k)
					}
				})
			},
			"match": func(t *rapid.T) {
				e := anyEvent().Draw(t, "event")
				var want []int
				for k, m := range all {
					matches := m.Judge(e) == pattern.Matches
					if matches {
						want = append(want, k)
					}
					if why, err := m.Explain(e); err != nil || (len(why) == 0) != matches {
						t.Fatalf("%s %v %s: matches %v, but the reasons are %v, %v", e.Subject, e.Header, e.Data, matches, why, err)
					}
				}
				got := slices.Clone(goesTo(x, e))
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("%s %v %s goes to %v, want %v", e.Subject, e.Header, e.Data, got, want)
				}
			},
			"": func(t *rapid.T) {
				if x.Len() != len(all) {
					t.Fatalf("len = %d, want %d", x.Len(), len(all))
				}
			},
		})
		x.Keys(x.Remove)
		if x.Len() != 0 || !x.Bare() {
			t.Fatal("an index that was emptied keeps something")
		}
	})
}

func TestALargeSelectorIsFiledInFewPlaces(t *testing.T) {
	t.Parallel()
	list := func(n int, text string) (all wire.StringList) {
		for i := range n {
			all = append(all, fmt.Sprintf(text, i))
		}
		return all
	}
	for _, tt := range []struct{ filters, types, alternatives, cells int }{
		{16, 16, 1, 256},
		{16, 16, 60, 256},
		{16, 16, 100, 16},   // by filters alone
		{16, 16, 4000, 1},   // by neither
		{256, 256, 4000, 1}, // as large as a selector can be
		{4, 4, 4000, 4},
		{1, 256, 4000, 1},
		{256, 1, 4000, 1},
	} {
		m := compile(t, wire.Selector{
			ByStream: list(tt.filters, "s%d.>"), ByEventType: list(tt.types, "t%d"),
			ByEventPattern: json.RawMessage(`{"source":["` + strings.Join(list(tt.alternatives, "a%d"), `","`) + `"]}`),
		})
		x := match.NewIndex[int]()
		if err := x.Add(1, m); err != nil {
			t.Fatal(err)
		}
		if got := x.Cells(); got != tt.cells {
			t.Errorf("%+v: filed in %d cells", tt, got)
		}
		h := nats.Header{"ce-source": {"a0"}}
		for subject, matches := range map[string]bool{"s0.t0": true, "s0.u": false, "u.t0": false} {
			if got := goesTo(x, newEvent(subject, h, "")); (len(got) == 1) != matches {
				t.Errorf("%+v: %s goes to %v", tt, subject, got)
			}
		}
		if x.Remove(1); !x.Bare() {
			t.Errorf("%+v: something is left", tt)
		}
	}
}

// goesTo are the subscriptions that match an event.
func goesTo(x *match.Index[int], e *selector.Event) []int {
	found, _ := x.Match(e)
	return found
}

// crowds are many subscriptions of which an event with subject s.7, type t7 and
// number 7 goes to one, and no other event to any but its own.
var crowds = []struct {
	name    string
	selects func(i int) wire.Selector
}{
	{"own filter, same pattern", func(i int) wire.Selector {
		return wire.Selector{ByStream: wire.StringList{fmt.Sprintf("s.%d", i)}, ByEventPayload: json.RawMessage(`{"same":1}`)}
	}},
	{"own filter of two, same pattern", func(i int) wire.Selector {
		return wire.Selector{ByStream: wire.StringList{fmt.Sprintf("s.%d", i), "elsewhere.>"}, ByEventPayload: json.RawMessage(`{"same":1}`)}
	}},
	{"same filters, own pattern", func(i int) wire.Selector {
		return wire.Selector{ByStream: wire.StringList{"s.>", "s.*"}, ByEventPayload: json.RawMessage(fmt.Sprintf(`{"n":[%d]}`, i))}
	}},
	{"own type, same pattern", func(i int) wire.Selector {
		return wire.Selector{ByEventType: wire.StringList{fmt.Sprintf("t%d", i)}, ByEventPayload: json.RawMessage(`{"same":1}`)}
	}},
	{"same type and filter, own pattern", func(i int) wire.Selector {
		return wire.Selector{
			ByStream: wire.StringList{"s.*"}, ByEventType: wire.StringList{"t7"},
			ByEventPayload: json.RawMessage(fmt.Sprintf(`{"text":[{"prefix":"n%d-"}]}`, i)),
		}
	}},
	{"type in the event pattern, own pattern", func(i int) wire.Selector {
		return wire.Selector{
			ByStream: wire.StringList{"s.*"}, ByEventPattern: json.RawMessage(`{"type":"t7"}`),
			ByEventPayload: json.RawMessage(fmt.Sprintf(`{"n":[{"numeric":[">=",%[1]d,"<",%[1]d.5]}]}`, i)),
		}
	}},
	{"ten filters by many patterns", func(i int) wire.Selector {
		return wire.Selector{ByStream: wire.StringList{fmt.Sprintf("s.%d", i%10)}, ByEventPayload: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}
	}},
}

func crowd(t testing.TB, n int, selects func(int) wire.Selector) *match.Index[int] {
	x := match.NewIndex[int]()
	for i := range n {
		if err := x.Add(i, compile(t, selects(i))); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func TestACrowdIsNotTriedForTheOneThatMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range crowds {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const n = 2000
			x := crowd(t, n, tt.selects)
			e := newEvent("s.7", nats.Header{"ce-type": {"t7"}}, `{"n":7,"text":"n7-x","same":1}`)
			if got := goesTo(x, e); !slices.Equal(got, []int{7}) || x.Tried() > 20 {
				t.Errorf("found %v, tried %d of %d", got, x.Tried(), n)
			}
			e = newEvent("other.7", nats.Header{"ce-type": {"u"}}, `{"n":7,"text":"n7-x","same":1}`)
			if got := goesTo(x, e); len(got) != 0 || x.Tried() != 0 || e.Document().PayloadRead() {
				t.Errorf("elsewhere found %v, tried %d, payload read: %v", got, x.Tried(), e.Document().PayloadRead())
			}
		})
	}
}

func BenchmarkIndexCrowd(b *testing.B) {
	for _, tt := range crowds {
		for _, n := range []int{100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", tt.name, n), func(b *testing.B) {
				x := crowd(b, n, tt.selects)
				for b.Loop() {
					x.Match(newEvent("s.7", nats.Header{"ce-type": {"t7"}}, `{"n":7,"text":"n7-x","same":1}`))
				}
			})
		}
	}
}

// BenchmarkIndex1000Filters is an event that all of 1000 subscriptions get.
func BenchmarkIndex1000Filters(b *testing.B) {
	x := match.NewIndex[int]()
	for k := range 1000 {
		if err := x.Add(k, compile(b, wire.Selector{ByStream: wire.StringList{"a.>"}})); err != nil {
			b.Fatal(err)
		}
	}
	e := newEvent("a.b", nil, "")
	for b.Loop() {
		if len(goesTo(x, e)) != 1000 {
			b.Fatal("not all were found")
		}
	}
}
