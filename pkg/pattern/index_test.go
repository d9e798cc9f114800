package pattern

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func matches(x *Index[int], d *Document) []int {
	var got []int
	x.Match(d, func(k int) { got = append(got, k) })
	slices.Sort(got)
	return got
}

func TestIndexFindsWhatMatches(t *testing.T) {
	t.Parallel()
	var x Index[int]
	if got := matches(&x, payloadDoc(`{}`)); got != nil {
		t.Errorf("empty index: %v", got)
	}
	x.Add(1, mustPayload(t, `{"a":1}`))
	x.Add(2, mustPayload(t, `{"a":[1.0,2,2]}`), mustEvent(t, `{"type":"t"}`))
	x.Add(3, mustPayload(t, `{"a":[{"exists":false}]}`))
	x.Add(4)
	x.Add(5, nil, mustEvent(t, `{"data":["x",null]}`))
	x.Add(6, mustPayload(t, `{"a":{"b":"x","c":[true]}}`))
	x.Add(7, new(Pattern))
	for _, tt := range []struct {
		event Event
		want  []int
	}{
		{Event{Data: []byte(`{"a":1e0}`)}, []int{1, 4}},
		{Event{Type: "t", Data: []byte(`{"a":[1,2,[2,1]]}`)}, []int{1, 2, 4}},
		{Event{Type: "t", Data: []byte(`{"a":2}`)}, []int{2, 4}},
		{Event{Type: "u", Data: []byte(`{"a":2}`)}, []int{4}},
		{Event{Data: []byte(`"x"`)}, []int{3, 4, 5}},
		{Event{Data: []byte(`[[null],null]`)}, []int{3, 4, 5}},
		{Event{Data: []byte(`no JSON`)}, []int{4}},
		{Event{Data: []byte(`{"a":[{"b":"x"},{"c":true,"b":["x","x"]},{"c":true,"b":"x"}]}`)}, []int{4, 6}},
	} {
		if diff := cmp.Diff(tt.want, matches(&x, NewDocument(tt.event))); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.event.Type, tt.event.Data, diff)
		}
	}
}

func TestIndexReplacesAndForgets(t *testing.T) {
	t.Parallel()
	var x Index[int]
	for i := range 100 {
		x.Add(i, mustPayload(t, fmt.Sprintf(`{"a":{"b":[%d,"x"]}}`, i)))
	}
	x.Add(0, mustPayload(t, `{"c":"y"}`))
	if got := matches(&x, payloadDoc(`{"a":{"b":0}}`)); got != nil {
		t.Errorf("replaced key still matches: %v", got)
	}
	if got := len(matches(&x, payloadDoc(`{"a":{"b":"x"},"c":"y"}`))); got != 100 || x.Len() != 100 {
		t.Errorf("%d match of %d, want 100", got, x.Len())
	}
	for _, i := range []int{5, 99, 0, 50} {
		if !x.Remove(i) || x.Remove(i) {
			t.Errorf("Remove(%d) does not say whether it was there", i)
		}
	}
	for i := range 100 {
		x.Remove(i)
	}
	if x.Len() != 0 || !x.payload.bare() || !x.envelope.bare() || len(x.unindexed.slots) != 0 {
		t.Errorf("an index that was emptied keeps something: %+v", x)
	}
}

func TestIndexLeavesThePayloadAloneWhenItCan(t *testing.T) {
	t.Parallel()
	var x Index[int]
	x.Add(1, mustPayload(t, `{"a":1}`), mustEvent(t, `{"type":"t"}`))
	d := NewDocument(Event{Type: "u", Data: []byte(`{"a":1}`)})
	if got := matches(&x, d); got != nil || d.payloadRoot != nil {
		t.Errorf("matched %v, decoded %v", got, d.payloadRoot != nil)
	}
}

