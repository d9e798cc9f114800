package subscription

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestFormsOfARightExplain(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		body string
		want wire.ExplainRequest
	}{
		{`{"sequence":7}`, wire.ExplainRequest{Sequence: 7}},
		{`{"event":{"subject":"a.b"}}`, wire.ExplainRequest{Event: &wire.ExplainEvent{Subject: "a.b"}}},
		{
			`{"event":{"subject":"a.b","time":"2026-01-01T01:00:00+01:00","data":{"n": [1, null]},"headers":{"ce-type":"t","K":["v","w"],"k":""}}}`,
			wire.ExplainRequest{Event: &wire.ExplainEvent{
				Subject: "a.b", Time: &at, Data: []byte(`{"n": [1, null]}`),
				Headers: map[string]wire.StringList{"ce-type": {"t"}, "K": {"v", "w"}, "k": {""}},
			}},
		},
		{`{"event":{"subject":"a","data":null}}`, wire.ExplainRequest{Event: &wire.ExplainEvent{Subject: "a", Data: []byte("null")}}},
		{`{"event":{"subject":"a","data":"x"}}`, wire.ExplainRequest{Event: &wire.ExplainEvent{Subject: "a", Data: []byte(`"x"`)}}},
	} {
		got, bad := DecodeExplain([]byte(tt.body), "n")
		if diff := cmp.Diff(got, tt.want); bad != nil || diff != "" {
			t.Errorf("%s: %v (-got +want)\n%s", tt.body, bad, diff)
		}
	}
}

func TestEveryFaultOfAnExplainIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body   string
		fields []string
	}{
		{`{}`, []string{""}},
		{`{"sequence":1,"event":{"subject":"a"}}`, []string{""}},
		{`{"sequence":0}`, []string{"sequence"}},
		{`{"sequence":"1"}`, []string{"sequence"}},
		{`{"sequence":null}`, []string{"sequence"}},
		{`{"sequence":-1,"event":1,"x":1}`, []string{"sequence", "event", "x", ""}},
		{`{"event":null}`, []string{"event"}},
		{`{"event":{}}`, []string{"event.subject"}},
		{`{"event":{"subject":""}}`, []string{"event.subject"}},
		{`{"event":{"subject":"a.>"}}`, []string{"event.subject"}},
		{`{"event":{"subject":"a..b"}}`, []string{"event.subject"}},
		{`{"event":{"subject":"a","data":1,"data":2}}`, []string{"event.data"}},
		{`{"event":{"subject":"a","time":"now","type":"t"}}`, []string{"event.time", "event.type"}},
		{`{"event":{"subject":"a","headers":null}}`, []string{"event.headers"}},
		{
			`{"event":{"subject":1,"headers":{"a b":"v","k":1,"l":[],"m":["v",1],"n":null,"o":"1","o":"2"}}}`,
			[]string{"event.subject", `event.headers."a b"`, "event.headers.k", "event.headers.l", "event.headers.m[1]", "event.headers.n", "event.headers.o"},
		},
		{`{"event":{"subject":"a","headers":{"` + strings.Repeat("k", 200) + `":"v"}}}`, []string{"event.headers." + strings.Repeat("k", 64) + "…"}},
	} {
		_, bad := DecodeExplain([]byte(tt.body), "n")
		if bad == nil || bad.ErrCode != wire.CodeBadField {
			t.Errorf("%s: %v, want %d", tt.body, bad, wire.CodeBadField)
			continue
		}
		got := fieldsOf(bad.Details)
		slices.Sort(got)
		slices.Sort(tt.fields)
		if diff := cmp.Diff(got, tt.fields); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.body, diff)
		}
	}
	for _, body := range []string{"", "[]", "{"} {
		if _, bad := DecodeExplain([]byte(body), "n"); bad == nil || bad.ErrCode != wire.CodeBadJSON {
			t.Errorf("%q: %v, want %d", body, bad, wire.CodeBadJSON)
		}
	}
	if _, bad := DecodeExplain([]byte(`{"sequence":1}`), "a.b"); bad == nil || !slices.Equal(fieldsOf(bad.Details), []string{"name"}) {
		t.Errorf("name: %v", bad)
	}
}
