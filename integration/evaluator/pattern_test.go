package evaluator_test

import (
	"encoding/json"
	"testing"

	"github.com/sluicehq/sluice/integration/evaluator"
	"github.com/sluicehq/sluice/pkg/wire"
)

// matches reports whether a pattern takes an event with this payload.
func matches(pattern, payload string) (bool, error) {
	spec := wire.Spec{Selector: wire.Selector{ByEventPayload: json.RawMessage(pattern)}}
	all, err := evaluator.Deliveries(
		[]evaluator.Stored{{Sequence: 1, Subject: "a", Data: []byte(payload)}}, evaluator.Subscription{Spec: spec})
	return err == nil && len(all[0]) == 1, err
}

func TestPatternsMatchAsTheContractSays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, pattern string
		yes, no       []string
	}{
		{"a scalar", `{"a":"x"}`, []string{`{"a":"x"}`, `{"a":["y","x"]}`, `{"a":[["x"]],"b":1}`}, []string{`{"a":"y"}`, `{}`, `{"a":{"x":1}}`, `"x"`, `{"b":"x"}`}},
		{"every field", `{"a":1,"b":2}`, []string{`{"a":1,"b":2}`}, []string{`{"a":1}`, `{"a":1,"b":3}`}},
		{"alternatives", `{"a":["x",1,null,true]}`, []string{`{"a":"x"}`, `{"a":1}`, `{"a":null}`, `{"a":true}`}, []string{`{"a":"1"}`, `{"a":false}`, `{}`, `{"a":"null"}`}},
		{"no alternative", `{"a":[]}`, nil, []string{`{"a":[]}`, `{}`}},
		{"numbers by value", `{"a":1}`, []string{`{"a":1.0}`, `{"a":1e0}`, `{"a":10E-1}`, `{"a":0.1e1}`}, []string{`{"a":"1"}`, `{"a":1.0000000000000000000001}`, `{"a":true}`}},
		{"a hundred", `{"a":1e2}`, []string{`{"a":100}`, `{"a":100.0}`}, []string{`{"a":1000}`}},
		{"no negative zero", `{"a":0}`, []string{`{"a":-0.0}`, `{"a":0e9}`}, []string{`{"a":1e-30}`}},
		{"beyond 2^53", `{"a":9007199254740993}`, []string{`{"a":9007199254740993}`, `{"a":9007199254740993.0}`}, []string{`{"a":9007199254740992}`, `{"a":9007199254740994}`}},
		{"prefix", `{"a":[{"prefix":"é"}]}`, []string{`{"a":"école"}`, `{"a":"\u00e9"}`}, []string{`{"a":"e"}`, `{"a":5}`, `{}`}},
		{"suffix", `{"a":[{"suffix":"京"}]}`, []string{`{"a":"東京"}`}, []string{`{"a":"京都"}`}},
		{"any case", `{"a":[{"equals-ignore-case":"straSSe É"}]}`, []string{`{"a":"STRASSE é"}`}, []string{`{"a":"straße é"}`, `{"a":null}`}},
		{"wildcard", `{"a":[{"wildcard":"a*b*"}]}`, []string{`{"a":"ab"}`, `{"a":"axxbyy"}`, `{"a":"abb"}`}, []string{`{"a":"a"}`, `{"a":"xab"}`, `{"a":"ba"}`}},
		{"a star and nothing else", `{"a":[{"wildcard":"*"}]}`, []string{`{"a":""}`, `{"a":"x"}`}, []string{`{"a":1}`, `{}`}},
		{"a wildcard's end counts", `{"a":[{"wildcard":"*a"}]}`, []string{`{"a":"aaa"}`}, []string{`{"a":"ab"}`}},
		{"an escaped star", `{"a":[{"wildcard":"\\**"}]}`, []string{`{"a":"*x"}`}, []string{`{"a":"x*"}`}},
		{"exists", `{"a":[{"exists":true}]}`, []string{`{"a":1}`, `{"a":null}`, `{"a":{}}`, `{"a":[]}`, `[{"b":1},{"a":1}]`}, []string{`{}`, `{"b":{"a":1}}`, `5`}},
		{"absent", `{"a":[{"exists":false}]}`, []string{`{}`, `{"b":1}`, `5`, `null`}, []string{`{"a":1}`, `{"a":null}`, `{"a":{}}`, `{"a":[]}`}},
		{"absent or so", `{"a":[{"exists":false},"x"]}`, []string{`{}`, `{"a":"x"}`}, []string{`{"a":"y"}`}},
		{"nothing exists below what is no object", `{"a":{"b":[{"exists":false}]}}`, []string{`{}`, `{"a":1}`, `{"a":null}`, `{"a":[]}`, `{"a":{}}`, `{"a":[{"b":1},{"c":1}]}`}, []string{`{"a":{"b":1}}`, `{"a":[{"b":1},{"b":2}]}`}},
		{"exists below", `{"a":{"b":[{"exists":true}]}}`, []string{`{"a":{"b":null}}`, `{"a":[1,{"b":1}]}`}, []string{`{"a":1}`, `{"a":[]}`, `{}`}},
		{"anything but one", `{"a":[{"anything-but":"x"}]}`, []string{`{"a":"y"}`, `{"a":1}`, `{"a":null}`, `{"a":["x","y"]}`}, []string{`{"a":"x"}`, `{}`, `{"a":[]}`, `{"a":{}}`, `{"a":["x"]}`}},
		{"anything but some", `{"a":[{"anything-but":["x",1]}]}`, []string{`{"a":"y"}`, `{"a":"1"}`}, []string{`{"a":1.0}`, `{"a":"x"}`}},
		{"anything but a prefix", `{"a":[{"anything-but":{"prefix":"x"}}]}`, []string{`{"a":"y"}`, `{"a":"yx"}`}, []string{`{"a":"xy"}`, `{}`}},
		{"anything but a suffix", `{"a":[{"anything-but":{"suffix":"x"}}]}`, []string{`{"a":"xy"}`}, []string{`{"a":"yx"}`}},
		{"at least", `{"a":[{"numeric":[">=",0]}]}`, []string{`{"a":0}`, `{"a":1e300}`}, []string{`{"a":-1e-300}`, `{"a":"1"}`, `{"a":null}`}},
		{"a range", `{"a":[{"numeric":[">",0,"<",5.5]}]}`, []string{`{"a":5.4999}`, `{"a":[9,1]}`}, []string{`{"a":0}`, `{"a":5.5}`, `{"a":[0,9]}`}},
		{"at most and equal", `{"a":[{"numeric":["<=",2,"=",2]}]}`, []string{`{"a":2.0}`}, []string{`{"a":1}`}},
		{"exact ranges", `{"a":[{"numeric":[">",9007199254740992]}]}`, []string{`{"a":9007199254740993}`}, []string{`{"a":9007199254740992}`}},
		{"fields of one element", `{"a":{"b":1,"c":2}}`, []string{`{"a":[{"b":1},{"b":1,"c":2}]}`, `{"a":[[{"b":1,"c":2}]]}`}, []string{`{"a":[{"b":1},{"c":2}]}`}},
		{"elements below elements", `{"a":{"b":{"c":1,"d":2}}}`, []string{`{"a":[{"b":[{"c":1},{"c":1,"d":2}]}]}`}, []string{`{"a":[{"b":[{"c":1}]},{"b":[{"d":2}]}]}`}},
		{"or", `{"$or":[{"a":1},{"b":[2,3]}]}`, []string{`{"a":1}`, `{"b":3}`}, []string{`{"a":2}`, `{}`}},
		{"or beside others", `{"c":1,"$or":[{"a":1},{"b":2}]}`, []string{`{"a":1,"c":1}`}, []string{`{"a":1}`, `{"c":1}`}},
		{"or further down", `{"x":{"$or":[{"a":1},{"$or":[{"b":2}]}],"c":1}}`, []string{`{"x":{"b":2,"c":1}}`, `{"x":[{"a":1},{"a":1,"c":1}]}`}, []string{`{"x":[{"a":1},{"c":1}]}`, `{"a":1}`}},
		{"names are one key", `{"a.b":1,"c d":2}`, []string{`{"a.b":1,"c d":2}`}, []string{`{"a":{"b":1},"c d":2}`}},
		{"an operator stands in a list", `{"a":{"prefix":"x"}}`, []string{`{"a":{"prefix":"x"}}`}, []string{`{"a":"x"}`}},
		{"a payload that is an array", `{"a":1}`, []string{`[{"a":2},{"a":1}]`}, []string{`[]`, `[1]`}},
		{"what is no JSON", `{"a":[{"exists":false}]}`, []string{` {} `}, []string{``, `{`, `{} {}`, `{"a" 1}`, "\"\xff\"", `nil`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for want, payloads := range map[bool][]string{true: tt.yes, false: tt.no} {
				for _, payload := range payloads {
					if got, err := matches(tt.pattern, payload); err != nil || got != want {
						t.Errorf("%s on %s = %v, %v, want %v", tt.pattern, payload, got, err, want)
					}
				}
			}
		})
	}
}

