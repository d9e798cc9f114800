package pattern

import (
	"strings"
	"testing"
	"time"
)

// payloadCase is a pattern, documents that match it and documents that do not.
type payloadCase struct {
	name    string
	pattern string
	yes, no []string
}

func runPayloadCases(t *testing.T, cases []payloadCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := mustPayload(t, tt.pattern)
			check := func(data string, want bool) {
				d := payloadDoc(data)
				if got := p.Match(d); got != want {
					t.Errorf("%s on %s = %v, want %v", tt.pattern, data, got, want)
				}
				if why := mustExplain(t, p, d); (len(why) == 0) != want {
					t.Errorf("%s on %s: Explain = %v, want reasons: %v", tt.pattern, data, why, !want)
				}
			}
			for _, data := range tt.yes {
				check(data, true)
			}
			for _, data := range tt.no {
				check(data, false)
			}
		})
	}
}

func TestOperatorsOnEveryKindOfValue(t *testing.T) {
	t.Parallel()
	runPayloadCases(t, []payloadCase{
		{"string", `{"a":"x"}`, []string{`{"a":"x"}`, `{"a":["y","x"]}`}, []string{`{"a":"xx"}`, `{"a":1}`, `{"a":null}`, `{"a":{}}`, `{"a":[]}`, `{}`, `{"a":{"x":"x"}}`, `{"a":[{"a":"x"}]}`}},
		{"empty string", `{"a":""}`, []string{`{"a":""}`}, []string{`{"a":null}`, `{"a":[]}`, `{}`}},
		{"true", `{"a":true}`, []string{`{"a":true}`}, []string{`{"a":false}`, `{"a":"true"}`, `{"a":1}`}},
		{"false", `{"a":[false]}`, []string{`{"a":false}`}, []string{`{"a":true}`, `{"a":null}`, `{"a":0}`, `{}`}},
		{"null", `{"a":null}`, []string{`{"a":null}`, `{"a":[1,null]}`}, []string{`{}`, `{"a":"null"}`, `{"a":[]}`, `{"a":{}}`, `{"a":false}`, `{"a":0}`, `5`}},
		{"number", `{"a":5}`, []string{`{"a":5}`, `{"a":[4,5]}`}, []string{`{"a":"5"}`, `{"a":50}`, `{"a":-5}`}},
		{"alternatives", `{"a":["x",1,null,{"prefix":"z"}]}`, []string{`{"a":"x"}`, `{"a":1.0}`, `{"a":null}`, `{"a":"zoo"}`}, []string{`{"a":"y"}`, `{}`, `{"a":2}`}},
		{"prefix", `{"a":[{"prefix":"ab"}]}`, []string{`{"a":"ab"}`, `{"a":"abc"}`, `{"a":["z","abc"]}`}, []string{`{"a":"a"}`, `{"a":"zab"}`, `{"a":5}`, `{"a":null}`, `{}`}},
		{"empty prefix", `{"a":[{"prefix":""}]}`, []string{`{"a":""}`, `{"a":"x"}`}, []string{`{"a":1}`, `{"a":null}`, `{}`}},
		{"suffix", `{"a":[{"suffix":"bc"}]}`, []string{`{"a":"bc"}`, `{"a":"abc"}`}, []string{`{"a":"c"}`, `{"a":"bcd"}`, `{"a":true}`, `{}`}},
		{"ignore case", `{"a":[{"equals-ignore-case":"Straße"}]}`, []string{`{"a":"STRAßE"}`, `{"a":"straße"}`, `{"a":"STRAẞE"}`}, []string{`{"a":"STRASSE"}`, `{"a":"stra"}`, `{"a":1}`, `{}`}},
		{"ignore case, sigma", `{"a":[{"equals-ignore-case":"ΣΣ"}]}`, []string{`{"a":"σς"}`, `{"a":"\u03c3Σ"}`}, []string{`{"a":"s"}`}},
		{"ignore case, Kelvin", `{"a":[{"equals-ignore-case":"k"}]}`, []string{`{"a":"K"}`, `{"a":"\u212a"}`}, []string{`{"a":"c"}`}},
		{"ignore case, Turkish", `{"a":[{"equals-ignore-case":"i"}]}`, []string{`{"a":"I"}`}, []string{`{"a":"İ"}`, `{"a":"ı"}`}},
		{"wildcard", `{"a":[{"wildcard":"a*c"}]}`, []string{`{"a":"ac"}`, `{"a":"abbc"}`, `{"a":"a*c"}`, `{"a":"acc"}`}, []string{`{"a":"a"}`, `{"a":"acd"}`, `{"a":"bac"}`, `{"a":1}`, `{}`}},
		{"wildcard alone", `{"a":[{"wildcard":"*"}]}`, []string{`{"a":""}`, `{"a":"x"}`}, []string{`{"a":1}`, `{"a":null}`, `{}`}},
		{"wildcard without star", `{"a":[{"wildcard":"ab"}]}`, []string{`{"a":"ab"}`}, []string{`{"a":"abc"}`}},
		{"wildcard overlap", `{"a":[{"wildcard":"aba*ba"}]}`, []string{`{"a":"ababa"}`}, []string{`{"a":"aba"}`}},
		{"wildcard overlap in the middle", `{"a":[{"wildcard":"*ab*b"}]}`, []string{`{"a":"abb"}`}, []string{`{"a":"ab"}`}},
		{"wildcard many", `{"a":[{"wildcard":"*a**b*"}]}`, []string{`{"a":"ab"}`, `{"a":"xaybz"}`}, []string{`{"a":"ba"}`}},
		{"wildcard escapes", `{"a":[{"wildcard":"\\**\\\\"}]}`, []string{`{"a":"*\\"}`, `{"a":"*x\\"}`}, []string{`{"a":"x\\"}`, `{"a":"*"}`}},
		{"exists", `{"a":[{"exists":true}]}`, []string{`{"a":1}`, `{"a":null}`, `{"a":{}}`, `{"a":[]}`, `{"a":[[]]}`, `{"a":{"b":1}}`, `[{"b":1},{"a":1}]`}, []string{`{}`, `{"b":1}`, `5`, `null`, `[]`}},
		{"exists not", `{"a":[{"exists":false}]}`, []string{`{}`, `{"b":1}`, `5`, `"a"`, `null`, `[]`, `[[]]`}, []string{`{"a":1}`, `{"a":null}`, `{"a":{}}`, `{"a":[]}`}},
		{"exists below", `{"a":{"b":[{"exists":true}]}}`, []string{`{"a":{"b":null}}`, `{"a":[1,{"b":[]}]}`}, []string{`{}`, `{"a":1}`, `{"a":"b"}`, `{"a":[]}`, `{"a":{}}`, `{"a":["b"]}`}},
		{"exists not below", `{"a":{"b":[{"exists":false}]}}`, []string{`{}`, `{"a":1}`, `{"a":null}`, `{"a":[]}`, `{"a":{}}`, `{"a":[{"b":1},{"c":2}]}`}, []string{`{"a":{"b":null}}`, `{"a":[{"b":1}]}`, `{"a":[[{"b":1}],{"b":2}]}`}},
		{"absent or", `{"a":[{"exists":false},"x"]}`, []string{`{}`, `{"a":"x"}`}, []string{`{"a":"y"}`}},
		{"anything but", `{"a":[{"anything-but":"x"}]}`, []string{`{"a":"y"}`, `{"a":1}`, `{"a":null}`, `{"a":true}`, `{"a":["x","y"]}`}, []string{`{"a":"x"}`, `{}`, `{"a":["x","x"]}`, `{"a":[]}`, `{"a":{}}`, `{"a":[[],{}]}`}},
		{"anything but number", `{"a":[{"anything-but":1}]}`, []string{`{"a":2}`, `{"a":"1"}`}, []string{`{"a":1}`, `{"a":1.0}`, `{"a":10e-1}`, `{}`}},
		{"anything but list", `{"a":[{"anything-but":["x",1,null,false]}]}`, []string{`{"a":"y"}`, `{"a":true}`, `{"a":[1,2]}`}, []string{`{"a":"x"}`, `{"a":1e0}`, `{"a":null}`, `{"a":false}`, `{"a":["x",1]}`, `{}`}},
		{"anything but prefix", `{"a":[{"anything-but":{"prefix":"x"}}]}`, []string{`{"a":"y"}`, `{"a":5}`, `{"a":null}`, `{"a":["xa","b"]}`}, []string{`{"a":"x"}`, `{"a":"xa"}`, `{}`, `{"a":{}}`}},
		{"anything but suffix", `{"a":[{"anything-but":{"suffix":"x"}}]}`, []string{`{"a":"xy"}`, `{"a":""}`}, []string{`{"a":"x"}`, `{"a":"ax"}`, `{}`}},
		{"below", `{"a":[{"numeric":["<",5]}]}`, []string{`{"a":4}`, `{"a":-1e9}`, `{"a":4.99999}`}, []string{`{"a":5}`, `{"a":"4"}`, `{"a":null}`, `{}`, `{"a":[]}`}},
		{"at most", `{"a":[{"numeric":["<=",5]}]}`, []string{`{"a":5.0}`, `{"a":0}`}, []string{`{"a":5.0000000000000000000001}`}},
		{"equal", `{"a":[{"numeric":["=",5]}]}`, []string{`{"a":5}`, `{"a":0.5e1}`}, []string{`{"a":-5}`}},
		{"above", `{"a":[{"numeric":[">",5]}]}`, []string{`{"a":6}`, `{"a":5.1}`}, []string{`{"a":5}`, `{"a":-6}`}},
		{"at least", `{"a":[{"numeric":[">=",5]}]}`, []string{`{"a":5}`}, []string{`{"a":4.9}`}},
		{"range", `{"a":[{"numeric":[">",0,"<=",5]}]}`, []string{`{"a":5}`, `{"a":[9,3]}`}, []string{`{"a":0}`, `{"a":6}`, `{"a":[-1,6]}`}},
		{"contradiction", `{"a":[{"numeric":[">",5,"<",3]}]}`, nil, []string{`{"a":4}`, `{"a":[1,9]}`}},
	})
}

