package pattern

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func matches(x *Index[int], d *Document) []int {
	var got []int
	x.Match(d, nil, onMatch(func(k int) { got = append(got, k) }))
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
	requireEmpty(t, &x)
}

func TestIndexLeavesThePayloadAloneWhenItCan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		event string
		read  bool // for an event that the envelope rules out
	}{
		{"one value", `{"type":"t"}`, false},
		{"the second of two values", `{"type":["s","t"]}`, false},
		{"a prefix", `{"type":[{"prefix":"t"}]}`, false},
		{"a $or", `{"$or":[{"type":"t"},{"headers":{"k":[{"exists":true}]}}]}`, false},
		{"data beside", `{"type":"t","data":{"b":[{"exists":false}]}}`, false},
		{"data in a $or", `{"$or":[{"type":"t"},{"data":{"b":1}}]}`, true},
		{"absence", `{"headers":{"k":[{"exists":false}]}}`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var x Index[int]
			for i := range 100 { // so many that some are filed in the payload
				x.Add(i, mustPayload(t, fmt.Sprintf(`{"a":%d}`, i)), mustEvent(t, tt.event))
			}
			d := NewDocument(Event{Type: "u", Data: []byte(`{"a":1}`)})
			matches(&x, d)
			if got := d.PayloadRead(); got != tt.read {
				t.Errorf("payload read for another type: %v, want %v", got, tt.read)
			}
			d = NewDocument(Event{Type: "t", Data: []byte(`{"a":77}`)})
			if diff := cmp.Diff([]int{77}, matches(&x, d)); diff != "" {
				t.Error(diff)
			}
			for i := range 100 {
				x.Remove(i)
			}
			requireEmpty(t, &x)
		})
	}
}

func TestIndexesThatSharePathsReadAPayloadOnce(t *testing.T) {
	t.Parallel()
	paths := new(Paths)
	x, y := Index[int]{Paths: paths}, Index[int]{Paths: paths}
	x.Add(1, mustPayload(t, `{"a":1}`))
	y.Add(2, mustPayload(t, `{"b":{"c":2}}`))
	d := payloadDoc(`{"a":1,"b":{"c":2,"d":3},"e":4}`)
	if got := matches(&x, d); len(got) != 1 {
		t.Errorf("first index: %v", got)
	}
	first := d.body.last.Load()
	if got := matches(&y, d); len(got) != 1 || d.body.last.Load() != first {
		t.Errorf("second index: %v, read again: %v", got, d.body.last.Load() != first)
	}
	if got := len(first.root.kids); got != 2 {
		t.Errorf("%d members were kept, want 2", got)
	}
	y.Add(3, mustPayload(t, `{"e":4}`))
	if got := matches(&y, d); len(got) != 2 {
		t.Errorf("a document from before a path was wanted: %v", got)
	}
}