func TestPatternsThatAreNotInTheLanguageAreRefused(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		`"x"`, `[]`, `{`, `{"a":[{}]}`, `{"a":[{"prefix":1}]}`, `{"a":[{"exists":"yes"}]}`, `{"a":[{"is":1}]}`,
		`{"a":[{"prefix":"x","suffix":"y"}]}`, `{"a":[[1]]}`, `{"a":[{"numeric":[">"]}]}`, `{"a":[{"numeric":[]}]}`,
		`{"a":[{"numeric":["!",1]}]}`, `{"a":[{"numeric":[">","1"]}]}`, `{"a":[{"anything-but":{"wildcard":"x"}}]}`,
		`{"a":[{"anything-but":[[1]]}]}`, `{"a":[{"anything-but":{"prefix":1}}]}`, `{"b":{"a":[{"wildcard":null}]}}`,
		`{"a":[{"anything-but":{"prefix":"x","suffix":"y"}}]}`, `{"$or":[1]}`, `{"$or":[{"a":[{"x":1}]}]}`,
	} {
		if _, err := matches(pattern, `{}`); err == nil {
			t.Errorf("%s is taken", pattern)
		}
	}
	if _, err := evaluator.Deliveries(nil, evaluator.Subscription{}); err == nil {
		t.Error("a selector without a condition is taken")
	}
}
