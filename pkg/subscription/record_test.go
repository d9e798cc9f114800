package subscription

import (
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/wire"
)

func aRecord(tb testing.TB) (*wire.Record, map[string]any) {
	tb.Helper()
	req, bad := DecodeSubscribe([]byte(request("labels", `{"a":"b"}`, "start", `{"sequence":7}`)), "n", ns)
	if bad != nil {
		tb.Fatal(bad)
	}
	r := NewRecord("n", "uid-1", req.Spec, Start{Sequence: 7, StoreCreated: time.Unix(5, 0)}, time.Now())
	b, err := json.Marshal(r)
	if err != nil {
		tb.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		tb.Fatal(err)
	}
	return r, m
}

func encode(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestARecordSurvivesBeingStored(t *testing.T) {
	t.Parallel()
	want, m := aRecord(t)
	got, err := DecodeRecord(Entry{Key: "n", Value: encode(t, m)}, ns)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
	m["from_a_later_version"] = map[string]any{"x": 1}
	m["spec"].(map[string]any)["from_a_later_version"] = true
	delete(m["spec"].(map[string]any), "on_gap")
	m["spec"].(map[string]any)["pool_size"] = map[string]any{"max": 4}
	delete(m["spec"].(map[string]any)["deliver"].(map[string]any), "ack")
	if got, err = DecodeRecord(Entry{Key: "n", Value: encode(t, m)}, ns); err != nil || got.Spec.OnGap != wire.GapContinue || got.Spec.Deliver.Ack != wire.AckAny || got.Spec.PoolSize.Min != 4 {
		t.Errorf("record of another version: %+v, %v", got, err)
	}
}

func TestRecordsThatCannotBeRightAreErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		harm func(m map[string]any)
	}{
		{"no schema is no reason, no uid is", func(m map[string]any) { delete(m, "uid") }},
		{"other name", func(m map[string]any) { m["name"] = "other" }},
		{"uid of the wrong type", func(m map[string]any) { m["uid"] = 7 }},
		{"long uid", func(m map[string]any) { m["uid"] = strings.Repeat("x", 200) }},
		{"generation 0", func(m map[string]any) { m["generation"] = 0 }},
		{"negative generation", func(m map[string]any) { m["generation"] = -1 }},
		{"paused of the wrong type", func(m map[string]any) { m["paused"] = "yes" }},
		{"null", func(m map[string]any) { m["paused"] = nil }},
		{"bad time", func(m map[string]any) { m["created_at"] = "now" }},
		{"no spec", func(m map[string]any) { delete(m, "spec") }},
		{"spec of the wrong type", func(m map[string]any) { m["spec"] = []any{} }},
		{"wrong spec", func(m map[string]any) { m["spec"].(map[string]any)["ack_wait"] = "1ns" }},
		{"own stream", func(m map[string]any) { m["spec"].(map[string]any)["store"] = "SLUICE_PARKED" }},
		{"start_sequence of the wrong type", func(m map[string]any) { m["start_sequence"] = "1" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, m := aRecord(t)
			tt.harm(m)
			if _, err := DecodeRecord(Entry{Key: "n", Value: encode(t, m)}, ns); err == nil || errors.Is(err, ErrNewerSchema) {
				t.Errorf("err = %v", err)
			}
		})
	}
	for _, raw := range []string{"", "null", "[]", "{", "\xff", "\xef\xbb\xbf{}", `{"uid":"a","uid":"b"}`, strings.Repeat("[", 100000), "{}"} {
		if _, err := DecodeRecord(Entry{Key: "n", Value: []byte(raw)}, ns); err == nil {
			t.Errorf("%.20q: accepted", raw)
		}
	}
	_, m := aRecord(t)
	if _, err := DecodeRecord(Entry{Key: "barrier.replayer", Value: encode(t, m)}, ns); err == nil {
		t.Error("a key that is no name: accepted")
	}
	m["schema"] = 2
	if _, err := DecodeRecord(Entry{Key: "n", Value: encode(t, m)}, ns); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("schema 2: %v, want ErrNewerSchema", err)
	}
}