func TestIndexTriesOnlyWhatAValueLeadsTo(t *testing.T) {
	t.Parallel()
	const n = 2000
	for _, tt := range []struct{ name, pattern, hit string }{
		{"equality", `{"a":%d}`, `{"a":7}`},
		{"string", `{"a":"s%d"}`, `{"a":"s7"}`},
		{"equality beside what many share", `{"b":"x","a":[%[1]d,-1%[1]d]}`, `{"a":7,"b":"x"}`},
		{"prefix", `{"a":[{"prefix":"p%d-"}]}`, `{"a":"p7-rest"}`},
		{"suffix", `{"a":[{"suffix":"-%ds"}]}`, `{"a":"rest-7s"}`},
		{"fold", `{"a":[{"equals-ignore-case":"straſſe %d"}]}`, `{"a":"STRASSE 7"}`},
		{"wildcard by its begin", `{"a":[{"wildcard":"w%d/*/x"}]}`, `{"a":"w7/y/x"}`},
		{"wildcard by its end", `{"a":[{"wildcard":"*/y*/%dw"}]}`, `{"a":"x/y/7w"}`},
		{"wildcard without a star", `{"a":[{"wildcard":"w%d"}]}`, `{"a":"w7"}`},
		{"range", `{"a":[{"numeric":[">=",%[1]d,"<=",%[1]d.5]}]}`, `{"a":7.25}`},
		{"point", `{"a":[{"numeric":["=",%d]}]}`, `{"a":7.0}`},
		{"presence", `{"a":{"f%d":[{"exists":true}]}}`, `{"a":{"f7":[]}}`},
		{"anything-but", `{"a":{"f%d":[{"anything-but":"x"}]}}`, `{"a":{"f7":null}}`},
		{"$or", `{"$or":[{"a":[{"prefix":"p%[1]d-"}]},{"b":{"c":%[1]d}},{"x":1,"$or":[{"d":%[1]d}]}]}`, `{"b":[{"c":7}]}`},
		{"in arrays", `{"a":{"b":"v%d"}}`, `{"a":[{"b":"v7"},[{"b":["v7","v7"]}]]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var x Index[int]
			for i := range n {
				x.Add(i, mustPayload(t, fmt.Sprintf(tt.pattern, i)))
			}
			var found []int
			tried := x.Match(payloadDoc(tt.hit), nil, onMatch(func(k int) { found = append(found, k) }))
			if diff := cmp.Diff([]int{7}, found); diff != "" || tried > 10 {
				t.Errorf("tried %d of %d: %s", tried, n, diff)
			}
		})
	}
}

func TestIndexPlacesEntriesWhereFewAre(t *testing.T) {
	t.Parallel()
	var x Index[int]
	common := mustEvent(t, `{"type":"t"}`)
	for i := range 1000 {
		x.Add(i, common, mustPayload(t, fmt.Sprintf(`{"user":{"id":%d}}`, i)))
	}
	if n := len(x.envelope.children["type"].strings["t"].slots); n > 2*payloadHandicap {
		t.Errorf("%d of 1000 entries share one bucket", n)
	}
	if diff := cmp.Diff([]int{777}, matches(&x, NewDocument(Event{Type: "t", Data: []byte(`{"user":{"id":777}}`)}))); diff != "" {
		t.Error(diff)
	}
}

func TestIndexAgreesWithMatchingOneAtATime(t *testing.T) {
	t.Parallel()
	met := map[termKind]int{} // matches, by what led to them
	rapid.Check(t, func(t *rapid.T) { checkIndex(t, met) })
	t.Logf("matches by kind of term: %v", met)
	for k := termPresent; k <= termRange; k++ {
		if met[k] < 10 {
			t.Errorf("%d matches were found by a term of kind %d (%v): the generators no longer test much", met[k], k, met)
		}
	}
	if met[notFiled] < 10 || met[byOr] < 10 {
		t.Errorf("%d matches without a term, %d by a $or", met[notFiled], met[byOr])
	}
}

// FuzzIndex is the same, led by coverage.
func FuzzIndex(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { checkIndex(t, map[termKind]int{}) }))
}

// Beside the kinds of terms.
const (
	notFiled termKind = 100 + iota
	byOr
)

// checkIndex adds, replaces and removes, and matches in between, also
// documents that were matched before a change.
func checkIndex(t *rapid.T, met map[termKind]int) {
	var x Index[int]
	all := map[int][]*Pattern{}
	var old []*Document
	for range rapid.IntRange(1, 6).Draw(t, "rounds") {
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			k := rapid.IntRange(0, 15).Draw(t, "key")
			if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
				x.Remove(k)
				delete(all, k)
				continue
			}
			all[k] = drawPatterns(t)
			x.Add(k, all[k]...)
		}
		for range 2 {
			e := Event{Type: eventText.Draw(t, "type"), Data: []byte(drawIndexed(t, all))}
			if rapid.Bool().Draw(t, "headers") {
				e.Headers = HeadersOf(map[string][]string{"H": {eventText.Draw(t, "header")}})
			}
			old = append(old, NewDocument(e))
		}
		for _, d := range old {
			compareIndex(t, &x, all, d, met)
		}
	}
	if x.Len() != len(all) {
		t.Fatalf("Len = %d, want %d", x.Len(), len(all))
	}
	for k := range all {
		x.Remove(k)
	}
	requireEmpty(t, &x)
}

func compareIndex(t *rapid.T, x *Index[int], all map[int][]*Pattern, d *Document, met map[termKind]int) {
	got := matches(x, d)
	var want []int
	for k, ps := range all {
		if !slices.ContainsFunc(ps, func(p *Pattern) bool { return !p.Match(NewDocument(d.event)) }) {
			want = append(want, k)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s %s (-one at a time +index):\n%s", d.event.Type, d.event.Data, diff)
	}
	for _, k := range want {
		for _, s := range x.entries[k].slots {
			switch {
			case s.in.at == nil:
				met[notFiled]++
			case len(x.entries[k].patterns) == 1 && strings.HasPrefix(x.entries[k].patterns[0].text, `{"$or"`):
				met[byOr]++
			}
			met[s.in.term.kind]++
		}
	}
}

func requireEmpty(t interface{ Errorf(string, ...any) }, x *Index[int]) {
	if x.Len() != 0 || !x.payload.empty() || !x.envelope.empty() || len(x.residual.slots) != 0 || x.unhinted != 0 {
		t.Errorf("an index that was emptied keeps something: %+v", x)
	}
	if x.Paths != nil && len(x.Paths.envelope.children)+len(x.Paths.payload.children) != 0 {
		t.Errorf("an index that was emptied still wants something: %+v", x.Paths)
	}
}

// eventText is often one that drawPatterns asks for.
var eventText = rapid.SampledFrom([]string{"x", "x", "xy", "", "X", "\xff", "ſ\u212a"})

// drawIndexed draws a document for one of the indexed payload patterns.
func drawIndexed(t *rapid.T, all map[int][]*Pattern) string {
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if p := all[k][0]; !p.event && rapid.IntRange(0, 2).Draw(t, "this one") == 0 {
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
		ps = append(ps, mustDraw(t, drawFiled(t)))
	}
	if which == 1 || which == 2 {
		raw := drawEventPattern(t)
		p, err := ParseEvent([]byte(raw))
		if err != nil {
			t.Fatalf("ParseEvent(%s): %v", raw, err)
		}
		ps = append(ps, p)
	}
	return ps
}

// drawFiled draws a payload pattern that an index finds by one kind of term,
// or by one in each alternative of a $or, or any pattern.
func drawFiled(t *rapid.T) string {
	one := func() string { return "[" + drawOperator(t) + "]" }
	switch rapid.IntRange(0, 6).Draw(t, "shape") {
	case 0:
		return `{"a":` + one() + `}`
	case 1:
		return `{"a":{"b":` + one() + `}}`
	case 2:
		return `{"$or":` + drawList(t, 1, 3, func() string { return drawFiled(t) }) + `}`
	case 3:
		return `{"a":` + drawList(t, 1, 3, func() string { return drawOperator(t) }) + `}`
	case 4:
		return `{"a":[{"numeric":` + drawComparisons(t) + `}]}`
	}
	return drawPattern(t, 1)
}

func drawEventPattern(t *rapid.T) string {
	leaf := func() string {
		if rapid.Bool().Draw(t, "plain") {
			return `["x",` + drawScalar(t) + `]`
		}
		return drawLeaf(t)
	}
	switch rapid.IntRange(0, 7).Draw(t, "event") {
	case 0:
		return `{"data":` + drawPattern(t, 1) + `}`
	case 1:
		return `{"$or":[{"type":` + leaf() + `},{"data":` + drawLeaf(t) + `}]}`
	case 2:
		return `{"type":` + leaf() + `,"data":` + drawFiled(t) + `}`
	case 3:
		return `{"headers":{"h":` + leaf() + `}}`
	case 4:
		return `{"source":[{"exists":false}],"$or":[{"headers":{"h":` + leaf() + `}},{"type":` + leaf() + `}]}`
	case 5:
		return `{"source":[{"exists":false}]}`
	}
	return `{"type":` + leaf() + `}`
}

// TestLargeObjectsAreSearchedAlike has more members than are searched one by
// one, in no order and some of them given twice.
func TestLargeObjectsAreSearchedAlike(t *testing.T) {
	t.Parallel()
	var x Index[int]
	var members []string
	n := 2 * linearMembers
	for i := range n {
		x.Add(i, mustPayload(t, fmt.Sprintf(`{"a":{"m%d":%d}}`, i, i%7)))
		members = append(members, fmt.Sprintf(`"m%d":%d`, (i*37)%n, (i*37)%n%5))
	}
	for i := 0; i < n; i += 10 { // the last counts
		members = append(members, fmt.Sprintf(`"m%d":%d`, i, i%7))
	}
	d := payloadDoc(`{"a":{` + strings.Join(members, ",") + `}}`)
	var want []int
	for i := range n {
		if i%5 == i%7 || i%10 == 0 {
			want = append(want, i)
		}
	}
	if diff := cmp.Diff(want, matches(&x, d)); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
	for i := range n {
		p := mustPayload(t, fmt.Sprintf(`{"a":{"m%d":%d,"none":[{"exists":false}]}}`, i, i%7))
		if got := p.Match(d); got != slices.Contains(want, i) {
			t.Errorf("%s = %v", p, got)
		}
	}
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
