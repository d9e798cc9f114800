package pattern

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func issueEvent() Event {
	return Event{
		Type: "issues.opened", Stream: "github.Codertocat", Subject: "github.Codertocat.issues", Store: "GITHUB",
		Sequence: 9007199254740993, Time: time.Date(2026, 3, 1, 13, 0, 0, 500, time.FixedZone("", 3600)),
		ID: "GITHUB:7", Source: "https://github.com",
		Headers: HeadersOf(map[string][]string{"X-Region": {"eu", "us"}, "x-region": {"late"}, "None": {}}),
		Data:    []byte(`{"action":"opened","issue":{"comments":0}}`),
	}
}

func TestEventDocument(t *testing.T) {
	t.Parallel()
	bare := NewDocument(Event{Data: []byte("not JSON")})
	full := NewDocument(issueEvent())
	for _, tt := range []struct {
		pattern    string
		full, bare bool
	}{
		{`{"type":"issues.opened"}`, true, false},
		{`{"type":""}`, false, true},
		{`{"stream":[{"suffix":"cat"}],"subject":[{"prefix":"github."}],"store":"GITHUB"}`, true, false},
		{`{"sequence":9007199254740993}`, true, false},
		{`{"sequence":9007199254740992}`, false, false},
		{`{"sequence":[{"numeric":[">=",0]}]}`, true, true},
		{`{"time":"2026-03-01T12:00:00.0000005Z"}`, true, false},
		{`{"time":"0001-01-01T00:00:00Z"}`, false, true},
		{`{"id":"GITHUB:7","source":"https://github.com"}`, true, false},
		{`{"id":[{"exists":false}],"source":[{"exists":false}]}`, false, true},
		{`{"headers":{"x-region":"eu"}}`, true, false},
		{`{"headers":{"x-region":"us"}}`, false, false},
		{`{"headers":{"x-region":"late"}}`, false, false},
		{`{"headers":{"none":[{"exists":false}]}}`, true, true},
		{`{"headers":[{"exists":true}]}`, true, true},
		{`{"data":{"action":"opened","issue":{"comments":0}}}`, true, false},
		{`{"data":[{"exists":false}]}`, false, true},
		{`{"data":{"x":[{"exists":false}]}}`, true, true},
		{`{"$or":[{"data":{"action":"closed"}},{"type":"issues.opened"}]}`, true, false},
	} {
		t.Run(tt.pattern, func(t *testing.T) {
			t.Parallel()
			p := mustEvent(t, tt.pattern)
			if got := p.Match(full); got != tt.full {
				t.Errorf("on the full event = %v, want %v: %v", got, tt.full, mustExplain(t, p, full))
			}
			if got := p.Match(bare); got != tt.bare {
				t.Errorf("on the bare event = %v, want %v: %v", got, tt.bare, mustExplain(t, p, bare))
			}
		})
	}
}

func TestPayloadIsDecodedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern        string
		needs, decoded bool
	}{
		{`{"type":"issues.opened"}`, false, false},
		{`{"type":"other","data":{"action":"opened"}}`, true, false},
		{`{"data":{"action":"opened"},"type":"other"}`, true, false},
		{`{"$or":[{"data":{"action":"opened"}},{"type":"x"}],"store":"other"}`, true, false},
		{`{"data":{"action":"opened"}}`, true, true},
		{`{"$or":[{"type":"x"},{"data":{"action":"opened"}}]}`, true, true},
	} {
		p, d := mustEvent(t, tt.pattern), NewDocument(issueEvent())
		p.Match(d)
		if p.NeedsPayload() != tt.needs || d.PayloadRead() != tt.decoded {
			t.Errorf("%s: NeedsPayload %v, decoded %v; want %v, %v", tt.pattern, p.NeedsPayload(), d.body.last.Load() != nil, tt.needs, tt.decoded)
		}
	}
	if !mustPayload(t, `{"a":1}`).NeedsPayload() {
		t.Error("a payload pattern does not need the payload")
	}
}

