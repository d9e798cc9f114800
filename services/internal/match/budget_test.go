package match_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/subjects"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/match"
)

// dear is an event that costs more than there is with wanting: about three
// steps for each pair of 3,000 alternatives and 10,000 strings.
var (
	dear    = `{"ok":true,"a":[` + strings.Repeat(`"a",`, 10_000) + `"a"]}`
	wanting = json.RawMessage(`{"a":[` + strings.TrimSuffix(strings.Repeat(`{"wildcard":"*b*"},`, 3000), ",") + `]}`)
	cheap   = json.RawMessage(`{"ok":true}`)
)

func add(t interface{ Fatal(...any) }, x *match.Index[int], k int, s wire.Selector) {
	if err := x.Add(k, compile(t, s)); err != nil {
		t.Fatal(err)
	}
}

func TestBudget_OneThatIsTooCostlyIsToldAndTheOthersAreJudged(t *testing.T) {
	t.Parallel()
	x := match.NewIndex[int]()
	add(t, x, 1, wire.Selector{ByEventPayload: wanting})
	add(t, x, 2, wire.Selector{ByEventPayload: cheap})
	add(t, x, 3, wire.Selector{ByStream: wire.StringList{"a.>", "*.b"}, ByEventPayload: wanting}) // filed twice
	add(t, x, 4, wire.Selector{ByStream: wire.StringList{"x.>"}, ByEventPayload: wanting})
	add(t, x, 5, wire.Selector{ByEventType: wire.StringList{"x"}, ByEventPayload: wanting})
	add(t, x, 6, wire.Selector{ByEventPattern: json.RawMessage(`{"type":"x"}`), ByEventPayload: wanting})
	add(t, x, 7, wire.Selector{ByStream: wire.StringList{"a.>"}})
	found, costly := x.Match(newEvent("a.b", nil, dear))
	slices.Sort(found)
	slices.Sort(costly)
	if !slices.Equal(found, []int{2, 7}) || !slices.Equal(costly, []int{1, 3}) {
		t.Errorf("goes to %v, and is too costly for %v", found, costly)
	}
	found, costly = x.Match(newEvent("a.b", nil, `{"a":["b"]}`))
	slices.Sort(found)
	if !slices.Equal(found, []int{1, 3, 7}) || len(costly) > 0 {
		t.Errorf("a small event goes to %v, and is too costly for %v", found, costly)
	}
}

func TestBudget_OneThatExceedsItAgainAndAgainPaysAndIsForgivenInTime(t *testing.T) {
	t.Parallel()
	x := match.NewIndex[int]()
	add(t, x, 1, wire.Selector{ByEventPayload: wanting})
	for _, want := range []int{pattern.Budget, pattern.Budget / 8, match.LeastBudget, match.LeastBudget} {
		if got := x.Budget(1); got != want {
			t.Fatalf("budget = %d, want %d", got, want)
		}
		if _, costly := x.Match(newEvent("a.b", nil, dear)); len(costly) != 1 {
			t.Fatal("not too costly")
		}
	}
	for range (pattern.Budget - match.LeastBudget) / match.Regained {
		x.Match(newEvent("a.b", nil, `{"a":"a"}`))
	}
	if got := x.Budget(1); got != pattern.Budget {
		t.Errorf("budget = %d after enough events that could be judged, want %d", got, pattern.Budget)
	}
}

// An event looks for the patterns of one subscription in few places, however
// many of its filters match.
func TestBudget_ManyFiltersOfOneSubjectAreFiledOnce(t *testing.T) {
	t.Parallel()
	var filters wire.StringList // all match a.a.a.a.a.a
	for i := range 64 {
		f := ""
		for bit := range 6 {
			f += "." + []string{"a", "*"}[i>>bit&1]
		}
		filters = append(filters, f[1:])
	}
	x := match.NewIndex[int]()
	add(t, x, 1, wire.Selector{ByStream: filters, ByEventPayload: cheap})
	if got := x.Cells(); got != 1 {
		t.Errorf("filed in %d cells", got)
	}
	for subject, want := range map[string]bool{"a.a.a.a.a.a": true, "a.a": false} {
		if got := goesTo(x, newEvent(subject, nil, dear)); (len(got) == 1) != want {
			t.Errorf("%s goes to %v", subject, got)
		}
	}
	disjoint := wire.StringList{}
	for i := range 200 {
		disjoint = append(disjoint, fmt.Sprintf("s%d.>", i))
	}
	add(t, x, 1, wire.Selector{ByStream: disjoint, ByEventPayload: cheap})
	if got := x.Cells(); got != 200 {
		t.Errorf("filters that share no subject are filed in %d cells", got)
	}
}

func TestBudget_AtOnceIsNeverLessThanTheFiltersThatASubjectMatches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		filters := rapid.SliceOfNDistinct(subject(true), 1, 8, rapid.ID[string]).Draw(t, "filters")
		s, n := subject(false).Draw(t, "subject"), 0
		for _, f := range filters {
			if strings.ContainsAny(f, "*>") && f != ">" && subjects.Covers(f, s) {
				n++
			}
		}
		if most := match.AtOnce(filters); n > most {
			t.Fatalf("%v: %q matches %d, want at most %d", filters, s, n, most)
		}
	})
}
