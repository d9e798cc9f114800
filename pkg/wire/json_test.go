package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestJSONShowsWhatPeopleWrote(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{"text", "a.> <b> & c", `"a.> <b> & c"`},
		{"one filter", wire.StringList{"a.>"}, `"a.>"`},
		{"several filters", wire.StringList{"a.>", "b.>"}, `["a.>","b.>"]`},
		{"a header as the key", wire.OrderBy{Kind: wire.OrderHeader, Header: "<x>"}, `{"header":"<x>"}`},
		{"a pattern as it came", map[string]json.RawMessage{"p": json.RawMessage(`{"numeric":[">=",1]}`)}, `{"p":{"numeric":[">=",1]}}`},
		{"an error", wire.Errorf(wire.CodeBadField, "want a > b"), `{"code":400,"err_code":300002,"description":"want a > b"}`},
		{"a duration", wire.Duration(time.Second), `"1s"`},
		{"nothing", nil, "null"},
	} {
		got, err := wire.Marshal(tt.v)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
	if _, err := wire.Marshal(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}
