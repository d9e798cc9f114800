package subscription

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

const ns = wire.DefaultNamespace

// request is a right body in which members are replaced or added; a value of
// "" leaves the member out.
func request(members ...string) string {
	all := map[string]string{"store": `"S"`, "selector": `{"by_stream":"a.>"}`, "deliver": `{"subject":"x.y"}`}
	for i := 0; i < len(members); i += 2 {
		all[members[i]] = members[i+1]
	}
	var parts []string
	for k, v := range all {
		if v != "" {
			parts = append(parts, fmt.Sprintf("%q:%s", k, v))
		}
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ",") + "}"
}

func fieldsOf(faults []wire.Fault) []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.Field)
	}
	return names
}

func quoted(n int) string { return `"` + strings.Repeat("x", n) + `"` }

func repeated(item string, n int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
}

func manyLabels(n int) string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint("k", i)] = "v"
	}
	b, _ := json.Marshal(m)
	return string(b)
}

// wrongFields: each value is wrong for its member, with the field to be named.
var wrongFields = []struct{ member, value, field string }{
	{"store", ``, "store"},
	{"store", `""`, "store"},
	{"store", `null`, "store"},
	{"store", `1`, "store"},
	{"store", `["S"]`, "store"},
	{"store", `{}`, "store"},
	{"store", `true`, "store"},
	{"store", `"a b"`, "store"},
	{"store", `"a.b"`, "store"},
	{"store", `"a*"`, "store"},
	{"store", `">"`, "store"},
	{"store", `"a/b"`, "store"},
	{"store", `"a\\b"`, "store"},
	{"store", `"a\u0000b"`, "store"},
	{"store", `"a\tb"`, "store"},
	{"store", `"a\u200bb"`, "store"},
	{"store", quoted(256), "store"},
	{"store", `"KV_sluice_subscriptions"`, "store"},
	{"store", `"KV_sluice_anything"`, "store"},
	{"store", `"SLUICE_ADVISORIES"`, "store"},
	{"store", `"SLUICE_PARKED"`, "store"},
	{"store", `"SLUICE_QUARANTINE"`, "store"},

	{"selector", ``, "selector"},
	{"selector", `null`, "selector"},
	{"selector", `{}`, "selector"},
	{"selector", `"a"`, "selector"},
	{"selector", `[]`, "selector"},
	{"selector", `7`, "selector"},
	{"selector", `{"by_streams":"a"}`, "selector.by_streams"},
	{"selector", `{"by.dot":1}`, `selector."by.dot"`},
	{"selector", `{"by_stream":null}`, "selector.by_stream"},
	{"selector", `{"by_stream":5}`, "selector.by_stream"},
	{"selector", `{"by_stream":{}}`, "selector.by_stream"},
	{"selector", `{"by_stream":[]}`, "selector.by_stream"},
	{"selector", `{"by_stream":""}`, "selector.by_stream"},
	{"selector", `{"by_stream":["a",""]}`, "selector.by_stream[1]"},
	{"selector", `{"by_stream":["a",null]}`, "selector.by_stream[1]"},
	{"selector", `{"by_stream":["a","b",7]}`, "selector.by_stream[2]"},
	{"selector", `{"by_stream":"a..b"}`, "selector.by_stream"},
	{"selector", `{"by_stream":".a"}`, "selector.by_stream"},
	{"selector", `{"by_stream":"a."}`, "selector.by_stream"},
	{"selector", `{"by_stream":"a b"}`, "selector.by_stream"},
	{"selector", `{"by_stream":"a.>.b"}`, "selector.by_stream"},
	{"selector", `{"by_stream":"a.b*"}`, "selector.by_stream"},
	{"selector", `{"by_stream":"a.b>"}`, "selector.by_stream"},
	{"selector", `{"by_stream":"a.\u0001"}`, "selector.by_stream"},
	{"selector", `{"by_stream":` + quoted(1025) + `}`, "selector.by_stream"},
	{"selector", `{"by_stream":` + repeated(`"a"`, 257) + `}`, "selector.by_stream"},
	{"selector", `{"by_stream":"a","by_stream":"b"}`, "selector.by_stream"},
	{"selector", `{"by_event_type":null}`, "selector.by_event_type"},
	{"selector", `{"by_event_type":""}`, "selector.by_event_type"},
	{"selector", `{"by_event_type":[]}`, "selector.by_event_type"},
	{"selector", `{"by_event_type":{"a":1}}`, "selector.by_event_type"},
	{"selector", `{"by_event_type":["a","b",""]}`, "selector.by_event_type[2]"},
	{"selector", `{"by_event_type":["a",["b"]]}`, "selector.by_event_type[1]"},
	{"selector", `{"by_event_type":` + quoted(257) + `}`, "selector.by_event_type"},
	{"selector", `{"by_event_type":` + repeated(`"a"`, 257) + `}`, "selector.by_event_type"},
	{"selector", `{"by_event_pattern":null}`, "selector.by_event_pattern"},
	{"selector", `{"by_event_pattern":"x"}`, "selector.by_event_pattern"},
	{"selector", `{"by_event_pattern":[]}`, "selector.by_event_pattern"},
	{"selector", `{"by_event_pattern":{"nope":["x"]}}`, "selector.by_event_pattern.nope"},
	{"selector", `{"by_event_pattern":{"type":[]}}`, "selector.by_event_pattern.type"},
	{"selector", `{"by_event_payload":null}`, "selector.by_event_payload"},
	{"selector", `{"by_event_payload":3}`, "selector.by_event_payload"},
	{"selector", `{"by_event_payload":{"a":{"b":[{"prefix":1}]}}}`, "selector.by_event_payload.a.b[0].prefix"},

	{"deliver", ``, "deliver"},
	{"deliver", `null`, "deliver"},
	{"deliver", `"x"`, "deliver"},
	{"deliver", `{}`, "deliver.subject"},
	{"deliver", `{"subject":null}`, "deliver.subject"},
	{"deliver", `{"subject":1}`, "deliver.subject"},
	{"deliver", `{"subject":"x","mode":"nack"}`, "deliver.mode"},
	{"deliver", `{"subject":"x","mode":""}`, "deliver.mode"},
	{"deliver", `{"subject":"x","mode":null}`, "deliver.mode"},
	{"deliver", `{"subject":"x","mode":1}`, "deliver.mode"},
	{"deliver", `{"subject":"x","to":"y"}`, "deliver.to"},
	{"deliver", `{"subject":"x","ack":"none"}`, "deliver.ack"},
	{"deliver", `{"subject":"x","ack":""}`, "deliver.ack"},
	{"deliver", `{"subject":"x","ack":true}`, "deliver.ack"},
	{"deliver", `{"subject":"x","rate":-1}`, "deliver.rate"},
	{"deliver", `{"subject":"x","rate":1000001}`, "deliver.rate"},
	{"deliver", `{"subject":"x","rate":1.5}`, "deliver.rate"},
	{"deliver", `{"subject":"x","rate":"10"}`, "deliver.rate"},
	{"deliver", `{"subject":"x","stream":1}`, "deliver.stream"},
	{"deliver", `{"subject":"x","stream":"a.b"}`, "deliver.stream"},
	{"deliver", `{"subject":"x","stream":"KV_sluice_pools"}`, "deliver.stream"},
	{"deliver", `{"subject":"x","stream":` + quoted(256) + `}`, "deliver.stream"},

	{"start", `null`, "start"},
	{"start", `"old"`, "start"},
	{"start", `""`, "start"},
	{"start", `5`, "start"},
	{"start", `[]`, "start"},
	{"start", `{}`, "start"},
	{"start", `{"sequence":0}`, "start.sequence"},
	{"start", `{"sequence":9223372036854775808}`, "start.sequence"},
	{"start", `{"sequence":-1}`, "start.sequence"},
	{"start", `{"sequence":1.5}`, "start.sequence"},
	{"start", `{"sequence":"1"}`, "start.sequence"},
	{"start", `{"sequence":18446744073709551616}`, "start.sequence"},
	{"start", `{"sequence":null}`, "start.sequence"},
	{"start", `{"sequence":1,"time":"2026-01-01T00:00:00Z"}`, "start"},
	{"start", `{"seq":1}`, "start.seq"},
	{"start", `{"time":"yesterday"}`, "start.time"},
	{"start", `{"time":5}`, "start.time"},
	{"start", `{"time":"2026-13-01T00:00:00Z"}`, "start.time"},
	{"start", `{"time":"0000-01-01T00:00:00+14:00"}`, "start.time"},
	{"start", `{"time":"9999-12-31T23:59:59-14:00"}`, "start.time"},

	{"order_by", `null`, "order_by"},
	{"order_by", `"key"`, "order_by"},
	{"order_by", `1`, "order_by"},
	{"order_by", `{}`, "order_by"},
	{"order_by", `{"token":0}`, "order_by.token"},
	{"order_by", `{"token":-1}`, "order_by.token"},
	{"order_by", `{"token":257}`, "order_by.token"},
	{"order_by", `{"token":"1"}`, "order_by.token"},
	{"order_by", `{"token":1e2}`, "order_by.token"},
	{"order_by", `{"header":""}`, "order_by.header"},
	{"order_by", `{"header":"a b"}`, "order_by.header"},
	{"order_by", `{"header":"a:b"}`, "order_by.header"},
	{"order_by", `{"header":"a\r\nb"}`, "order_by.header"},
	{"order_by", `{"header":` + quoted(129) + `}`, "order_by.header"},
	{"order_by", `{"header":7}`, "order_by.header"},
	{"order_by", `{"token":1,"header":"a"}`, "order_by"},
	{"order_by", `{"by":1}`, "order_by.by"},

	{"pool_size", `null`, "pool_size"},
	{"pool_size", `16`, "pool_size"},
	{"pool_size", `{"min":0}`, "pool_size.min"},
	{"pool_size", `{"min":-5}`, "pool_size.min"},
	{"pool_size", `{"min":1.5}`, "pool_size.min"},
	{"pool_size", `{"min":"1"}`, "pool_size.min"},
	{"pool_size", `{"min":null}`, "pool_size.min"},
	{"pool_size", `{"max":0}`, "pool_size.max"},
	{"pool_size", `{"max":65537}`, "pool_size.max"},
	{"pool_size", `{"max":99999999999999999999}`, "pool_size.max"},
	{"pool_size", `{"min":3,"max":2}`, "pool_size.max"},
	{"pool_size", `{"min":70000}`, "pool_size.min"},
	{"pool_size", `{"mid":2}`, "pool_size.mid"},

	{"ack_wait", `null`, "ack_wait"},
	{"ack_wait", `"30"`, "ack_wait"},
	{"ack_wait", `"soon"`, "ack_wait"},
	{"ack_wait", `""`, "ack_wait"},
	{"ack_wait", `"99ms"`, "ack_wait"},
	{"ack_wait", `"1h0m1s"`, "ack_wait"},
	{"ack_wait", `"-1s"`, "ack_wait"},
	{"ack_wait", `0`, "ack_wait"},
	{"ack_wait", `99999999`, "ack_wait"},
	{"ack_wait", `1.5`, "ack_wait"},
	{"ack_wait", `1e9`, "ack_wait"},
	{"ack_wait", `9223372036854775808`, "ack_wait"},
	{"ack_wait", `"9999999999h"`, "ack_wait"},
	{"ack_wait", `true`, "ack_wait"},
	{"ack_wait", `{}`, "ack_wait"},
	{"ack_wait", `[]`, "ack_wait"},

	{"retry", `null`, "retry"},
	{"retry", `5`, "retry"},
	{"retry", `{"max_attempts":-1}`, "retry.max_attempts"},
	{"retry", `{"max_attempts":1000001}`, "retry.max_attempts"},
	{"retry", `{"max_attempts":"5"}`, "retry.max_attempts"},
	{"retry", `{"min_backoff":"0s"}`, "retry.min_backoff"},
	{"retry", `{"min_backoff":"-1s"}`, "retry.min_backoff"},
	{"retry", `{"max_backoff":0}`, "retry.max_backoff"},
	{"retry", `{"max_backoff":"169h"}`, "retry.max_backoff"},
	{"retry", `{"min_backoff":"2s","max_backoff":"1s"}`, "retry.max_backoff"},
	{"retry", `{"backoff":"1s"}`, "retry.backoff"},

	{"on_exhausted", `null`, "on_exhausted"},
	{"on_exhausted", `""`, "on_exhausted"},
	{"on_exhausted", `"drop"`, "on_exhausted"},
	{"on_exhausted", `"park_key"`, "on_exhausted"},
	{"on_exhausted", `1`, "on_exhausted"},

	{"breaker", `null`, "breaker"},
	{"breaker", `false`, "breaker"},
	{"breaker", `{"failures":0}`, "breaker.failures"},
	{"breaker", `{"failures":1.0}`, "breaker.failures"},
	{"breaker", `{"open_for":"0s"}`, "breaker.open_for"},
	{"breaker", `{"open_for":"25h"}`, "breaker.open_for"},
	{"breaker", `{"open":1}`, "breaker.open"},

	{"expire_after", `null`, "expire_after"},
	{"expire_after", `"-1s"`, "expire_after"},
	{"expire_after", `"999ms"`, "expire_after"},
	{"expire_after", `1`, "expire_after"},
	{"expire_after", `"100000h"`, "expire_after"},
	{"on_gap", `null`, "on_gap"},
	{"on_gap", `"stop"`, "on_gap"},
	{"on_gap", `2`, "on_gap"},

	{"labels", `null`, "labels"},
	{"labels", `[]`, "labels"},
	{"labels", `"a"`, "labels"},
	{"labels", manyLabels(17), "labels"},
	{"labels", `{"a":1}`, "labels.a"},
	{"labels", `{"a":null}`, "labels.a"},
	{"labels", `{"":"x"}`, `labels.""`},
	{"labels", `{"a":"x","a":"y"}`, "labels.a"},
	{"labels", `{"a\n":"x"}`, `labels."a\n"`},
	{"labels", `{"a":"x\u0000"}`, "labels.a"},
	{"labels", `{"a":` + quoted(257) + `}`, "labels.a"},

	{"if_revision", `null`, "if_revision"},
	{"if_revision", `-1`, "if_revision"},
	{"if_revision", `"1"`, "if_revision"},
	{"if_revision", `1.5`, "if_revision"},
	{"restart", `null`, "restart"},
	{"restart", `1`, "restart"},
	{"restart", `"true"`, "restart"},
	{"Store", `"S"`, "Store"},
	{"retries", `{}`, "retries"},
	{"", `1`, `""`},
	{"a b", `1`, `"a b"`},
}

func TestEveryFieldWrongInEveryWayIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range wrongFields {
		t.Run(tt.field+" "+tt.value[:min(len(tt.value), 40)], func(t *testing.T) {
			_, err := DecodeSubscribe([]byte(request(tt.member, tt.value)), "n", ns)
			if err == nil {
				t.Fatalf("accepted %s: %s", tt.member, tt.value)
			}
			if got := fieldsOf(err.Details); err.ErrCode != wire.CodeBadField || len(got) != 1 || got[0] != tt.field {
				t.Errorf("%d %+v, want one fault of %s", err.ErrCode, err.Details, tt.field)
			}
		})
	}
}

func TestDeliverySubjectsThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "a.*", "*", ">", "a.>", "a*", "a>b", "a b", " a", "a\tb", "a\nb", "a\r\nb", "a\u00a0b", "a\u2003b",
		".", "a.", ".a", "a..b", "$JS.API.INFO", "$SYS.x", "$x", "$", "_INBOX.x", "_INBOX", "_INBOXES", "_SLUICE.x", "_SLUICE", "_SLUICES.x",
		"sluice", "sluice.v1.api.subscribe.x", "sluice.anything", "_", "_x", "_R_.x", "_sluice.x",
		"staging.v1.api.unsubscribe.x", "staging.v1.api", "x.v1.advisory.a.b.c", "x.v1.health.report", "x.v1.lifecycle.replay.y",
		"x.v1.parked.y", "x.v1.quarantine.y", "a\x00b", "a\x7fb", "a\u0085b", strings.Repeat("x", 257),
	} {
		b, _ := json.Marshal(map[string]string{"subject": s})
		_, err := DecodeSubscribe([]byte(request("deliver", string(b))), "n", ns)
		if err == nil || err.ErrCode != wire.CodeBadDelivery || !slices.Equal(fieldsOf(err.Details), []string{"deliver.subject"}) {
			t.Errorf("%q: %v, want %d", s, err, wire.CodeBadDelivery)
		}
	}
	for _, s := range []string{"a", "a.b.c", "sluiced.x", "Sluice.x", "orders.v1.placed", "orders.v2.api", "v1.api.x", "orders.v1.apis", "a.$x", "a._INBOX", "inbox", "ä.ö", strings.Repeat("x", 256), strings.Repeat("ö", 256)} {
		b, _ := json.Marshal(map[string]string{"subject": s})
		if _, err := DecodeSubscribe([]byte(request("deliver", string(b))), "n", ns); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestAStoreIsNotItsOwnTarget(t *testing.T) {
	t.Parallel()
	_, err := DecodeSubscribe([]byte(request("deliver", `{"subject":"x","stream":"S"}`)), "n", ns)
	if err == nil || err.ErrCode != wire.CodeBadDelivery || !slices.Equal(fieldsOf(err.Details), []string{"deliver.stream"}) {
		t.Errorf("%v, want %d", err, wire.CodeBadDelivery)
	}
}

func TestAllFaultsComeAtOnceAndTheCodeIsThatOfFields(t *testing.T) {
	t.Parallel()
	body := request("store", `"a b"`, "selector", `{"by_event_type":["a",1,""],"by_event_payload":{"x":[{"odd":1}]},"extra":1}`,
		"deliver", `{"subject":"a.*","mode":"x"}`, "retry", `{"max_attempts":-1,"min_backoff":"x"}`, "ack_wait", `1`, "zzz", `1`)
	_, err := DecodeSubscribe([]byte(body), "bad.name", ns)
	if err == nil || err.ErrCode != wire.CodeBadField {
		t.Fatalf("err = %v", err)
	}
	got := fieldsOf(err.Details)
	for _, want := range []string{
		"name", "store", "selector.by_event_type[1]", "selector.extra", "deliver.subject", "deliver.mode",
		"retry.max_attempts", "retry.min_backoff", "ack_wait", "zzz",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no fault of %s in %v", want, got)
		}
	}
	if !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, "selector.by_event_payload.x[0]") }) {
		t.Errorf("no fault of the pattern in %v", got)
	}
}