func TestFieldsOfOneObjectHoldInTheSameElement(t *testing.T) {
	t.Parallel()
	runPayloadCases(t, []payloadCase{
		{"object", `{"a":{"b":1,"c":2}}`, []string{`{"a":{"b":1,"c":2}}`, `{"a":[{"b":0},{"b":1,"c":2}]}`, `{"a":[[{"b":1,"c":[3,2]}]]}`}, []string{`{"a":[{"b":1},{"c":2}]}`, `{"a":[{"b":1,"c":0},{"b":0,"c":2}]}`, `{"a":[[{"b":1}],[{"c":2}]]}`}},
		{"nested", `{"a":{"b":{"x":1,"y":2},"c":3}}`, []string{`{"a":[{"b":[{"x":1},{"x":1,"y":2}],"c":3}]}`}, []string{`{"a":[{"b":[{"x":1,"y":2}]},{"c":3}]}`, `{"a":[{"b":[{"x":1},{"y":2}],"c":3}]}`}},
		{"nested arrays are one", `{"a":[2]}`, []string{`{"a":[1,[[2]]]}`}, []string{`{"a":[1,[[3]]]}`}},
		{"exists beside", `{"a":{"b":1,"c":[{"exists":false}]}}`, []string{`{"a":[{"b":1},{"c":1}]}`}, []string{`{"a":[{"b":1,"c":1},{"c":1}]}`}},
		{"or in element", `{"a":{"b":1,"$or":[{"c":1},{"c":2}]}}`, []string{`{"a":[{"b":1,"c":2}]}`}, []string{`{"a":[{"b":1},{"c":1}]}`}},
		{"payload is an array", `{"b":1,"c":2}`, []string{`[{"b":1,"c":2}]`, `[[0,{"b":1,"c":2}]]`}, []string{`[{"b":1},{"c":2}]`, `[]`, `[1]`}},
		{"two fields are independent", `{"a":1,"b":{"c":2}}`, []string{`{"a":[0,1],"b":[{"c":2}]}`}, []string{`{"a":1}`, `{"b":{"c":2}}`}},
	})
}

