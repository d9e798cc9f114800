package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/wire"
)

type shared struct {
	Name string `json:"name"`
	Spec int    `json:"spec"` // behind that of all
}

// all has a field of each kind.
type all struct {
	shared
	Spec  *Value  `json:"spec,omitempty"`
	Yes   bool    `json:"yes"`
	Int   int     `json:"int"`
	Count uint64  `json:"count"`
	Maybe *uint64 `json:"maybe"`
	Inner struct {
		Name string `json:"name"`
	} `json:"inner"`
	Labels map[string]string `json:"labels"`
	Ranges [][2]uint64       `json:"ranges"`
	Raw    json.RawMessage   `json:"raw"`
	Texts  wire.StringList   `json:"texts"`
	Wait   wire.Duration     `json:"wait"`
	At     time.Time         `json:"at"`
	hidden int               //nolint:unused // it has no name in JSON
}

func TestEachKindOfFieldIsRead(t *testing.T) {
	t.Parallel()
	const body = `{"name":"n","spec":{"a":1},"yes":true,"int":-5,"count":18446744073709551615,"maybe":0,"inner":{"name":"i"},` +
		`"labels":{"a":"b"},"ranges":[[1,2],[4,5]],"raw":[1, 2],"texts":["x","y"],"wait":"1m","at":"2026-01-01T01:00:00+01:00"}`
	want := all{
		shared: shared{Name: "n"}, Yes: true, Int: -5, Count: 1<<64 - 1, Maybe: new(uint64(0)), Labels: map[string]string{"a": "b"},
		Ranges: [][2]uint64{{1, 2}, {4, 5}}, Raw: []byte("[1, 2]"), Texts: wire.StringList{"x", "y"}, Wait: wire.Duration(time.Minute),
		At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	want.Inner.Name = "i"
	var got all
	bad := Read([]byte(body), false, &got, func(d *Decoder) {
		if !d.Given("inner.name") || !d.Given("maybe") || d.Given("hidden") {
			t.Error("it is not known what was given")
		}
	})
	if bad != nil {
		t.Fatal(bad)
	}
	if got.Spec == nil || string(got.Spec.Raw) != `{"a":1}` {
		t.Errorf("spec = %+v, want the value itself", got.Spec)
	}
	got.Spec = nil
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(all{}, shared{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEachFaultIsNamedAndTheRestIsRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ member, path, reason string }{
		{`"yes":1`, "yes", "want true or false, got a number"},
		{`"int":1.5`, "int", "want a whole number, got 1.5"},
		{`"count":-1`, "count", "want a whole number from 0, got -1"},
		{`"maybe":"1"`, "maybe", "want a whole number from 0, got a string"},
		{`"inner":[]`, "inner", "want an object, got a list"},
		{`"inner":{"name":7}`, "inner.name", "want a string, got a number"},
		{`"labels":{"a":null}`, "labels.a", "want a string, got null"},
		{`"labels":{"a":"b","a":"c"}`, "labels.a", "given twice"},
		{`"ranges":[[1,2],[3]]`, "ranges[1]", "want a list of 2, got one of 1"},
		{`"ranges":[[1,"x"]]`, "ranges[0][1]", "want a whole number from 0, got a string"},
		{`"texts":[]`, "texts", "the list is empty; leave the field out, or name at least one"},
		{`"texts":5`, "texts", "want a string or a list of strings, got a number"},
		{`"wait":"soon"`, "wait", `want a duration such as "1m30s" or whole nanoseconds, got "soon"`},
		{`"at":"now"`, "at", `want an RFC 3339 time, got "now"`},
		{`"int":null`, "int", "must not be null; leave it out for the default"},
		{`"int":1,"int":2`, "int", "given twice"},
		{`"hidden":1`, "hidden", "unknown field"},
		{`"":1`, `""`, "unknown field"},
	} {
		got := all{Yes: true}
		bad := Read(fmt.Appendf(nil, `{%s,"name":"n"}`, tt.member), false, &got, func(d *Decoder) {
			if !d.Has(tt.path) {
				t.Errorf("%s: no fault of %s", tt.member, tt.path)
			}
		})
		want := []wire.Fault{{Field: tt.path, Reason: tt.reason}}
		if bad == nil || !slices.Equal(bad.Details, want) || bad.ErrCode != wire.CodeBadField || got.Name != "n" || !got.Yes {
			t.Errorf("%s: %v and %+v, want %v", tt.member, bad, got, want)
		}
	}
}

func TestABodyMayBeLeftOutOnlyWhereItIsOptional(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", " \n"} {
		if bad := Read([]byte(body), true, new(all), func(*Decoder) {}); bad != nil {
			t.Errorf("%q: %v", body, bad)
		}
		if bad := Read([]byte(body), false, new(all), func(*Decoder) {}); bad == nil || bad.ErrCode != wire.CodeBadJSON {
			t.Errorf("%q: %v, want %d", body, bad, wire.CodeBadJSON)
		}
	}
}

func TestWhatAnotherVersionWroteMayHaveMore(t *testing.T) {
	t.Parallel()
	v, err := Parse([]byte(`{"later":1,"name":"n","inner":{"later":null}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got all
	d := Decoder{Open: true}
	if d.Decode("", v, &got); len(d.All()) > 0 || got.Name != "n" || d.Given("later") {
		t.Errorf("%v, %+v", d.All(), got)
	}
}

// What is accepted reads as the standard library does.
func FuzzDecodeReadsWhatTheStandardLibraryDoes(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"name":"\u00e4","yes":true,"int":-0,"count":7,"maybe":1}`, `{"inner":{"name":"x"},"labels":{"a":"b"},"ranges":[[1,2]]}`,
		`{"texts":"x","wait":5,"at":"2026-01-01T00:00:00Z"}`, `{"texts":["x"],"wait":"1h","raw":{"a":[null]}}`, `{"ranges":[]}`, `{"labels":{}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want all
		if Read(body, false, &got, func(*Decoder) {}) != nil || got.Spec != nil {
			return
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q was read, and the library says %v", body, err)
		}
		got.Raw, want.Raw = bytes.TrimSpace(got.Raw), bytes.TrimSpace(want.Raw)
		if len(want.Labels) == 0 {
			want.Labels = nil
		}
		want.At = want.At.UTC()
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(all{}, shared{})); diff != "" {
			t.Errorf("%q (-library +ours):\n%s", body, diff)
		}
	})
}