func TestBodiesThatAreNotTheJSONAskedForNameTheOffset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body   string
		offset int
	}{
		{"", 0},
		{" ", 1},
		{"{", 1},
		{"nope", 1},
		{`{"store":}`, 9},
		{`{"store":"S",}`, 13},
		{`{} {}`, 3},
		{`{}x`, 2},
		{"\xef\xbb\xbf{}", 0},
		{"{\"store\":\"\xff\"}", 10},
		{`{"a":01}`, 6},
		{"{\"a\":\"\n\"}", 6},
		{`[]`, 0},
		{` "x"`, 1},
		{`null`, 0},
		{`7`, 0},
		{`{'a':1}`, 1},
		{strings.Repeat(`{"a":`, 200) + `1` + strings.Repeat(`}`, 200), 805},
		{`{"a":` + strings.Repeat(`[`, 20000), 10004},
	} {
		_, err := DecodeSubscribe([]byte(tt.body), "n", ns)
		short := tt.body[:min(len(tt.body), 40)]
		switch {
		case err == nil || err.ErrCode != wire.CodeBadJSON:
			t.Errorf("%q: %v, want %d", short, err, wire.CodeBadJSON)
		case !strings.HasSuffix(err.Description, fmt.Sprintf("at offset %d", tt.offset)):
			t.Errorf("%q: %s, want offset %d", short, err.Description, tt.offset)
		}
	}
}