func TestOr(t *testing.T) {
	t.Parallel()
	runPayloadCases(t, []payloadCase{
		{"top", `{"$or":[{"a":1},{"b":2}]}`, []string{`{"a":1}`, `{"b":2}`, `{"a":1,"b":2}`}, []string{`{"a":2,"b":1}`, `{}`}},
		{"beside", `{"c":3,"$or":[{"a":1},{"b":2}]}`, []string{`{"a":1,"c":3}`}, []string{`{"a":1}`, `{"c":3}`}},
		{"inside or", `{"$or":[{"$or":[{"a":1},{"a":2}],"b":1},{"c":1}]}`, []string{`{"a":2,"b":1}`, `{"c":1}`}, []string{`{"a":2}`, `{"b":1}`}},
		{"inside an object", `{"x":{"$or":[{"a":1},{"b":[{"exists":false}]}]}}`, []string{`{"x":{"a":1,"b":1}}`, `{"x":{}}`, `{}`}, []string{`{"x":{"b":1}}`}},
		{"same field as beside", `{"a":[{"prefix":"x"}],"$or":[{"a":[{"suffix":"y"}]},{"b":1}]}`, []string{`{"a":"xy"}`, `{"a":"x","b":1}`, `{"a":["x","y"]}`}, []string{`{"a":"x"}`, `{"a":"y","b":1}`}},
		{"field called or in the document", `{"$or":[{"$or":[{"a":1}]}]}`, []string{`{"a":1}`}, []string{`{"$or":{"a":1}}`}},
	})
}

