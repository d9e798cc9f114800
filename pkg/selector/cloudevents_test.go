package selector_test

import (
	"encoding/json"
	"net/url"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/selector"
)

// Values of ce- headers, and what they mean in an event with ce-specversion.
var attributes = []struct{ name, value, want string }{
	{"plain", "order.placed", "order.placed"},
	{"a space", "a%20b", "a b"},
	{"two bytes", "caf%C3%A9", "café"},
	{"lower case digits", "caf%c3%a9", "café"},
	{"four bytes", "%F0%9F%98%80", "😀"},
	{"escaped without need", "%61%62", "ab"},
	{"once only", "%2541", "%41"},
	{"a plus is a plus", "a+b", "a+b"},
	{"a percent sign alone", "100%", "100%"},
	{"a percent sign among others", "50% of %41", "50% of A"},
	{"half an escape", "a%4", "a%4"},
	{"no digits", "%zz%41", "%zzA"},
	{"two percent signs", "%%41", "%A"},
	{"an overlong space", "%C0%A0", "%C0%A0"},
	{"half a character", "a%C3b%20", "a%C3b "},
	{"half a surrogate pair", "%ED%A0%80", "%ED%A0%80"},
	{"no UTF-8 in a run spoils the run", "%41%FF", "%41%FF"},
	{"a zero byte", "a%00", "a\x00"},
	{"not ASCII, and not escaped", "é%20é", "é é"},
	{"quoted", `"a b"`, "a b"},
	{"quoted, with a quote inside", `"a\"b"`, `a"b`},
	{"quoted, then escaped", `"a%20b"`, "a b"},
	{"a quote at the beginning", `"a`, `"a`},
	{"a quote inside", `a"b"`, `a"b"`},
	{"two quoted strings", `"a" "b"`, `"a" "b"`},
	{"a backslash at the end", `"a\"`, `"a\"`},
	{"one quote", `"`, `"`},
	{"two quotes, of an empty value", `""%20`, `"" `},
}

func TestCloudEvents_AttributesAreDecodedWhereTheEventIsOne(t *testing.T) {
	t.Parallel()
	for _, tt := range attributes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := nats.Header{"ce-type": {tt.value}, "CE-ID": {tt.value}, "ce-source": {tt.value}, "Ce-Tenant": {tt.value}, "x-plain": {tt.value}}
			require := func(want string) {
				t.Helper()
				e := newEvent("a.b", h, "")
				if e.Type != want || e.Stream != "a.b" || e.ID() != want {
					t.Errorf("type %q, stream %q, id %q, want %q", e.Type, e.Stream, e.ID(), want)
				}
				doc := map[string]any{
					"type": want, "id": want, "source": want, "stream": "a.b",
					"headers": map[string]string{"ce-type": want, "ce-tenant": want, "x-plain": tt.value},
				}
				p, err := pattern.ParseEvent(must(json.Marshal(doc)))
				if err != nil {
					t.Fatal(err)
				}
				if !p.Match(e.Document()) {
					t.Errorf("%v does not match %v", h, p)
				}
				if got := e.HeaderValue("ce-tenant"); got != tt.value {
					t.Errorf("the header is %q, want it as it is stored", got)
				}
			}
			require(tt.value)
			h["Ce-SpecVersion"] = []string{"1.0"}
			require(tt.want)
		})
	}
}

func TestCloudEvents_WhatIsEncodedAsTheBindingSaysIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Filter(utf8.ValidString).Draw(t, "value")
		typ, _ := selector.TypeAndStream("a.b", nats.Header{"ce-type": {url.PathEscape(want)}, "ce-specversion": {"1.0"}})
		if typ != want && want != "" {
			t.Fatalf("%q, encoded, is read as %q", want, typ)
		}
	})
}
