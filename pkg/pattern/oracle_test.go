package pattern

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// This file holds a second, naive reading of the contract: patterns and
// documents as encoding/json gives them, numbers as big.Rat, array elements
// collected into slices. It shares no code with the package.

func naiveDecode(tb interface{ Fatalf(string, ...any) }, data []byte) any {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		tb.Fatalf("decode %s: %v", data, err)
	}
	return v
}

// absent stands for a field that is not there.
type absent struct{}

func naiveGet(v any, key string) any {
	if m, ok := v.(map[string]any); ok {
		if member, ok := m[key]; ok {
			return member
		}
	}
	return absent{}
}

func naiveFlatten(v any) []any {
	list, ok := v.([]any)
	if !ok {
		return []any{v}
	}
	var flat []any
	for _, e := range list {
		flat = append(flat, naiveFlatten(e)...)
	}
	return flat
}

func naiveObject(pattern map[string]any, v any) bool {
	candidates := naiveFlatten(v)
	if len(candidates) == 0 {
		candidates = []any{absent{}}
	}
	return slices.ContainsFunc(candidates, func(e any) bool { return naiveFields(pattern, e) })
}

func naiveFields(pattern map[string]any, v any) bool {
	for key, want := range pattern {
		ok := false
		switch w := want.(type) {
		case map[string]any:
			ok = naiveObject(w, naiveGet(v, key))
		case []any:
			if key == "$or" {
				ok = slices.ContainsFunc(w, func(p any) bool { return naiveFields(p.(map[string]any), v) })
			} else {
				ok = slices.ContainsFunc(w, func(alt any) bool { return naiveAlternative(alt, naiveGet(v, key)) })
			}
		default:
			ok = naiveAlternative(w, naiveGet(v, key))
		}
		if !ok {
			return false
		}
	}
	return true
}

func naiveAlternative(alt, v any) bool {
	_, missing := v.(absent)
	if op, ok := alt.(map[string]any); ok {
		if want, ok := op["exists"]; ok {
			return want.(bool) == !missing
		}
	}
	if missing {
		return false
	}
	return slices.ContainsFunc(naiveFlatten(v), func(e any) bool {
		if _, isObject := e.(map[string]any); isObject {
			return false
		}
		return naiveScalar(alt, e)
	})
}

func naiveScalar(alt, v any) bool {
	op, ok := alt.(map[string]any)
	if !ok {
		return naiveEqual(alt, v)
	}
	for name, arg := range op {
		switch name {
		case "anything-but":
			return !naiveExcluded(arg, v)
		case "numeric":
			return naiveNumeric(arg.([]any), v)
		}
		text, ok := v.(string)
		return ok && naiveText(name, arg.(string), text)
	}
	return false
}

func naiveText(op, arg, text string) bool {
	switch op {
	case "prefix":
		return len(text) >= len(arg) && text[:len(arg)] == arg
	case "suffix":
		return len(text) >= len(arg) && text[len(text)-len(arg):] == arg
	case "equals-ignore-case":
		// Plain on purpose: the oracle must not share strings.EqualFold with the code.
		return strings.ToLower(strings.ToUpper(text)) == strings.ToLower(strings.ToUpper(arg)) //nolint:staticcheck // see above
	}
	return naiveWildcard(arg, text)
}

// naiveWildcard backtracks.
func naiveWildcard(w, text string) bool {
	switch {
	case w == "":
		return text == ""
	case w[0] == '*':
		return naiveWildcard(w[1:], text) || text != "" && naiveWildcard(w, text[1:])
	case w[0] == '\\':
		w = w[1:]
	}
	return text != "" && text[0] == w[0] && naiveWildcard(w[1:], text[1:])
}

func naiveExcluded(arg, v any) bool {
	switch a := arg.(type) {
	case []any:
		return slices.ContainsFunc(a, func(x any) bool { return naiveEqual(x, v) })
	case map[string]any:
		return naiveScalar(a, v)
	}
	return naiveEqual(arg, v)
}

func naiveRat(n json.Number) *big.Rat {
	if i := strings.IndexAny(string(n), "eE"); i >= 0 && len(n)-i > 8 {
		panic("the generators make no exponent that a big.Rat could not hold: " + n)
	}
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		panic("not a number: " + n)
	}
	return r
}

