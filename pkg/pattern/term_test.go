package pattern

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// hits collects the keys of the entries that a search tries.
func hits(run func(*search[string])) []string {
	var got []string
	run(&search[string]{allow: func(string) int { return 1 }, judged: onMatch(func(k string) { got = append(got, k) })})
	slices.Sort(got)
	return got
}

// holding is a bucket with one entry of that key.
func holding(t term, key string) *bucket[string] {
	b := &bucket[string]{term: t}
	b.add(&entry[string]{key: key, slots: make([]slot[string], 0, 1)})
	return b
}

func TestTrieFindsEveryPrefix(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`[ab\xc3\xa9]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		var forward, backward trie[string]
		all := map[string]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"put or remove": func(t *rapid.T) {
				key := text.Draw(t, "key")
				if b := forward.get(key); (b != nil) != all[key] {
					t.Fatalf("get(%q) = %v, want %v", key, b, all[key])
				}
				if all[key] {
					forward.remove(key)
					backward.remove(reverse(key))
					delete(all, key)
					return
				}
				all[key] = true
				forward.put(key, holding(term{}, key))
				backward.put(reverse(key), holding(term{}, key))
			},
			"walk": func(t *rapid.T) {
				value := text.Draw(t, "value")
				var begins, ends []string
				for _, key := range slices.Sorted(maps.Keys(all)) {
					if strings.HasPrefix(value, key) {
						begins = append(begins, key)
					}
					if strings.HasSuffix(value, key) {
						ends = append(ends, key)
					}
				}
				if diff := cmp.Diff(begins, hits(func(s *search[string]) { forward.walk(s, value) })); diff != "" {
					t.Fatalf("%q begins (-want +got):\n%s", value, diff)
				}
				if diff := cmp.Diff(ends, hits(func(s *search[string]) { backward.walkBack(s, value) })); diff != "" {
					t.Fatalf("%q ends (-want +got):\n%s", value, diff)
				}
			},
			"": func(t *rapid.T) {
				if forward.empty() != (len(all) == 0) || backward.empty() != (len(all) == 0) {
					t.Fatalf("empty %v, %v with %d keys", forward.empty(), backward.empty(), len(all))
				}
				if n := forward.root.size(); n > 2*len(all)+1 {
					t.Fatalf("%d nodes for %d keys", n, len(all))
				}
			},
		})
	})
}

// size counts the nodes, and so shows that branches go with what they led to.
func (n *trieNode[K]) size() int {
	if n == nil {
		return 0
	}
	total := 1
	for _, kid := range n.kids {
		total += kid.size()
	}
	return total
}

func drawNumeric(t *rapid.T) numeric {
	p := mustDraw(t, fmt.Sprintf(`{"a":[{"numeric":%s}]}`, drawComparisons(t)))
	return p.root.clauses[0].leaf.tests[0].(numeric)
}

func drawComparisons(t *rapid.T) string {
	op := rapid.SampledFrom([]string{"<", "<=", "=", ">=", ">"})
	return "[" + strings.Trim(drawList(t, 1, 3, func() string {
		return fmt.Sprintf("%q,%s", op.Draw(t, "op"), numbers.Draw(t, "n"))
	}), "[]") + "]"
}

func TestSpansAreThoseNumbersForWhichComparisonsHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, x := drawNumeric(t), parseNumber(numbers.Draw(t, "x"))
		s := p.interval()
		got := s.lo.from(&x) && s.hi.upTo(&x)
		if want := p.holds(&view{left: Budget}, scalar{kind: kindNumber, num: x}); got != want || want && s.empty() {
			t.Fatalf("%+v: %+v is inside %v, want %v", s, x, got, want)
		}
		if s.point() && !s.empty() && got != (x.compare(s.lo.num) == 0) {
			t.Fatalf("%+v is a point, and holds %+v: %v", s, x, got)
		}
	})
}

func TestSpansFindsThoseAroundANumber(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var tree intervalTree[string]
		all := map[string]*interval{}
		t.Repeat(map[string]func(*rapid.T){
			"put or remove": func(t *rapid.T) {
				s := drawNumeric(t).interval()
				if b := tree.get(&s); b != nil {
					key := b.slots[0].entry.key
					if all[key].compare(&s) != 0 {
						t.Fatalf("get(%+v) = %+v", s, all[key])
					}
					tree.remove(&s)
					delete(all, key)
					return
				}
				key := fmt.Sprintf("%+v", s)
				all[key] = &s
				tree.put(holding(term{kind: termRange, bound: &s}, key))
			},
			"walk": func(t *rapid.T) {
				x := parseNumber(numbers.Draw(t, "x"))
				var want []string
				for _, key := range slices.Sorted(maps.Keys(all)) {
					if s := all[key]; s.lo.from(&x) && s.hi.upTo(&x) {
						want = append(want, key)
					}
				}
				got := hits(func(s *search[string]) { tree.walk(s, &x) })
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("around %+v (-want +got):\n%s", x, diff)
				}
				if n := tree.root.around(&x, maxOverlap); n != len(want) {
					t.Fatalf("%d around %+v, want %d", n, x, len(want))
				}
			},
			"walk for many": func(t *rapid.T) {
				var xs []number
				for _, text := range rapid.SliceOfN(numbers, 1, 6).Draw(t, "xs") {
					xs = append(xs, parseNumber(text))
				}
				var want []string
				for _, key := range slices.Sorted(maps.Keys(all)) {
					s := all[key]
					if slices.ContainsFunc(xs, func(x number) bool { return s.lo.from(&x) && s.hi.upTo(&x) }) {
						want = append(want, key)
					}
				}
				from := rapid.IntRange(0, len(xs)).Draw(t, "account from")
				got := hits(func(s *search[string]) {
					for i := range xs {
						if i == from {
							s.again = oftenAgain
						}
						tree.walk(s, &xs[i])
					}
				})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("around %+v (-want +got):\n%s", xs, diff)
				}
			},
			"": func(t *rapid.T) {
				if tree.len != len(all) || tree.empty() != (len(all) == 0) {
					t.Fatalf("len = %d, want %d", tree.len, len(all))
				}
			},
		})
	})
}

func TestSpansStayInBalance(t *testing.T) {
	t.Parallel()
	var tree intervalTree[int]
	const n = 20_000
	for i := range n {
		s := interval{lo: bound{num: parseNumber(fmt.Sprint(i))}, hi: bound{none: true}}
		tree.put(&bucket[int]{term: term{kind: termRange, bound: &s}})
	}
	if d := tree.root.depth(); d > 60 { // about 2 ln n is usual
		t.Errorf("%d intervals in order make a tree %d deep", n, d)
	}
	if c := tree.selectivity(tree.root.interval()); c != n && c >= maxOverlap {
		t.Errorf("selectivity = %d", c)
	}
}

func (n *intervalNode[K]) depth() int {
	if n == nil {
		return 0
	}
	return 1 + max(n.left.depth(), n.right.depth())
}

func TestFoldingAgreesWithEqualFold(t *testing.T) {
	t.Parallel()
	char := rapid.SampledFrom([]string{"k", "K", "\u212a", "s", "S", "ſ", "ß", "ẞ", "σ", "ς", "Σ", "i", "I", "İ", "ı", "é", "É", "ǆ", "ǅ", "Ǆ", "\xff", "\xc3", "\ufffd", "1"})
	word := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(char, rapid.StringN(0, 1, -1)), 0, 3).Draw(t, "chars"), "")
	})
	equal := 0
	rapid.Check(t, func(t *rapid.T) {
		a := word.Draw(t, "a")
		b := rapid.OneOf(word, rapid.Just(strings.ToUpper(a)), rapid.Just(strings.ToLower(a))).Draw(t, "b")
		want := strings.EqualFold(a, b)
		if got := string(appendFold(nil, a)) == string(appendFold(nil, b)); got != want {
			t.Fatalf("%q and %q: %v, want %v", a, b, got, want)
		}
		if want && a != b {
			equal++
		}
	})
	if equal < 5 {
		t.Errorf("%d pairs were equal but for case", equal)
	}
	for r := rune(0); r <= 0x1ffff; r++ { // beyond there is no folding
		if s := string(foldRune(r)); !strings.EqualFold(string(r), s) {
			t.Fatalf("%q folds to %q", r, s)
		}
	}
}

// FuzzScanner holds that reading a part of a payload judges all of it, and
// gives what a full reading by encoding/json has at the paths that are wanted.
func FuzzScanner(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,{"b":2}],"c":"x"},"d":[[]],"a":{"b":"last"}}`), "a.b d")
	f.Add([]byte("[{\"a\":\"\\u00e9\",\"b\":1},{\"\\u0061\":[true,null]},\"\xff\"]"), "a")
	f.Add([]byte(`{"k":"long enough for eight bytes \" and more","é":{"x":-1.5e+3}}`), "é.x é")
	f.Add([]byte(`{"a":"b`), "")
	f.Add([]byte(`{"a":1,"c":01}`), "a")
	f.Fuzz(func(t *testing.T, data []byte, list string) {
		var paths Paths
		for _, path := range strings.Fields(list) {
			paths.want(strings.Split(path, "."))
		}
		_, _ = paths.readPayload([]byte(`{"a":{"b":[1,{"b":2}]},"é":["`)) // leaves a used stack
		root, bad := paths.readPayload(data)
		full, fullBad := decodePayload(data)
		if diff := cmp.Diff(fullBad, bad, cmp.AllowUnexported(syntaxError{})); diff != "" {
			t.Fatalf("%q is judged differently (-all of it +a part):\n%s", data, diff)
		}
		requireValidity(t, data, bad)
		if bad != nil {
			return
		}
		want := naiveDecode(t, data)
		if diff := cmp.Diff(want, naiveValue(full)); diff != "" {
			t.Fatalf("%q is read differently (-want +got):\n%s", data, diff)
		}
		if diff := cmp.Diff(naivePart(want, &paths.payload), naiveValue(root)); diff != "" {
			t.Fatalf("%q for %q is read differently (-want +got):\n%s", data, list, diff)
		}
	})
}

