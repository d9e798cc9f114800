package wire_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

// What has several forms in JSON reads in each as it is written.
func TestFormsAreReadAndWritten(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		into  any
		forms []string
		wrong []string
	}{
		{
			new(wire.Position),
			[]string{`"new"`, `"all"`, `{"sequence":7}`, `{"time":"2026-01-01T00:00:00.5Z"}`},
			[]string{`null`, `""`, `"old"`, `7`, `[]`, `{}`, `{"sequence":0}`, `{"sequence":null}`, `{"time":null}`, `{"time":5}`, `{"seq":1}`, `{"sequence":1,"seq":1}`, `{"sequence":1,"time":"2026-01-01T00:00:00Z"}`},
		},
		{
			new(wire.OrderBy),
			[]string{`"stream"`, `"subject"`, `"none"`, `{"token":2}`, `{"header":"h"}`},
			[]string{`null`, `"key"`, `1`, `{}`, `{"token":0}`, `{"token":"1"}`, `{"header":""}`, `{"token":1,"header":"h"}`, `{"token":0,"header":"h"}`, `{"by":1}`, `{"token":1,"by":1}`},
		},
		{new(wire.ReplayEnd), []string{`"now"`, `{"sequence":7}`, `{"time":"2026-01-01T00:00:00Z"}`}, []string{`"new"`, `"all"`, `null`, `{}`}},
		{new(wire.Duration), []string{`"1m30s"`, `"0s"`}, []string{`null`, `""`, `"soon"`, `1.5`, `true`, `{}`}},
		{new(wire.StringList), []string{`"a"`, `["a","b"]`}, []string{`1`, `["a",1]`, `{}`}},
	} {
		name := reflect.TypeOf(tt.into).Elem().Name()
		for _, form := range tt.forms {
			err := json.Unmarshal([]byte(form), tt.into)
			if out, _ := json.Marshal(tt.into); err != nil || string(out) != form {
				t.Errorf("%s: %s is read with %v, and written as %s", name, form, err, out)
			}
		}
		for _, form := range tt.wrong {
			if err := json.Unmarshal([]byte(form), tt.into); err == nil {
				t.Errorf("%s: %s is read as %v", name, form, tt.into)
			}
		}
	}
	if d := new(wire.Duration); json.Unmarshal([]byte("90000000000"), d) != nil || d.String() != "1m30s" {
		t.Errorf("nanoseconds are read as %s", d)
	}
}