func TestPoolsSurviveAndWrongOnesAreErrors(t *testing.T) {
	t.Parallel()
	at := time.Now().UTC()
	want := &wire.Pool{
		Schema: 1, Name: "n", UID: "u", Owner: "emitter-1", Epoch: 9, ObservedGeneration: 2, ObservedRevision: 40,
		Checkpoint: wire.Checkpoint{Floor: 10, Ranges: [][2]uint64{{12, 12}, {14, 20}}}, State: wire.PoolLive, Reason: "r",
		Begin: 11, LostFrom: 25,
		Gap: &wire.Gap{From: 1, To: 2, At: at, Generation: 1, Paused: true}, ClaimedAt: at, UpdatedAt: at,
	}
	got, err := DecodePool(Entry{Key: "n", Value: encode(t, want)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
	for _, raw := range []string{
		"", "null", "{}", `{"name":"n","uid":"u","epoch":0}`, `{"name":"m","uid":"u","epoch":1}`, `{"name":"n","epoch":1}`,
		`{"name":"n","uid":"u","epoch":-1}`, `{"name":"n","uid":"u","epoch":1,"owner":5}`,
		`{"name":"n","uid":"u","epoch":1,"checkpoint":{"floor":5,"ranges":[[5,6]]}}`,
		`{"name":"n","uid":"u","epoch":1,"checkpoint":{"floor":5,"ranges":[[8,7]]}}`,
		`{"name":"n","uid":"u","epoch":1,"checkpoint":{"floor":5,"ranges":[[7,9],[8,12]]}}`,
		`{"name":"n","uid":"u","epoch":1,"checkpoint":{"floor":5,"ranges":[[7]]}}`,
		`{"name":"n","uid":"u","epoch":1,"checkpoint":{"floor":"5"}}`, `{"name":"n","uid":"u","epoch":1,"checkpoint":[]}`,
	} {
		if p, err := DecodePool(Entry{Key: "n", Value: []byte(raw)}); err == nil {
			t.Errorf("%s: accepted as %+v", raw, p)
		}
	}
}

func TestEqualAndNeedRestartSeeEachDifference(t *testing.T) {
	t.Parallel()
	base := []string{"selector", `{"by_stream":["a","b"],"by_event_type":"t","by_event_pattern":{"type":"t"},"by_event_payload":{"a":1}}`}
	decode := func(members ...string) *wire.Spec {
		req, bad := DecodeSubscribe([]byte(request(append(slices.Clone(base), members...)...)), "n", ns)
		if bad != nil {
			t.Fatal(bad)
		}
		return &req.Spec
	}
	same := decode()
	for _, tt := range []struct {
		member, value string
		restart       string
	}{
		{"store", `"T"`, "store"},
		{"selector", `{"by_stream":["a"],"by_event_type":"t","by_event_pattern":{"type":"t"},"by_event_payload":{"a":1}}`, "selector"},
		{"selector", `{"by_stream":["a","b"],"by_event_type":"u","by_event_pattern":{"type":"t"},"by_event_payload":{"a":1}}`, "selector"},
		{"selector", `{"by_stream":["a","b"],"by_event_type":"t","by_event_pattern":{"type":"u"},"by_event_payload":{"a":1}}`, "selector"},
		{"selector", `{"by_stream":["a","b"],"by_event_type":"t","by_event_pattern":{"type":"t"},"by_event_payload":{"a":"1"}}`, "selector"},
		{"selector", `{"by_stream":["a","b"],"by_event_type":"t","by_event_pattern":{"type":"t"},"by_event_payload":{"a":1,"b":1}}`, "selector"},
		{"selector", `{"by_stream":["a","b"],"by_event_type":"t","by_event_pattern":{"type":"t"}}`, "selector"},
		{"start", `"all"`, "start"},
		{"start", `{"sequence":1}`, "start"},
		{"start", `{"time":"2026-01-01T00:00:00Z"}`, "start"},
		{"deliver", `{"subject":"z"}`, ""},
		{"deliver", `{"subject":"x.y","mode":"publish"}`, ""},
		{"deliver", `{"subject":"x.y","ack":"explicit"}`, ""},
		{"deliver", `{"subject":"x.y","stream":"T"}`, ""},
		{"order_by", `"none"`, ""},
		{"pool_size", `{"min":1}`, ""},
		{"ack_wait", `"1s"`, ""},
		{"retry", `{"max_attempts":1}`, ""},
		{"on_exhausted", `"block"`, ""},
		{"breaker", `{"failures":1}`, ""},
		{"expire_after", `"1s"`, ""},
		{"on_gap", `"pause"`, ""},
		{"labels", `{"a":"b"}`, ""},
	} {
		other := decode(tt.member, tt.value)
		got := strings.Join(NeedRestart(same, other), ",")
		if Equal(same, other) || got != tt.restart {
			t.Errorf("%s %s: equal %v, restart for %q, want %q", tt.member, tt.value, Equal(same, other), got, tt.restart)
		}
	}
	if other := decode("selector", `{"by_stream":["b","a","b"],"by_event_type":["t"],"by_event_pattern":{"type" : "t"},"by_event_payload":{"a":1.0}}`); !Equal(same, other) {
		t.Error("the same in other words is not equal")
	}
}

// Each emitter holds the records of all its pools, and each replayer all replays.
func TestWhatIsReadKeepsNothingOfWhatItWasReadFrom(t *testing.T) {
	rec, m := aRecord(t)
	replay := wire.Replay{
		Schema: 1, ID: "n", Name: "n", UID: "u", Generation: 1, FromSequence: 1, ToSequence: 9, Spec: rec.Spec,
		State: wire.ReplayPending,
	}
	for _, tt := range []struct {
		what string
		body []byte
		read func(Entry) (any, error)
	}{
		{"record", encode(t, m), func(e Entry) (any, error) { return DecodeRecord(e, ns) }},
		{"replay", encode(t, replay), func(e Entry) (any, error) { return DecodeReplayEntry(e, ns) }},
		{"pool", encode(t, wire.Pool{Schema: 1, Name: "n", UID: "u", Epoch: 1, State: wire.PoolLive}), func(e Entry) (any, error) { return DecodePool(e) }},
	} {
		kept := make([]any, 2000)
		heap := func() uint64 {
			var s runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&s)
			return s.HeapAlloc
		}
		before := heap()
		for i := range kept {
			var err error
			if kept[i], err = tt.read(Entry{Key: "n", Value: slices.Clone(tt.body)}); err != nil {
				t.Fatal(err)
			}
		}
		if each := (int64(heap()) - int64(before)) / int64(len(kept)); each > 2000 {
			t.Errorf("a %s of %d bytes in JSON takes %d bytes", tt.what, len(tt.body), each)
		}
		runtime.KeepAlive(kept)
	}
}