func (t *Paths) want(path []string) {
	w := &t.payload
	for _, name := range path {
		w = t.reach(w, name)
	}
}

// naivePart leaves of a value what is wanted.
func naivePart(v any, w *wanted) any {
	switch v := v.(type) {
	case []any:
		part := []any{}
		for _, e := range v {
			part = append(part, naivePart(e, w))
		}
		return part
	case map[string]any:
		part := map[string]any{}
		for name, inner := range w.children {
			if member, ok := v[name]; ok {
				part[name] = naivePart(member, inner)
			}
		}
		return part
	}
	return v
}

func TestPathsGoWithTheLastPatternThatNeedsThem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var paths Paths
		var all []*Pattern
		for range rapid.IntRange(1, 8).Draw(t, "patterns") {
			all = append(all, drawPatterns(t)...)
		}
		for _, p := range all {
			paths.add(p)
		}
		for len(all) > 0 {
			i := rapid.IntRange(0, len(all)-1).Draw(t, "drop")
			paths.drop(all[i])
			all = slices.Delete(all, i, i+1)
			var fresh Paths
			for _, p := range all {
				fresh.add(p)
			}
			if got, want := paths.names(), fresh.names(); got != want {
				t.Fatalf("paths are %s, want %s", got, want)
			}
		}
	})
}

// names returns the tree as text.
func (t *Paths) names() string {
	var tree func(w *wanted) map[string]any
	tree = func(w *wanted) map[string]any {
		m := map[string]any{}
		for name, inner := range w.children {
			m[name] = tree(inner)
		}
		return m
	}
	b, err := json.Marshal([]any{tree(&t.envelope), tree(&t.payload)})
	if err != nil {
		panic(err)
	}
	return string(b)
}