func TestPayloadThatIsNotJSONNeverMatches(t *testing.T) {
	t.Parallel()
	p := mustPayload(t, `{"a":[{"exists":false}]}`)
	for _, data := range []string{
		"", " ", "x", "{", `{"b":1}x`, `{"b":1}{}`, `{"b":01}`, `{'b':1}`, `{"b":1,}`, `[1,]`, "\"\xff\"", "\"\xed\xa0\x80\"",
		"\ufeff", "\ufeff\ufeff{}", " \ufeff{}", "{\ufeff}", "\ufffe{}", "\xef\xbb{}", "nul", "NaN", "truex", `"\ud8"`, "\"\t\"", "\"a word of eight\tand more\"", `{"c":{"d":"skipped` + "\x01" + ` or not"}}`,
		`{"c":["a word of eight` + "\xff" + ` and more"]}`, `"`, `"\`, strings.Repeat("[", maxPayloadDepth+1) + strings.Repeat("]", maxPayloadDepth+1),
		`{"c":` + strings.Repeat("[", maxPayloadDepth) + strings.Repeat("]", maxPayloadDepth) + "}",
	} {
		d := payloadDoc(data)
		if p.Match(d) || d.PayloadError() == nil {
			t.Errorf("%q: match %v, error %v", data, p.Match(d), d.PayloadError())
		}
		if why := mustExplain(t, p, d); len(why) != 1 || why[0].Want != "a JSON payload" {
			t.Errorf("%q: Explain = %v", data, why)
		}
	}
	for _, data := range []string{
		" 1 ", "null", "\ufeff{}", "\ufeff {}\n", "\ufeff1", strings.Repeat("[", maxPayloadDepth) + strings.Repeat("]", maxPayloadDepth),
		`{"c":` + strings.Repeat("[", maxPayloadDepth-1) + strings.Repeat("]", maxPayloadDepth-1) + "}",
	} {
		if d := payloadDoc(data); !p.Match(d) || d.PayloadError() != nil {
			t.Errorf("%q does not match: %v", data, d.PayloadError())
		}
	}
}

func TestDocumentIsSharedByConcurrentMatches(t *testing.T) {
	t.Parallel()
	d := NewDocument(issueEvent())
	p, q := mustEvent(t, `{"headers":{"x-region":"eu"},"data":{"action":"opened"}}`), mustPayload(t, `{"action":"opened"}`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if !p.Match(d) || !q.Match(d) {
				t.Error("no match")
			}
		})
	}
	wg.Wait()
}

func TestExplain(t *testing.T) {
	t.Parallel()
	d := NewDocument(Event{Type: "a", Data: []byte(`{"a":{"b":1},"l":[{"x":1,"y":1},{"x":2,"y":1},[{"x":1,"y":2}]],"s":"` +
		strings.Repeat("é", 100) + `","big":[` + strings.Repeat("1,", 200) + `1],"deep":[[],[[{"x":1}],{"x":2}],[{"x":3,"y":1},[[[]],{"y":[[{"z":1}]]}]]],` +
		`"long":[` + strings.Repeat(`{"x":1},`, 15) + `{"x":2},{"x":3,"y":1}]}`)})
	for _, tt := range []struct {
		pattern string
		want    []string
	}{
		{`{"a":{"b":[1]}}`, nil},
		{`{"a":{"b":[2,"x"],"c":null},"z":true}`, []string{`a.b: want [2,"x"], found 1`, `a.c: want null, found nothing`, `z: want true, found nothing`}},
		{`{"l":{"x":2,"y":2}}`, []string{`l[1].y: want 2, found 1`}},
		{`{"deep":{"x":3,"y":2}}`, []string{`deep[2][0].y: want 2, found 1`}},
		{`{"deep":{"x":2,"y":2}}`, []string{`deep[1][1].y: want 2, found nothing`}},
		{`{"deep":{"x":[{"exists":false}],"y":{"z":2}}}`, []string{`deep[2][1][1].y[0][0].z: want 2, found 1`}},
		{`{"long":{"x":2,"y":1}}`, []string{`long[15].y: want 1, found nothing`}},
		{`{"long":{"x":3,"y":2}}`, []string{`long[0].x: want 3, found 1`, `long[0].y: want 2, found nothing`}}, // the 17th comes closer
		{`{"l":[{"exists":false}],"a":[{"exists":false}]}`, []string{`l: want [{"exists":false}], found [{"x":1,"y":1},{"x":2,"y":1},[{"x":1,"y":2}]]`, `a: want [{"exists":false}], found {"b":1}`}},
		{`{"$or":[{"q":1,"r":1},{"a":{"b":3}}]}`, []string{`$or: want one of 2 patterns, found none that holds`, `a.b: want 3, found 1`}},
		{`{"s":"x"}`, []string{`s: want "x", found "` + strings.Repeat("é", 59) + "…"}},
		{`{"big":2}`, []string{`big: want 2, found a list of 201 members`}},
		{`{"a":{"b":{"c":1}}}`, []string{`a.b.c: want 1, found nothing`}},
	} {
		var got []string
		for _, r := range mustExplain(t, mustPayload(t, tt.pattern), d) {
			got = append(got, r.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.pattern, diff)
		}
	}
	why := mustExplain(t, mustEvent(t, `{"type":"b","data":{"a":{"b":2}}}`), d)
	if got, want := fmt.Sprint(why), `[type: want "b", found "a" data.a.b: want 2, found 1]`; got != want {
		t.Errorf("event: %s, want %s", got, want)
	}
}

func TestExplainSaysThatThePayloadOfAnEventIsNotJSON(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ pattern, data, want string }{
		{`{"type":"b","data":{"a":1,"b":2}}`, `{"a":1,}`, `[type: want "b", found "a" data: want a JSON payload, found not valid JSON at byte 7: want a field name in double quotes]`},
		{`{"data":[{"exists":true}]}`, ``, `[data: want a JSON payload, found not valid JSON at byte 0: want a value]`},
		{`{"data":{"a":[{"exists":false}],"b":1}}`, `x`, `[data: want a JSON payload, found not valid JSON at byte 0: want a value]`},
		{`{"$or":[{"data":1},{"data":{"a":1}}]}`, `x`, `[$or: want one of 2 patterns, found none that holds data: want a JSON payload, found not valid JSON at byte 0: want a value]`},
		{`{"data":{"a":[{"exists":false}]}}`, `x`, `[]`},
		{`{"data":[{"exists":false}]}`, `x`, `[]`},
	} {
		why := mustExplain(t, mustEvent(t, tt.pattern), NewDocument(Event{Type: "a", Data: []byte(tt.data)}))
		if got := fmt.Sprint(why); got != tt.want {
			t.Errorf("%s on %q: %s, want %s", tt.pattern, tt.data, got, tt.want)
		}
	}
}