func TestIndexPlacesEntriesWhereFewAre(t *testing.T) {
	t.Parallel()
	var x Index[int]
	common := mustEvent(t, `{"type":"t"}`)
	for i := range 1000 {
		x.Add(i, common, mustPayload(t, fmt.Sprintf(`{"user":{"id":%d}}`, i)))
	}
	if n := len(x.envelope.children["type"].values["4t"].slots); n > 2*payloadHandicap {
		t.Errorf("%d of 1000 entries share one bucket", n)
	}
	if diff := cmp.Diff([]int{777}, matches(&x, NewDocument(Event{Type: "t", Data: []byte(`{"user":{"id":777}}`)}))); diff != "" {
		t.Error(diff)
	}
}

func TestIndexAgreesWithMatchingOneAtATime(t *testing.T) {
	t.Parallel()
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		var x Index[int]
		all := map[int][]*Pattern{}
		for range rapid.IntRange(1, 25).Draw(t, "changes") {
			k := rapid.IntRange(0, 12).Draw(t, "key")
			if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
				x.Remove(k)
				delete(all, k)
				continue
			}
			all[k] = drawPatterns(t)
			x.Add(k, all[k]...)
		}
		for range 3 {
			d := NewDocument(Event{Type: eventType.Draw(t, "type"), Data: []byte(drawIndexed(t, all))})
			var want []int
			for k, ps := range all {
				if !slices.ContainsFunc(ps, func(p *Pattern) bool { return !p.Match(d) }) {
					want = append(want, k)
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, matches(&x, d)); diff != "" {
				t.Fatalf("%s (-one at a time +index):\n%s", d.event.Data, diff)
			}
			found += len(want)
		}
		if x.Len() != len(all) {
			t.Fatalf("Len = %d, want %d", x.Len(), len(all))
		}
	})
	if found < 20 {
		t.Errorf("%d matches in all: the generators no longer test much", found)
	}
}

// eventType is often one that drawPatterns asks for.
var eventType = rapid.SampledFrom([]string{"x", "x", "xy", ""})

// drawIndexed draws a document for one of the indexed payload patterns.
func drawIndexed(t *rapid.T, all map[int][]*Pattern) string {
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if p := all[k][0]; !p.event && rapid.Bool().Draw(t, "this one") {
			return drawWitness(t, p.String())
		}
	}
	return drawValue(t, 3)
}

// drawPatterns draws what a subscription may have: a payload pattern, an event
// pattern, or both.
func drawPatterns(t *rapid.T) []*Pattern {
	var ps []*Pattern
	which := rapid.IntRange(0, 3).Draw(t, "which")
	if which != 1 {
		ps = append(ps, mustDraw(t, drawPattern(t, 1)))
	}
	if which != 0 {
		raw := `{"type":` + drawLeaf(t) + `}`
		if rapid.Bool().Draw(t, "plain") {
			raw = `{"type":["x",` + drawScalar(t) + `]}`
		}
		switch rapid.IntRange(0, 2).Draw(t, "event") {
		case 0:
			raw = `{"data":` + drawPattern(t, 1) + `}`
		case 1:
			raw = `{"$or":[` + raw + `,{"data":` + drawLeaf(t) + `}]}`
		}
		p, err := ParseEvent([]byte(raw))
		if err != nil {
			t.Fatalf("ParseEvent(%s): %v", raw, err)
		}
		ps = append(ps, p)
	}
	return ps
}

func TestIndexMatchesConcurrently(t *testing.T) {
	t.Parallel()
	var x Index[int]
	for i := range 50 {
		x.Add(i, mustPayload(t, fmt.Sprintf(`{"a":[%d,%d]}`, i, i+1)))
	}
	shared := payloadDoc(`{"a":[7,8,7]}`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if diff := cmp.Diff([]int{6, 7, 8}, matches(&x, shared)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkIndexMatch(b *testing.B) {
	for _, n := range []int{100, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var x Index[int]
			for i := range n {
				x.Add(i, mustPayload(b, fmt.Sprintf(`{"user":{"id":%d},"action":["opened","closed"]}`, i)))
			}
			data := []byte(`{"action":"opened","user":{"id":42,"login":"Codertocat"},"labels":[{"name":"bug"},{"name":"ui"}]}`)
			b.ReportAllocs()
			for b.Loop() {
				x.Match(NewDocument(Event{Data: data}), func(int) {})
			}
		})
	}
}
