package pattern

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hostile are pairs of a pattern and a document, each within its own bounds,
// that cost their product when they are held against each other.
var hostile = []struct{ name, pattern, data string }{
	{"wildcards", alternatives(3400, `{"wildcard":"*b*"}`), arrayOf(`"aaaaaaaa"`)},
	{"wildcards on a long string", alternatives(2500, `{"wildcard":"*ab*cd*"}`), `{"a":"` + strings.Repeat("a", mega) + `","ok":true}`},
	{"wildcards that nearly match", alternatives(500, `{"wildcard":"*`+strings.Repeat("a", 60)+`b*"}`), `{"a":"` + strings.Repeat("a", mega) + `","ok":true}`},
	{"long wildcards that nearly match", alternatives(200, `{"wildcard":"*`+strings.Repeat("a", 200)+`b*"}`), `{"a":"` + strings.Repeat("a", mega) + `","ok":true}`},
	{"long wildcards", alternatives(60, `{"wildcard":"`+strings.Repeat("*a", 500)+`*b*"}`), arrayOf(`"` + strings.Repeat("a", 1000) + `"`)},
	{"suffixes", alternatives(3500, `{"suffix":"b"}`), arrayOf(`"a"`)},
	{"prefixes", alternatives(3500, `{"prefix":"b"}`), arrayOf(`"a"`)},
	{"folded", alternatives(60, `{"equals-ignore-case":"`+strings.Repeat("A", 1000)+`"}`), arrayOf(`"` + strings.Repeat("a", 999) + `b"`)},
	{"ranges", alternatives(1900, `{"numeric":[">",9,"<",99]}`), arrayOf(`1`)},
	{"anything-but", alternatives(2000, `{"anything-but":{"prefix":"a"}}`), arrayOf(`"a"`)},
	{"lists that exclude", alternatives(1300, `{"anything-but":["b","c","a"]}`), arrayOf(`"a"`)},
	{"$or", orOf(3500, `{"a":"b"}`), arrayOf(`"a"`)},
	{"$or of objects", orOf(3000, `{"a":{"b":"x"}}`), arrayOf(`{"b":1}`)},
	{"$or on empty arrays", orOf(3500, `{"a":"b"}`), arrayOf(`[]`)},
	{"$or of long names", orOf(900, `{"a":{"`+strings.Repeat("n", 50)+`":"x"}}`), arrayOf(`{"` + strings.Repeat("n", 49) + `m":1}`)},
	{"$or in wide objects", orOf(3000, `{"a":{"b":"x"}}`), arrayOf(`{` + wide(250) + `}`)},
	{"hashed literals", orOf(400, `{"a":[1,2,3,4,5,6,7,8,9,10]}`), arrayOf(`"` + strings.Repeat("a", 100) + `"`)},
}

const mega = 1 << 20

func alternatives(n int, one string) string {
	return `{"a":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}`
}

func orOf(n int, one string) string {
	return `{"$or":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}`
}

func arrayOf(one string) string {
	return `{"a":[` + strings.TrimSuffix(strings.Repeat(one+",", mega/(len(one)+1)), ",") + `],"ok":true}`
}