func TestNumbersCompareExactly(t *testing.T) {
	t.Parallel()
	runPayloadCases(t, []payloadCase{
		{"one", `{"a":1}`, []string{`{"a":1.0}`, `{"a":1e0}`, `{"a":10E-1}`, `{"a":0.1e+1}`, `{"a":1.000000}`}, []string{`{"a":1.0000000000000000001}`, `{"a":-1}`, `{"a":10}`}},
		{"zero", `{"a":0}`, []string{`{"a":-0}`, `{"a":0.0}`, `{"a":-0.0e5}`, `{"a":0e999999999999999999999}`}, []string{`{"a":1e-999999999}`}},
		{"hundred", `{"a":1e2}`, []string{`{"a":100}`, `{"a":100.00}`, `{"a":0.001e5}`}, []string{`{"a":1e3}`, `{"a":1}`}},
		{"tenth", `{"a":0.1}`, []string{`{"a":0.10}`, `{"a":1e-1}`}, []string{`{"a":0.1000000000000000055511151231257827}`, `{"a":0.01}`}},
		{"beyond 2^53", `{"a":9007199254740992}`, []string{`{"a":9007199254740992.0}`}, []string{`{"a":9007199254740993}`, `{"a":9007199254740991}`}},
		{"beyond 2^64", `{"a":18446744073709551617}`, []string{`{"a":1844674407370955161.7e1}`}, []string{`{"a":18446744073709551616}`}},
		{"beyond float64", `{"a":1e400}`, []string{`{"a":10e399}`, `{"a":0.01e402}`}, []string{`{"a":1e401}`, `{"a":1e399}`}},
		{"huge exponent", `{"a":1e999999999}`, []string{`{"a":10e999999998}`}, []string{`{"a":1e999999998}`, `{"a":1}`}},
		{"exponent beyond int64", `{"a":1e100000000000000000000}`, []string{`{"a":10e99999999999999999999}`, `{"a":0.1e100000000000000000001}`}, []string{`{"a":1e100000000000000000001}`, `{"a":1e9}`, `{"a":1e-100000000000000000000}`}},
		{"exponent at the edge of int64", `{"a":1e9223372036854775806}`, []string{`{"a":10e9223372036854775805}`}, []string{`{"a":1e9223372036854775807}`, `{"a":1e9223372036854775808}`}},
		{"exponent with zeros before it", `{"a":1e5}`, []string{`{"a":1e0000000000000000000000000005}`}, nil},
		{"above huge", `{"a":[{"numeric":[">",1e999999999]}]}`, []string{`{"a":1.1e999999999}`, `{"a":1e100000000000000000000}`, `{"a":1e9999999999}`}, []string{`{"a":1e999999999}`, `{"a":-1e9999999999}`, `{"a":5}`, `{"a":1e-9999999999999999999999}`}},
		{"below tiny", `{"a":[{"numeric":["<",1e-99999999999999999999]}]}`, []string{`{"a":0}`, `{"a":-1}`, `{"a":1e-100000000000000000000}`}, []string{`{"a":1e-99999999999999999999}`, `{"a":1e-9}`, `{"a":1}`}},
		{"below negative", `{"a":[{"numeric":["<",-1e30]}]}`, []string{`{"a":-1e31}`, `{"a":-1.5e30}`}, []string{`{"a":-1e30}`, `{"a":-1}`, `{"a":0}`, `{"a":1e31}`}},
		{"more than eight", `{"a":[1,2,3,4,5,6,7,8,9,1e1,"x"]}`, []string{`{"a":10.0}`, `{"a":"x"}`, `{"a":9}`, `{"a":1}`}, []string{`{"a":11}`, `{"a":"1"}`, `{"a":"10"}`, `{"a":null}`}},
	})
}