func TestDefaultsAndFormsOfARightRequest(t *testing.T) {
	t.Parallel()
	got, bad := DecodeSubscribe([]byte(request()), "n", ns)
	if bad != nil {
		t.Fatal(bad)
	}
	want := Default()
	want.Store, want.Deliver.Subject, want.Selector.ByStream = "S", "x.y", wire.StringList{"a.>"}
	if diff := cmp.Diff(want, got.Spec); diff != "" || got.IfRevision != nil || got.Restart {
		t.Errorf("(-want +got) %s, %+v", diff, got)
	}
	for _, tt := range []struct {
		member, value string
		holds         func(r wire.SubscribeRequest) bool
	}{
		{"pool_size", `{"max":4}`, func(r wire.SubscribeRequest) bool { return r.PoolSize == wire.PoolSize{Min: 4, Max: 4} }},
		{"pool_size", `{"min":2000}`, func(r wire.SubscribeRequest) bool { return r.PoolSize == wire.PoolSize{Min: 2000, Max: 2000} }},
		{"pool_size", `{"min":2}`, func(r wire.SubscribeRequest) bool { return r.PoolSize == wire.PoolSize{Min: 2, Max: 1024} }},
		{"pool_size", `{"min":1,"max":65536}`, func(r wire.SubscribeRequest) bool { return r.PoolSize == wire.PoolSize{Min: 1, Max: 65536} }},
		{"retry", `{"max_backoff":"10ms"}`, func(r wire.SubscribeRequest) bool { return r.Retry.MinBackoff.String() == "10ms" }},
		{"retry", `{"min_backoff":"2m"}`, func(r wire.SubscribeRequest) bool { return r.Retry.MaxBackoff.String() == "2m0s" }},
		{"deliver", `{"subject":"x","stream":"T","ack":"explicit"}`, func(r wire.SubscribeRequest) bool {
			return r.Deliver == wire.Deliver{Subject: "x", Stream: "T", Mode: wire.ModeAck, Ack: wire.AckExplicit}
		}},
		{"deliver", `{"subject":"x"}`, func(r wire.SubscribeRequest) bool { return r.Deliver.Ack == wire.AckAny }},
		{"deliver", `{"subject":"x","rate":1000000}`, func(r wire.SubscribeRequest) bool { return r.Deliver.Rate == MaxRate }},
		{"deliver", `{"subject":"x","rate":0}`, func(r wire.SubscribeRequest) bool { return r.Deliver.Rate == 0 }},
		{"retry", `{"max_attempts":0}`, func(r wire.SubscribeRequest) bool { return r.Retry.MaxAttempts == 0 }},
		{"ack_wait", `100000000`, func(r wire.SubscribeRequest) bool { return r.AckWait.String() == "100ms" }},
		{"ack_wait", `"1h"`, func(r wire.SubscribeRequest) bool { return r.AckWait.String() == "1h0m0s" }},
		{"expire_after", `0`, func(r wire.SubscribeRequest) bool { return r.ExpireAfter == 0 }},
		{"expire_after", `"1s"`, func(r wire.SubscribeRequest) bool { return r.ExpireAfter.String() == "1s" }},
		{"start", `{"sequence":9223372036854775807}`, func(r wire.SubscribeRequest) bool { return r.Start.Sequence == 1<<63-1 }},
		{"start", `{"time":"2026-01-01T01:00:00+01:00"}`, func(r wire.SubscribeRequest) bool { return r.Start.Time.Hour() == 0 }},
		{"order_by", `{"token":3}`, func(r wire.SubscribeRequest) bool { return r.OrderBy.Token == 3 }},
		{"order_by", `{"header":"x-key"}`, func(r wire.SubscribeRequest) bool { return r.OrderBy.Header == "x-key" }},
		{"selector", `{"by_stream":"$all"}`, func(r wire.SubscribeRequest) bool { return r.Selector.ByStream[0] == "$all" }},
		{"selector", `{"by_event_type":["a","b"]}`, func(r wire.SubscribeRequest) bool { return len(r.Selector.ByEventType) == 2 }},
		{"selector", `{"by_event_payload": {"a" : 1} }`, func(r wire.SubscribeRequest) bool { return string(r.Selector.ByEventPayload) == `{"a":1}` }},
		{"store", `"KV_other"`, func(r wire.SubscribeRequest) bool { return r.Store == "KV_other" }},
		{"if_revision", `0`, func(r wire.SubscribeRequest) bool { return r.IfRevision != nil && *r.IfRevision == 0 }},
		{"labels", manyLabels(16), func(r wire.SubscribeRequest) bool { return len(r.Labels) == 16 }},
		{"labels", `{}`, func(r wire.SubscribeRequest) bool { return r.Labels == nil }},
	} {
		got, bad := DecodeSubscribe([]byte(request(tt.member, tt.value)), "n", ns)
		if bad != nil || !tt.holds(got) {
			t.Errorf("%s %s: %+v, %v", tt.member, tt.value, got, bad)
		}
	}
}