func wide(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"%04d":0`, i)
	}
	return strings.Join(members, ",")
}

func TestBudget_BoundsEveryHostilePairAndLeavesTheNeighbourAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			p, neighbour, d := mustPayload(t, tt.pattern), mustPayload(t, `{"ok":true}`), payloadDoc(tt.data)
			if v, left := p.Judge(d, Budget); v != TooCostly || left >= 0 {
				t.Errorf("by itself: %v with %d steps left", v, left)
			}
			var x Index[string]
			x.Add("hostile", neighbour, p) // so that it is found by the first, and tried
			x.Add("neighbour", neighbour)
			got := map[string]Verdict{}
			start := time.Now()
			x.Match(payloadDoc(tt.data), nil, func(k string, v Verdict) { got[k] = v })
			if took := time.Since(start); took > 5*time.Second { // they took up to a minute
				t.Errorf("took %v", took)
			}
			if got["hostile"] != TooCostly || got["neighbour"] != Matches {
				t.Errorf("in an index: %v", got)
			}
			if _, err := p.Explain(d, Budget); err != ErrTooCostly { //nolint:errorlint // it is not wrapped
				t.Errorf("Explain = %v, want ErrTooCostly", err)
			}
		})
	}
}

// A thousand ranges around each of half a million numbers are met once each.
func TestBudget_NumbersInManyRangesDoNotCostTheirProduct(t *testing.T) {
	t.Parallel()
	var x Index[int]
	for i := range 1000 {
		x.Add(i, mustPayload(t, fmt.Sprintf(`{"a":[{"numeric":[">",-%d,"<",%d]}]}`, i+1, 2*i+3)))
	}
	s := search[int]{view: view{doc: payloadDoc(arrayOf(`1`)), paths: x.Paths}, judged: func(int, Verdict) {}}
	s.walk(&x.payload, s.view.payload())
	if s.tried != 1000 || s.again > 2*1000+oftenAgain {
		t.Errorf("tried %d, and met a bucket again %d times", s.tried, s.again)
	}
}

func TestBudget_AVerdictIsTheNaiveOneOrTooCostlyAndDependsOnNothingElse(t *testing.T) {
	t.Parallel()
	costly := 0
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SampledFrom([]func(*rapid.T) string{drawHostile, func(t *rapid.T) string { return drawPattern(t, 2) }}).Draw(t, "kind")(t)
		data := drawDense(t)
		if rapid.IntRange(0, 2).Draw(t, "witness") == 0 {
			data = drawWitness(t, raw)
		}
		p, d := mustDraw(t, raw), payloadDoc(data)
		want := NoMatch
		if naiveObject(naiveDecode(t, []byte(raw)).(map[string]any), naiveDecode(t, []byte(data))) {
			want = Matches
		}
		v, left := p.Judge(d, Budget)
		if v != want {
			t.Fatalf("%s on %s = %v, want %v", raw, data, v, want)
		}
		used := Budget - left
		budget := rapid.IntRange(0, 2*used).Draw(t, "budget")
		if budget < used {
			want = TooCostly
			costly++
		}
		if got, left := p.Judge(d, budget); got != want || (left < 0) != (want == TooCostly) {
			t.Fatalf("%s on %s in %d of %d steps = %v with %d left, want %v", raw, data, budget, used, got, left, want)
		}
		// Others in the index make the document read more, and are led to more.
		var x Index[int]
		x.Add(0, p)
		for i := range rapid.IntRange(0, 3).Draw(t, "others") {
			x.Add(i+1, mustDraw(t, drawPattern(t, 2)))
		}
		x.Match(payloadDoc(data), func(k int) int { return max(budget, 1) * (1 - min(k, 1)) }, func(k int, got Verdict) {
			if k != 0 {
				t.Fatalf("%d was not allowed, and judged", k)
			}
			if budget > 0 && got != want {
				t.Fatalf("%s on %s in %d of %d steps = %v through an index, want %v", raw, data, budget, used, got, want)
			}
		})
	})
	if costly < 10 {
		t.Errorf("%d were too costly: the generators no longer test much", costly)
	}
}

// drawHostile draws a pattern with many alternatives of one kind.
func drawHostile(t *rapid.T) string {
	n := rapid.IntRange(1, 40).Draw(t, "n")
	op := drawOperator(t)
	switch rapid.IntRange(0, 2).Draw(t, "shape") {
	case 0:
		return alternatives(n, op)
	case 1:
		return orOf(n, `{"a":[`+op+`]}`)
	}
	return orOf(n, `{"a":{"b":[`+op+`]}}`)
}

// drawDense draws a document with many values where drawHostile looks.
func drawDense(t *rapid.T) string {
	one := drawValue(t, 1)
	switch rapid.IntRange(0, 3).Draw(t, "dense") {
	case 0:
		one = quote(strings.Repeat(strs.Draw(t, "long"), rapid.IntRange(1, 300).Draw(t, "times")))
	case 1:
		one = strings.Repeat("[", 5) + one + strings.Repeat("]", 5)
	case 2:
		one = `{` + wide(rapid.IntRange(0, 300).Draw(t, "wide")+1) + `,"b":` + one + `}`
	}
	return `{"a":[` + strings.TrimSuffix(strings.Repeat(one+",", rapid.IntRange(0, 30).Draw(t, "many")), ",") + `]}`
}

// BenchmarkStep is what one step takes with each of the hostile pairs.
func BenchmarkStep(b *testing.B) {
	for _, tt := range hostile {
		b.Run(tt.name, func(b *testing.B) {
			p, d := mustPayload(b, tt.pattern), payloadDoc(tt.data)
			p.Judge(d, 1) // so that the payload is read
			for b.Loop() {
				p.Judge(d, Budget)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/Budget, "ns/step")
		})
	}
}