func TestTextIsComparedByCharacters(t *testing.T) {
	t.Parallel()
	runPayloadCases(t, []payloadCase{
		{"escaped pattern", `{"a":"\u00e9\n\/"}`, []string{`{"a":"é\n/"}`, `{"a":"\u00E9\u000a\u002f"}`}, []string{`{"a":"e"}`, `{"a":"e\u0301\n/"}`}},
		{"surrogates", `{"a":"\ud83d\ude00"}`, []string{`{"a":"😀"}`, `{"a":"\uD83D\uDE00"}`}, []string{`{"a":"\ud83d"}`, `{"a":"\ude00\ud83d"}`}},
		{"half a pair reads as replaced", `{"a":"x\ufffdy"}`, []string{`{"a":"x\ud83dy"}`, `{"a":"x\ude00y"}`, `{"a":"x\ud83dy"}`}, []string{`{"a":"xy"}`}},
		{"half a pair before another escape", `{"a":"\ufffdA"}`, []string{`{"a":"\ud83d\u0041"}`}, nil},
		{"escaped name", `{"\u0061.b c":1}`, []string{`{"a.b c":1}`}, []string{`{"a":{"b c":1}}`, `{"a.b":{"c":1}}`}},
		{"star in a name", `{"*":1}`, []string{`{"*":1}`}, []string{`{"a":1}`}},
		{"empty name", `{"":1}`, []string{`{"":1}`}, []string{`{}`}},
		{"prefix of a character", `{"a":[{"prefix":"é"}]}`, []string{`{"a":"école"}`}, []string{`{"a":"e"}`}},
		{"NUL", `{"a":"\u0000"}`, []string{`{"a":"\u0000"}`}, []string{`{"a":""}`}},
	})
}

func TestLastOfANameGivenTwiceCounts(t *testing.T) {
	t.Parallel()
	var many strings.Builder // sorted objects must agree with short ones
	for c := 'a'; c <= 'z'; c++ {
		many.WriteString(`,"` + string(c) + `z":0`)
	}
	runPayloadCases(t, []payloadCase{
		{"short", `{"k":2}`, []string{`{"k":1,"k":2}`}, []string{`{"k":2,"k":1}`}},
		{"long", `{"k":2}`, []string{`{"k":1,"k":2` + many.String() + `}`}, []string{`{"k":2,"k":1` + many.String() + `}`}},
		{"long, first and last", `{"az":0,"zz":0,"zzz":[{"exists":false}],"a":[{"exists":false}]}`, []string{`{"k":1` + many.String() + `}`}, nil},
	})
}

// Each of these takes milliseconds; with backtracking, with numbers written
// out or with a leaf's alternatives compared one by one it takes minutes.
func TestHostileInputsAreCheap(t *testing.T) {
	t.Parallel()
	const mega = 1 << 20
	var many []string
	for i := range MaxLeaves {
		many = append(many, `"k`+strings.Repeat("z", i%8)+string(rune('Ѐ'+i))+`"`)
	}
	for _, tt := range []struct{ name, pattern, data string }{
		{"wildcard", `{"a":[{"wildcard":"` + strings.Repeat("*a", 1000) + `*b"}]}`, `{"a":"` + strings.Repeat("a", mega) + `"}`},
		{"exponent", `{"a":[{"numeric":["<",1e` + strings.Repeat("9", 60_000) + `]}]}`, `{"a":1e` + strings.Repeat("9", mega) + `}`},
		{"digits", `{"a":[{"numeric":["<",0]}]}`, `{"a":` + strings.Repeat("9", mega) + `.5e-9}`},
		{"alternatives", `{"a":[` + strings.Join(many, ",") + `]}`, `{"a":[` + strings.Repeat(`"k",`, mega/4) + `"k"]}`},
		{"or", strings.Repeat(`{"$or":[{"x":1},`, MaxDepth-2) + `{"a":0}` + strings.Repeat(`]}`, MaxDepth-2), `{"a":[` + strings.Repeat("1,", mega/16) + `1]}`},
		{"deep arrays", `{"a":{"a":{"a":1}}}`, strings.Repeat(`[`, 400) + strings.Repeat(`{"a":[`, 50) + strings.Repeat(`]}`, 50) + strings.Repeat(`]`, 400)},
		{"names", `{"a":{"zz":1}}`, `{"a":{` + strings.Repeat(`"zz":2,`, mega/8) + `"zz":3}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, d := mustPayload(t, tt.pattern), payloadDoc(tt.data)
			if err := d.PayloadError(); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if p.Match(d) || len(mustExplain(t, p, d)) == 0 {
				t.Error("it matches, or nothing says why not")
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
