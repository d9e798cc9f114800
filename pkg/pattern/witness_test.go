package pattern

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// A random document seldom matches a random pattern. These generators read the
// pattern and make a document that it should match, then spoil some of it.

// drawWitness makes a document for a pattern, or any document now and then.
func drawWitness(t *rapid.T, raw string) string {
	if rapid.IntRange(0, 3).Draw(t, "any document") == 0 {
		return drawValue(t, 3)
	}
	return witness(t, naiveDecode(t, []byte(raw)))
}

// witness makes a value for what stands at one field of a pattern.
func witness(t *rapid.T, want any) string {
	if rapid.IntRange(0, 15).Draw(t, "spoil") == 0 {
		return drawValue(t, 1)
	}
	v := ""
	switch w := want.(type) {
	case map[string]any:
		members := map[string]string{}
		witnessMembers(t, w, members)
		var list []string
		for _, name := range slices.Sorted(maps.Keys(members)) {
			list = append(list, quote(name)+":"+members[name])
		}
		v = "{" + strings.Join(list, ",") + "}"
	case []any:
		v = witnessAlternative(t, w[rapid.IntRange(0, len(w)-1).Draw(t, "alternative")])
	default:
		v = witnessAlternative(t, w)
	}
	for rapid.IntRange(0, 4).Draw(t, "wrap") == 0 {
		v = "[" + drawValue(t, 1) + "," + v + "," + drawObject(t, 1) + "]"
	}
	return v
}

func witnessMembers(t *rapid.T, pattern map[string]any, into map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(pattern)) {
		want := pattern[name]
		if name == "$or" {
			list := want.([]any)
			choice := list[rapid.IntRange(0, len(list)-1).Draw(t, "or")]
			witnessMembers(t, choice.(map[string]any), into)
			continue
		}
		if list, ok := want.([]any); ok && asksForAbsence(list) && rapid.Bool().Draw(t, "leave out") {
			continue
		}
		into[name] = witness(t, want)
	}
}

func asksForAbsence(list []any) bool {
	return slices.ContainsFunc(list, func(alt any) bool {
		op, ok := alt.(map[string]any)
		return ok && op["exists"] == false
	})
}

func witnessAlternative(t *rapid.T, alt any) string {
	op, ok := alt.(map[string]any)
	if !ok {
		return witnessLiteral(t, alt)
	}
	for name, arg := range op {
		text, _ := arg.(string)
		switch name {
		case "prefix":
			return quote(text + strs.Draw(t, "rest"))
		case "suffix":
			return quote(strs.Draw(t, "rest") + text)
		case "equals-ignore-case":
			return quote(strings.ToUpper(text))
		case "wildcard":
			return quote(strings.ReplaceAll(strings.ReplaceAll(text, "*", strs.Draw(t, "run")), `\`, ""))
		case "numeric":
			return numbers.Draw(t, "number")
		}
	}
	return drawScalar(t)
}

// witnessLiteral writes a number in another way now and then.
func witnessLiteral(t *rapid.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	lit := string(b)
	if _, ok := v.(json.Number); ok && !strings.ContainsAny(lit, ".e") && rapid.Bool().Draw(t, "rewrite") {
		lit += rapid.SampledFrom([]string{".0", "e0", ".000E+00", "0e-1", "00e-2"}).Draw(t, "as")
		if strings.HasPrefix(lit, "00") || strings.HasPrefix(lit, "-00") {
			return "-0.0"
		}
	}
	return lit
}