func naiveEqual(a, b any) bool {
	x, okX := a.(json.Number)
	y, okY := b.(json.Number)
	if okX && okY {
		return naiveRat(x).Cmp(naiveRat(y)) == 0
	}
	return okX == okY && a == b
}

func naiveNumeric(pairs []any, v any) bool {
	n, ok := v.(json.Number)
	for i := 0; ok && i < len(pairs); i += 2 {
		c := naiveRat(n).Cmp(naiveRat(pairs[i+1].(json.Number)))
		switch pairs[i] {
		case "<":
			ok = c < 0
		case "<=":
			ok = c <= 0
		case "=":
			ok = c == 0
		case ">=":
			ok = c >= 0
		case ">":
			ok = c > 0
		}
	}
	return ok
}

// The generators draw from few names and few values, so that patterns and
// documents meet.

var (
	names   = rapid.SampledFrom([]string{"a", "b", "c", "a.b"})
	strs    = rapid.SampledFrom([]string{"x", "xy", "y", "", "X", "xyx", "é", "É", "*", `\`})
	numbers = rapid.SampledFrom([]string{
		"0", "-0.0", "1", "1.0", "10e-1", "2", "-1", "0.1", "0.10", "1e-1", "9007199254740992",
		"9007199254740993", "9007199254740993.0", "1e400", "10e399", "1e-400", "100", "1e2", "12.5", "125e-1", "-1e400",
	})
	globs = rapid.SampledFrom([]string{"*", "x*", "*x", "x*x", "**", "x", `\*`, `\\`, "*x*y*", "é*", "*x*x", "x*y*"})
)

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func drawScalar(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "scalar") {
	case 0:
		return "null"
	case 1:
		return "true"
	case 2:
		return "false"
	case 3, 4, 5:
		return numbers.Draw(t, "number")
	}
	return quote(strs.Draw(t, "string"))
}

func drawList(t *rapid.T, lo, hi int, item func() string) string {
	n := rapid.IntRange(lo, hi).Draw(t, "length")
	items := make([]string, n)
	for i := range items {
		items[i] = item()
	}
	return "[" + strings.Join(items, ",") + "]"
}

func drawValue(t *rapid.T, depth int) string {
	switch k := rapid.IntRange(0, 9).Draw(t, "value"); {
	case depth <= 0 || k < 4:
		return drawScalar(t)
	case k < 6:
		return drawList(t, 0, 3, func() string { return drawValue(t, depth-1) })
	}
	return drawObject(t, depth)
}

func drawObject(t *rapid.T, depth int) string {
	members := rapid.SliceOfN(names, 0, 4).Draw(t, "members") // names given twice included
	for i, name := range members {
		members[i] = quote(name) + ":" + drawValue(t, depth-1)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func drawOperator(t *rapid.T) string {
	switch rapid.IntRange(0, 8).Draw(t, "operator") {
	case 0:
		return `{"prefix":` + quote(strs.Draw(t, "prefix")) + `}`
	case 1:
		return `{"suffix":` + quote(strs.Draw(t, "suffix")) + `}`
	case 2:
		return `{"equals-ignore-case":` + quote(strs.Draw(t, "fold")) + `}`
	case 3:
		return `{"wildcard":` + quote(globs.Draw(t, "wildcard")) + `}`
	case 4:
		return `{"exists":true}`
	case 5:
		return `{"exists":false}`
	case 6:
		return `{"anything-but":` + drawScalar(t) + `}`
	case 7:
		if rapid.Bool().Draw(t, "text") {
			return `{"anything-but":{"prefix":` + quote(strs.Draw(t, "prefix")) + `}}`
		}
		return `{"anything-but":` + drawList(t, 1, 12, func() string { return drawScalar(t) }) + `}`
	}
	op := rapid.SampledFrom([]string{"<", "<=", "=", ">=", ">"})
	return fmt.Sprintf(`{"numeric":[%q,%s,%q,%s]}`, op.Draw(t, "op"), numbers.Draw(t, "n"), op.Draw(t, "op"), numbers.Draw(t, "n"))
}

func drawLeaf(t *rapid.T) string {
	switch rapid.IntRange(0, 3).Draw(t, "leaf") {
	case 0:
		return drawScalar(t)
	case 1:
		return drawList(t, 1, 12, func() string { return drawScalar(t) })
	}
	return drawList(t, 1, 3, func() string {
		if rapid.Bool().Draw(t, "literal") {
			return drawScalar(t)
		}
		return drawOperator(t)
	})
}

func drawPattern(t *rapid.T, depth int) string {
	fields := rapid.SliceOfNDistinct(names, 1, 2, rapid.ID[string]).Draw(t, "fields")
	for i, name := range fields {
		if depth > 0 && rapid.IntRange(0, 2).Draw(t, "nest") == 0 {
			fields[i] = quote(name) + ":" + drawPattern(t, depth-1)
		} else {
			fields[i] = quote(name) + ":" + drawLeaf(t)
		}
	}
	if depth > 0 && rapid.IntRange(0, 3).Draw(t, "or") == 0 {
		fields = append(fields, `"$or":`+drawList(t, 1, 2, func() string { return drawPattern(t, depth-1) }))
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func TestMatchAgreesWithANaiveReading(t *testing.T) {
	t.Parallel()
	matched, total := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		raw := drawPattern(t, 2)
		data := drawWitness(t, raw)
		p := mustDraw(t, raw)
		d := payloadDoc(data)
		want := naiveObject(naiveDecode(t, []byte(raw)).(map[string]any), naiveDecode(t, []byte(data)))
		if got := p.Match(d); got != want {
			t.Fatalf("%s on %s = %v, want %v", raw, data, got, want)
		}
		if got := len(mustExplain(t, p, d)) == 0; got != want {
			t.Fatalf("%s on %s: Explain empty %v, want %v", raw, data, got, want)
		}
		total++
		if want {
			matched++
		}
	})
	t.Logf("%d of %d matched", matched, total)
	if matched*10 < total {
		t.Errorf("%d of %d matched: the generators no longer test much", matched, total)
	}
}

func mustDraw(t *rapid.T, raw string) *Pattern {
	p, err := ParsePayload([]byte(raw))
	if err != nil {
		t.Fatalf("ParsePayload(%s): %v", raw, err)
	}
	return p
}

func TestNumberOrderAgreesWithBigRat(t *testing.T) {
	t.Parallel()
	literal := rapid.StringMatching(`-?(0|[1-9][0-9]{0,6}|10{0,30})(\.0{0,5}[0-9]{0,4}[0-9])?([eE][+-]?0{0,3}[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := literal.Draw(t, "a"), literal.Draw(t, "b")
		x, y := parseNumber(a), parseNumber(b)
		want := naiveRat(json.Number(a)).Cmp(naiveRat(json.Number(b)))
		if got := x.compare(y); got != want {
			t.Fatalf("%s against %s = %d, want %d", a, b, got, want)
		}
		if same := string(x.appendKey(nil)) == string(y.appendKey(nil)); same != (want == 0) {
			t.Fatalf("%s and %s: keys equal %v", a, b, same)
		}
	})
}

func TestShiftingAWideNumberKeepsItsOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// The same value with the point moved, its exponent on either side of
		// 18 digits and of int64, against its neighbour.
		base, _ := new(big.Int).SetString(rapid.SampledFrom([]string{
			"999999999999999999", "1000000000000000000", "9223372036854775807", "9223372036854775808", "100000000000000000000", "-999999999999999999",
			"-1000000000000000000", "-9223372036854775808", "-9223372036854775809", "-100000000000000000000",
		}).Draw(t, "exponent"), 10)
		exp := func(d int) string { return new(big.Int).Add(base, big.NewInt(int64(d))).String() }
		left, right := rapid.IntRange(0, 30).Draw(t, "left"), rapid.IntRange(1, 30).Draw(t, "right")
		a := parseNumber("1" + strings.Repeat("0", left) + "e" + exp(-left))
		b := parseNumber("0." + strings.Repeat("0", right-1) + "1e" + exp(right))
		c := parseNumber("1e" + exp(1))
		if a.compare(b) != 0 || string(a.appendKey(nil)) != string(b.appendKey(nil)) {
			t.Fatalf("%+v and %+v differ", a, b)
		}
		if a.compare(c) != -1 || c.compare(b) != 1 {
			t.Fatalf("%+v is not below %+v", a, c)
		}
	})
}
