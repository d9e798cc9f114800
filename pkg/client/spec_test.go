package client_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestSpecSendsOnlyWhatIsSet(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		spec client.Spec
		want string
	}{
		{"nothing", client.Spec{}, `{}`},
		{
			"only what is required",
			client.Spec{
				Store: "S", Selector: client.Selector{ByStream: []string{"a.*"}},
				Deliver: client.Deliver{Subject: "d"},
			},
			`{"store":"S","selector":{"by_stream":["a.*"]},"deliver":{"subject":"d"}}`,
		},
		{"no limit of attempts is not the default", client.Spec{Retry: client.Retry{MaxAttempts: new(0)}}, `{"retry":{"max_attempts":0}}`},
		{"one part of a group", client.Spec{PoolSize: client.PoolSize{Max: 8}}, `{"pool_size":{"max":8}}`},
		{"durations", client.Spec{AckWait: time.Second, Breaker: client.Breaker{OpenFor: time.Minute}}, `{"ack_wait":1000000000,"breaker":{"open_for":60000000000}}`},
		{"new is the default", client.Spec{Start: client.FromNew()}, `{}`},
		{"all", client.Spec{Start: client.FromAll()}, `{"start":"all"}`},
		{"a sequence", client.Spec{Start: client.FromSequence(7)}, `{"start":{"sequence":7}}`},
		{
			"a time",
			client.Spec{Start: client.FromTime(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))},
			`{"start":{"time":"2026-01-02T03:04:05.000000006Z"}}`,
		},
		{"order by subject", client.Spec{OrderBy: client.OrderBySubject()}, `{"order_by":"subject"}`},
		{"order by nothing", client.Spec{OrderBy: client.OrderByNone()}, `{"order_by":"none"}`},
		{"order by token", client.Spec{OrderBy: client.OrderByToken(2)}, `{"order_by":{"token":2}}`},
		{"order by header", client.Spec{OrderBy: client.OrderByHeader("h")}, `{"order_by":{"header":"h"}}`},
		{
			"a pattern of Go values",
			client.Spec{Selector: client.Selector{ByEventPayload: map[string]any{"a": []int{1}}}},
			`{"selector":{"by_event_payload":{"a":[1]}}}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSpecOfAnAnswerAsksForTheSameAgain(t *testing.T) {
	t.Parallel()
	full := wire.Spec{
		Store: "S",
		Selector: wire.Selector{
			ByStream: wire.StringList{"a.>", "b"}, ByEventType: wire.StringList{"t"},
			ByEventPattern: json.RawMessage(`{"type":"t"}`),
		},
		Start: wire.Position{Kind: wire.PositionSequence, Sequence: 5}, Deliver: wire.Deliver{Subject: "d", Mode: "ack"},
		OrderBy: wire.OrderBy{Kind: wire.OrderToken, Token: 2}, PoolSize: wire.PoolSize{Min: 1, Max: 2},
		AckWait: wire.Duration(time.Second), Retry: wire.Retry{MinBackoff: 1, MaxBackoff: 2}, // no limit of attempts
		OnExhausted: "block", Breaker: wire.Breaker{Failures: 3, OpenFor: 4}, ExpireAfter: 5,
		OnGap: "pause", Labels: map[string]string{"a": "b"},
	}
	b, err := json.Marshal(client.SpecOf(full))
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Spec
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, got); diff != "" {
		t.Errorf("spec after a round trip (-want +got):\n%s", diff)
	}
	if *client.SpecOf(full).Retry.MaxAttempts != 0 {
		t.Error("SpecOf leaves max_attempts to the registry")
	}
}
