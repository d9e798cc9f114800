package subscription_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// aReplay is one with every field.
func aReplay() wire.Replay {
	now := time.Now().UTC().Round(0)
	later := now.Add(time.Minute)
	spec := subscription.Default()
	spec.Store, spec.Deliver.Subject, spec.Selector.ByStream = "S", "out", wire.StringList{"a.>"}
	return wire.Replay{
		Schema: 1, ID: "r1", Name: "n", UID: "u", Generation: 3, FromSequence: 5, ToSequence: 90, StoreCreated: now, Spec: spec,
		Selector: &wire.Selector{ByEventPayload: json.RawMessage(`{"x":1}`)}, MaxRate: 10, State: wire.ReplayRunning, Reason: "waiting",
		Owner: "replayer-1", Epoch: 7, Checkpoint: wire.Checkpoint{Floor: 9, Ranges: [][2]uint64{{11, 12}}},
		Gap:          &wire.Gap{From: 6, To: 8, At: now, Count: 2, Kind: wire.GapMiddle, Generation: 3},
		ReplayCounts: wire.ReplayCounts{Total: 9, Estimated: true, Sent: 8, Finished: 7, Parked: 6, Rate: 5},
		ReplayTimes:  wire.ReplayTimes{CreatedAt: now, StartedAt: &now, UpdatedAt: now, EndedAt: &later, ETA: &later},
	}
}

func replayEntry(t *testing.T, r any) subscription.Entry {
	t.Helper()
	body, err := wire.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return subscription.Entry{Key: "r1", Value: body, Revision: 8, Created: time.Now()}
}

func TestAReplayIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := aReplay()
	got, err := subscription.DecodeReplayEntry(replayEntry(t, want), wire.DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*got, want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

func TestAReplayThatCannotBeTrueIsCorrupt(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *wire.Replay){
		"another key":            func(r *wire.Replay) { r.ID = "r2" },
		"no name":                func(r *wire.Replay) { r.Name = "a.b" },
		"no uid":                 func(r *wire.Replay) { r.UID = "" },
		"a subject of JetStream": func(r *wire.Replay) { r.Spec.Deliver.Subject = "$JS.API.STREAM.DELETE.S" },
		"a subject of Sluice":    func(r *wire.Replay) { r.Spec.Deliver.Subject = "sluice.v1.api.unsubscribe.n" },
		"the store as target":    func(r *wire.Replay) { r.Spec.Deliver.Stream = "S" },
		"no pattern":             func(r *wire.Replay) { r.Selector.ByEventPayload = json.RawMessage(`{"x":[{"huh":1}]}`) },
		"an empty selector":      func(r *wire.Replay) { r.Selector = &wire.Selector{} },
		"no range":               func(r *wire.Replay) { r.FromSequence = 99 },
		"from nothing":           func(r *wire.Replay) { r.FromSequence = 0 },
		"an end of numbers":      func(r *wire.Replay) { r.ToSequence = 1 << 63 },
		"an epoch to come":       func(r *wire.Replay) { r.Epoch = 1 << 60 },
		"ranges in disorder":     func(r *wire.Replay) { r.Checkpoint.Ranges = [][2]uint64{{12, 11}} },
		"no state":               func(r *wire.Replay) { r.State = "A" },
		"no instance":            func(r *wire.Replay) { r.Owner = "a>" },
		"a long reason":          func(r *wire.Replay) { r.Reason = strings.Repeat("x", 5000) },
		"a negative rate":        func(r *wire.Replay) { r.MaxRate = -1 },
		"counts beyond all":      func(r *wire.Replay) { r.Sent = 1 << 60 },
		"a time to come":         func(r *wire.Replay) { r.CreatedAt = time.Now().Add(10000 * time.Hour) },
	} {
		r := aReplay()
		change(&r)
		var corrupt *subscription.CorruptError
		if got, err := subscription.DecodeReplayEntry(replayEntry(t, r), wire.DefaultNamespace); !errors.As(err, &corrupt) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, text := range []string{"", "{", "[]", "null", `{"id":"r1"}`, `{"schema":99}`} {
		_, err := subscription.DecodeReplayEntry(subscription.Entry{Key: "r1", Value: []byte(text)}, wire.DefaultNamespace)
		if err == nil || errors.Is(err, subscription.ErrNewerSchema) != strings.Contains(text, "99") {
			t.Errorf("%s: %v", text, err)
		}
	}
	odd := map[string]any{}
	body, err := wire.Marshal(aReplay())
	if err != nil || json.Unmarshal(body, &odd) != nil {
		t.Fatal(err)
	}
	odd["of a later version"] = 1
	if _, err := subscription.DecodeReplayEntry(replayEntry(t, odd), wire.DefaultNamespace); err != nil {
		t.Errorf("a member that is not known: %v", err)
	}
}

func TestARequestForAReplayIsRead(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		body string
		want wire.ReplayRequest
	}{
		{`{"from":"all","to":"now"}`, wire.ReplayRequest{From: wire.Position{Kind: wire.PositionAll}}},
		{
			`{"from":{"time":"2026-01-02T00:00:00Z"},"to":{"sequence":3},"rate":7,"dry_run":true,"confirm":"x"}`,
			wire.ReplayRequest{From: wire.Position{Kind: wire.PositionTime, Time: at}, To: wire.ReplayEnd{Sequence: 3}, Rate: 7, DryRun: true, Confirm: "x"},
		},
		{
			`{"from":{"sequence":3},"to":{"time":"2026-01-02T00:00:00Z"},"selector":{"by_event_payload": { "x" : 1 }},"deliver":{"subject":"out","mode":"publish"}}`,
			wire.ReplayRequest{
				From: wire.Position{Kind: wire.PositionSequence, Sequence: 3}, To: wire.ReplayEnd{Time: at},
				Selector: &wire.Selector{ByEventPayload: json.RawMessage(`{"x":1}`)},
				Deliver:  &wire.Deliver{Subject: "out", Mode: wire.ModePublish, Ack: wire.AckAny},
			},
		},
	} {
		got, bad := subscription.DecodeReplay([]byte(tt.body), "n", wire.DefaultNamespace)
		if bad != nil {
			t.Errorf("%s: %v", tt.body, bad)
		}
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.body, diff)
		}
	}
}
