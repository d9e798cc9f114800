package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// faults returns the faults of a parse as text, and nil if there is no error.
func faults(tb testing.TB, err error) []string {
	tb.Helper()
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) || len(e.Faults) == 0 {
		tb.Fatalf("error is %T %v, want an *Error with faults", err, err)
	}
	var all []string
	for _, f := range e.Faults {
		all = append(all, f.String())
	}
	return all
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := ParsePayload([]byte(`{
		"issue": {"user": {"login": [{"prefix": 5}, {"prefx": "a"}, [1], {"prefix": "a", "suffix": "b"}, {}]}},
		"empty": {},
		"none": [],
		"a.b": [{"exists": "yes"}],
		"but": [{"anything-but": {"wildcard": "x"}}, {"anything-but": []}, {"anything-but": ["x", {}, []]}, {"anything-but": {"prefix": 1}}],
		"num": [{"numeric": [">", "5"]}, {"numeric": []}, {"numeric": [">"]}, {"numeric": ["!=", 5]}, {"numeric": 5}],
		"wild": [{"wildcard": "a\\b"}, {"wildcard": "a\\"}],
		"twice": 1, "twice": 2,
		"$or": [{"x": []}, 5, {}]
	}`))
	const ops = "prefix, suffix, equals-ignore-case, wildcard, exists, anything-but, numeric"
	const pairs = `want a list of comparisons and numbers by turns, such as [">=", 0, "<", 10], got `
	const but = `want a scalar, a list of scalars, or {"prefix"|"suffix": string}`
	want := []string{
		"issue.user.login[0].prefix: want a string, got a number",
		"issue.user.login[1].prefx: unknown operator: want one of " + ops + "; an object that is a pattern stands outside a list",
		"issue.user.login[2]: a list in a list: write its members into the outer one",
		"issue.user.login[3]: 2 operators in one object: want exactly one of " + ops + "; each alternative is an object of its own",
		"issue.user.login[4]: 0 operators in one object: want exactly one of " + ops + "; each alternative is an object of its own",
		`empty: an empty pattern says nothing: name a field, or write [{"exists": true}] to ask whether it is there`,
		"none: an empty list matches nothing: want at least one alternative",
		`"a.b"[0].exists: want true or false, got a string`,
		"but[0].anything-but: " + but,
		"but[1].anything-but: an empty list excludes nothing: " + but,
		"but[2].anything-but[1]: want a scalar, got an object",
		"but[2].anything-but[2]: want a scalar, got a list",
		"but[3].anything-but.prefix: want a string, got a number",
		"num[0].numeric[1]: want a number, got a string",
		"num[1].numeric: " + pairs + "an empty list",
		"num[2].numeric: " + pairs + "a list of odd length",
		`num[3].numeric[0]: want one of <, <=, =, >=, >, got "!="`,
		"num[4].numeric: " + pairs + "a number",
		`wild[0].wildcard: a backslash escapes only * and \: write \\ for a backslash`,
		`wild[1].wildcard: a backslash escapes only * and \: write \\ for a backslash`,
		"twice: given twice: put the alternatives into one list",
		"$or[0].x: an empty list matches nothing: want at least one alternative",
		"$or[1]: want a pattern object, got a number",
		`$or[2]: an empty pattern says nothing: name a field, or write [{"exists": true}] to ask whether it is there`,
	}
	if diff := cmp.Diff(want, faults(t, err)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestEventPatternsNameFieldsOfTheEventDocument(t *testing.T) {
	t.Parallel()
	_, err := ParseEvent([]byte(`{
		"typ": "x",
		"type": {"a": 1},
		"headers": {"X-Region": "eu", "y": {"z": 1}, "$or": [{"Up": 1}]},
		"data": {"typ": 1, "Type": {"a": 1}},
		"$or": [{"action": "x"}, {"data": {"action": "x"}}]
	}`))
	const event = "not a field of the event document: want one of type, stream, subject, store, sequence, time, id, source, headers, data or $or; the payload's fields are below data"
	const below = `nothing is below this field: want a scalar or a list of alternatives, such as [{"prefix": "a"}]`
	want := []string{
		"typ: " + event,
		"type: " + below,
		`headers.X-Region: the event document holds header names in lower case: write "x-region"`,
		"headers.y: " + below,
		`headers.$or[0].Up: the event document holds header names in lower case: write "up"`,
		"$or[0].action: " + event,
	}
	if diff := cmp.Diff(want, faults(t, err)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestParseRefusesWhatIsNotAPattern(t *testing.T) {
	t.Parallel()
	deep := func(n int, leaf string) string {
		return strings.Repeat(`{"a":`, n) + leaf + strings.Repeat("}", n)
	}
	wide := func(n int) string { return `{"a":[` + strings.Repeat("1,", n-1) + `1]}` }
	for _, tt := range []struct{ name, raw, want string }{
		{"nothing", ``, "not valid JSON at byte 0: want a value"},
		{"empty", `{}`, "an empty pattern would match every event: name a field, or leave the pattern out"},
		{"scalar", `5`, "want an object, got a number"},
		{"list", `[]`, "want an object, got a list"},
		{"trailing data", `{"a":1} {}`, "not valid JSON at byte 8: something follows the value"},
		{"open", `{"a":1`, "not valid JSON at byte 6: want a comma or }"},
		{"trailing comma", `{"a":1,}`, "not valid JSON at byte 7: want a field name in double quotes"},
		{"no colon", `{"a" 1}`, "not valid JSON at byte 5: want a colon after the field name"},
		{"leading zero", `{"a":01}`, "not valid JSON at byte 6: want a comma or }"},
		{"plus", `{"a":+1}`, "not valid JSON at byte 5: want a value"},
		{"bare point", `{"a":1.}`, "not valid JSON at byte 7: want a digit after the point"},
		{"bare exponent", `{"a":1e}`, "not valid JSON at byte 7: want a digit in the exponent"},
		{"bare minus", `{"a":-}`, "not valid JSON at byte 6: want a digit"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "not valid JSON at byte 6: invalid UTF-8"},
		{"half a pair", `{"a":"\ud800"}`, "not valid JSON at byte 7: half of a surrogate pair: write both halves or the character itself"},
		{"the other half", `{"a":"\udc00\ud800"}`, "not valid JSON at byte 7: half of a surrogate pair: write both halves or the character itself"},
		{"escape", `{"a":"\x"}`, "not valid JSON at byte 7: unknown escape"},
		{"short unicode escape", `{"a":"\u12"}`, `not valid JSON at byte 7: want four hexadecimal digits after \u`},
		{"control character", "{\"a\":\"\n\"}", "not valid JSON at byte 6: control character in a string: write it as an escape"},
		{"byte order mark", "\ufeff{}", "not valid JSON at byte 0: want a value"},
		{"or that is not a list", `{"$or":{"a":1}}`, "$or: want a list of at least one pattern object, got an object"},
		{"empty or", `{"$or":[]}`, "$or: want a list of at least one pattern object, got an empty list"},
		{"too deep", deep(MaxDepth+1, "1"), strings.TrimSuffix(strings.Repeat("a.", MaxDepth), ".") + ": nested deeper than 32 patterns"},
		{"far too deep", deep(5000, "1"), "not valid JSON at byte 640: nested deeper than 128 levels"},
		{"too many alternatives", wide(MaxLeaves + 1), "a[4096]: more than 4096 alternatives in the pattern: split it into several subscriptions"},
		{"too large", `{"a":"` + strings.Repeat("x", MaxBytes) + `"}`, "65544 bytes: want at most 65536"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := ParsePayload([]byte(tt.raw))
			if p != nil {
				t.Errorf("a pattern came with the error")
			}
			if diff := cmp.Diff([]string{tt.want}, faults(t, err)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
	mustPayload(t, deep(MaxDepth, "1"))
	mustPayload(t, wide(MaxLeaves))
	mustPayload(t, `{"a":1} `+"\n\t\r")
}

func TestHopelessPatternsGetABoundedAnswer(t *testing.T) {
	t.Parallel()
	_, err := ParsePayload([]byte(`{"a":[` + strings.Repeat("[],", 1000) + `1]}`))
	got := faults(t, err)
	if len(got) != maxFaults || got[maxFaults-1] != "more faults follow: mend these first" {
		t.Errorf("%d faults, the last %q; want %d and word of more", len(got), got[len(got)-1], maxFaults)
	}
}

func TestErrorNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := ParsePayload([]byte(`{"a":[],"b":{"c":[{"prefix":1}]}}`))
	const want = "pattern: a: an empty list matches nothing: want at least one alternative; b.c[0].prefix: want a string, got a number"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestStringParsesToItself(t *testing.T) {
	t.Parallel()
	p := mustPayload(t, ` { "b" : [ 1.50 , "<\u00e9>" ] , "a" : [ { "exists" : true } ] } `)
	const want = `{"b":[1.50,"<é>"],"a":[{"exists":true}]}`
	if got := p.String(); got != want {
		t.Errorf("String = %s, want %s", got, want)
	}
	if again := mustPayload(t, p.String()).String(); again != want {
		t.Errorf("String of it = %s, want %s", again, want)
	}
}

func TestZeroPatternMatchesNothing(t *testing.T) {
	t.Parallel()
	var p Pattern
	d := payloadDoc(`{}`)
	if p.Match(d) || len(mustExplain(t, &p, d)) == 0 {
		t.Error("the zero Pattern matches")
	}
}

// FuzzParse holds that no input panics, that a refusal names a reason, and
// that what is accepted survives a round trip.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":1}`, `{"a":[{"prefix":"x"},{"anything-but":["x",1]}]}`, `{"$or":[{"a":1},{"b":[{"numeric":[">",1e9]}]}]}`,
		`{"type":"x","headers":{"x-y":["a"]},"data":{"a":{"b":null}}}`, `{"a":[{"wildcard":"\\**"}]}`, `{"a":"\ud83d\ude00"}`, `{`, `[]`,
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	doc := NewDocument(Event{Type: "x", Data: []byte(`{"a":[{"b":null},1,"x"],"b":2}`)})
	f.Fuzz(func(t *testing.T, raw []byte, event bool) {
		p, err := parse(raw, event)
		if err != nil {
			for _, s := range faults(t, err) {
				if s == "" {
					t.Fatal("a fault without a reason")
				}
			}
			return
		}
		again, err := parse([]byte(p.String()), event)
		if err != nil || again.String() != p.String() {
			t.Fatalf("%s parses again as %v, error %v", p, again, err)
		}
		if p.Match(doc) != again.Match(doc) || p.Match(doc) != (len(mustExplain(t, p, doc)) == 0) {
			t.Fatalf("%s: Match, Explain and the parsed String disagree", p)
		}
	})
}

func ExampleParsePayload() {
	_, err := ParsePayload([]byte(`{"issue": {"user": {"login": [{"prefix": 5}]}}}`))
	fmt.Println(err)
	// Output: pattern: issue.user.login[0].prefix: want a string, got a number
}

func TestAppendString_IsWhatTheStandardLibraryMakes(t *testing.T) {
	t.Parallel()
	check := func(s string) bool {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		return string(appendString(nil, s))+"\n" == want.String()
	}
	for _, s := range []string{"", "plain ~", `"`, `\`, "\x00", "\x1f", "\x7f", "é", "\u2028", "\xff", "<&>"} {
		if !check(s) {
			t.Errorf("appendString(%q) = %s", s, appendString(nil, s))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if s := rapid.String().Draw(t, "s"); !check(s) {
			t.Errorf("appendString(%q) = %s", s, appendString(nil, s))
		}
	})
}