// FuzzDocument holds that a payload is read exactly when encoding/json and
// UTF-8 accept it, and then as the same value.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-2.5e+3,true,false,null,"x\n\u00e9\ud83d\ude00"],"b":{}}`, `[]`, `"\ud800"`, `{"a":1,"a":2}`, `1e400`, "\"\xff\"", `{"a":}`, ``, `-0`,
	} {
		f.Add([]byte(s))
	}
	p := mustPayload(f, `{"a":{"b":[{"anything-but":1}]},"$or":[{"c":[1,null,"x"]},{"d":[{"exists":false}]}]}`)
	f.Fuzz(func(t *testing.T, data []byte) {
		root, bad := decodePayload(data)
		requireValidity(t, data, bad)
		d := NewDocument(Event{Data: data})
		if p.Match(d) != (len(mustExplain(t, p, d)) == 0) {
			t.Fatalf("%q: Match and Explain disagree", data)
		}
		if bad != nil {
			return
		}
		if diff := cmp.Diff(naiveDecode(t, data), naiveValue(root)); diff != "" {
			t.Fatalf("%q is read differently (-want +got):\n%s", data, diff)
		}
	})
}

// requireValidity holds a verdict against that of encoding/json.
func requireValidity(t *testing.T, data []byte, bad *syntaxError) {
	t.Helper()
	if bad != nil && strings.Contains(bad.reason, "nested deeper") {
		return // encoding/json goes deeper
	}
	if want := json.Valid(data) && utf8.Valid(data); want != (bad == nil) {
		t.Fatalf("%q: error %v, want valid: %v", data, bad, want)
	}
}

// naiveValue turns nodes into what encoding/json with UseNumber makes.
func naiveValue(n *node) any {
	switch n.kind {
	case kindNull:
		return nil
	case kindFalse, kindTrue:
		return n.kind == kindTrue
	case kindNumber:
		return json.Number(n.text)
	case kindString:
		return n.text
	case kindArray:
		list := []any{}
		for i := range n.kids {
			list = append(list, naiveValue(&n.kids[i]))
		}
		return list
	}
	m := map[string]any{}
	for i := range n.kids {
		m[n.kids[i].key] = naiveValue(n.get(n.kids[i].key))
	}
	return m
}

// PayloadError returns nil if the payload is JSON, else why it is not.
func (d *Document) PayloadError() error {
	v := view{doc: d}
	if v.payload() == nil {
		return v.payloadError()
	}
	return nil
}