func TestAHopelessBodyGetsABoundedAnswer(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("{")
	for i := range 5000 {
		fmt.Fprintf(&b, `"%s%d":1,`, strings.Repeat("y", 100), i)
	}
	b.WriteString(`"z":1}`)
	_, err := DecodeSubscribe([]byte(b.String()), "n", ns)
	if err == nil || len(err.Details) != strictjson.MaxFaults+1 {
		t.Fatalf("%d faults", len(err.Details))
	}
	out, _ := json.Marshal(err)
	if len(out) > 32<<10 || len(err.Description) > 1024 {
		t.Errorf("answer of %d bytes, description of %d", len(out), len(err.Description))
	}
	if last := err.Details[strictjson.MaxFaults]; !strings.Contains(last.Reason, "more faults") {
		t.Errorf("last fault %+v", last)
	}
}

func TestNamesThatAreNotValid(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "a.b", "a b", "ä", "a*", strings.Repeat("x", 65), "a\n"} {
		_, err := DecodeSubscribe([]byte(request()), name, ns)
		if err == nil || err.ErrCode != wire.CodeBadField || !slices.Equal(fieldsOf(err.Details), []string{"name"}) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzDecodeSubscribe(f *testing.F) {
	for _, tt := range wrongFields {
		if len(tt.value) < 500 {
			f.Add([]byte(request(tt.member, tt.value)))
		}
	}
	f.Add([]byte(request("retry", `{"max_attempts":3}`, "start", `{"time":"2026-01-01T00:00:00Z"}`, "labels", `{"a":"b"}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, bad := DecodeSubscribe(body, "n", ns)
		if bad != nil {
			if len(bad.Details) == 0 || bad.Description == "" {
				t.Fatalf("refused without a reason: %+v", bad)
			}
			return
		}
		f := newFields()
		if f.validate("n", &req.Spec, ns); len(f.All()) > 0 {
			t.Fatalf("accepted with %v", f.All())
		}
		// What was accepted survives being stored, and asked for again.
		out, err := json.Marshal(req)
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		again, bad := DecodeSubscribe(out, "n", ns)
		if bad != nil || !Equal(&req.Spec, &again.Spec) {
			t.Fatalf("%s\nread again: %v", out, bad)
		}
	})
}
