package strictjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// anyOf is n as encoding/json has it, with numbers as they were sent.
func anyOf(n *Value) any {
	switch n.Kind {
	case Bool:
		return n.yes
	case Number:
		return json.Number(n.Text)
	case String:
		return n.Text
	case List:
		list := []any{}
		for _, child := range n.list {
			list = append(list, anyOf(child))
		}
		return list
	case Object:
		members := map[string]any{}
		for _, m := range n.members {
			members[m.name] = anyOf(m.value) // the last one counts
		}
		return members
	default:
		return nil
	}
}

// raws checks that the text of every node is that node.
func raws(t *testing.T, n *Value) {
	t.Helper()
	if again, err := Parse(n.Raw); err != nil || !reflect.DeepEqual(anyOf(again), anyOf(n)) {
		t.Errorf("the text %q of a node is another value (%v)", n.Raw, err)
	}
	for _, child := range n.list {
		raws(t, child)
	}
	for _, m := range n.members {
		raws(t, m.value)
	}
}

func FuzzATreeIsWhatTheStandardLibraryReads(f *testing.F) {
	for _, body := range []string{
		``, ` `, `null`, `true`, ` false `, `0`, `-1.5e+3`, `1E9`, `""`, `"a\"b\\"`, `"\u0061\ud83d\ude00\ud800"`, `"\\\\"`,
		`[]`, `[ ]`, `[1,"a" , null,[true]]`, `{}`, `{ }`, `{"a":1}`, "{\n\t\"a\" : { \"b\":[{}] } , \"a\":2 }",
		`{"a"`, `{"a":}`, `[1,]`, `1 2`, `tru`, `{"\u0061":"x"}`, `{"a,b:c":"]}\"{["}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) || invalidUTF8(body) >= 0 {
			return // which Parse refuses, and the library does not
		}
		n, err := Parse(body)
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		var want any
		if valid := json.Valid(body); !valid {
			if err == nil {
				t.Errorf("%q was read, and is no JSON", body)
			}
			return
		}
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			return // nested too deeply
		}
		if got := anyOf(n); !reflect.DeepEqual(got, want) {
			t.Errorf("%q was read as %v, want %v", body, got, want)
		}
		raws(t, n)
	})
}

func BenchmarkParseTree(b *testing.B) {
	body := []byte(`{"schema":1,"name":"s-1","uid":"0f7d3f0a9d","owner":"emitter-b03a5c54","epoch":1795717787157482,` +
		`"observed_generation":1,"checkpoint":{"floor":15,"ranges":[[17,18],[20,20]]},"state":"live","reason":"",` +
		`"claimed_at":"2026-11-26T18:29:47.444494643Z","updated_at":"2026-11-26T18:29:47.552996441Z"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}
