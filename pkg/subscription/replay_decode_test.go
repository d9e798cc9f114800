package subscription

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestFormsOfARightReplay(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for body, want := range map[string]wire.ReplayRequest{
		`{"from":"all","to":"now"}`: {From: wire.Position{Kind: wire.PositionAll}},
		`{"from":{"sequence":2},"to":{"sequence":5},"rate":7,"dry_run":true,"confirm":"c"}`: {
			From: wire.Position{Kind: wire.PositionSequence, Sequence: 2}, To: wire.ReplayEnd{Sequence: 5}, Rate: 7, DryRun: true, Confirm: "c",
		},
		`{"from":"all","to":{"time":"2026-01-01T01:00:00+01:00"},"selector":{"by_event_payload":{"a": 1}},"deliver":{"subject":"x.y"}}`: {
			From: wire.Position{Kind: wire.PositionAll}, To: wire.ReplayEnd{Time: at},
			Selector: &wire.Selector{ByEventPayload: []byte(`{"a":1}`)},
			Deliver:  &wire.Deliver{Subject: "x.y", Mode: wire.ModeAck, Ack: wire.AckAny},
		},
	} {
		got, bad := DecodeReplay([]byte(body), "n", ns)
		if diff := cmp.Diff(want, got); bad != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", body, bad, diff)
		}
	}
}

func TestEveryFaultOfAReplayIsNamed(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][]string{
		`{}`:                        {"from", "to"},
		`{"from":null,"to":"end"}`:  {"from", "to"},
		`{"from":"new","to":"now"}`: {"from"},
		`{"from":{"sequence":5},"to":{"sequence":4}}`:                                                  {"to"},
		`{"from":{"sequence":0},"to":{"sequence":0}}`:                                                  {"from.sequence", "to.sequence"},
		`{"from":"all","to":"now","rate":0,"x":1}`:                                                     {"rate", "x"},
		`{"from":"all","to":"now","selector":{},"deliver":{}}`:                                         {"selector", "deliver.subject"},
		`{"from":"all","to":"now","selector":{"by_event_payload":{"a":[]}},"deliver":{"subject":"*"}}`: {"selector.by_event_payload.a", "deliver.subject"},
	} {
		_, bad := DecodeReplay([]byte(body), "n", ns)
		if bad == nil {
			t.Errorf("%s: no fault, want %v", body, want)
			continue
		}
		got := fieldsOf(bad.Details)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: faults of %v, want %v", body, got, want)
		}
	}
}

func TestAReplaySurvivesBeingStored(t *testing.T) {
	t.Parallel()
	at := storedAt()
	spec := Default()
	spec.Store, spec.Deliver.Subject, spec.Selector.ByStream = "S", "x.y", wire.StringList{">"}
	want := &wire.Replay{
		Schema: wire.SchemaVersion, ID: "r-1", Name: "n", UID: "u", Generation: 3, FromSequence: 2, ToSequence: 9, StoreCreated: at,
		Spec: spec, Selector: &wire.Selector{ByEventType: wire.StringList{"a", "b"}}, MaxRate: 5, State: wire.ReplayRunning, Owner: "replayer-1",
		Epoch: 4, Checkpoint: wire.Checkpoint{Floor: 3, Ranges: [][2]uint64{{5, 6}}}, Gap: &wire.Gap{From: 2, To: 2, At: at},
		ReplayCounts: wire.ReplayCounts{Total: 7, Estimated: true, Sent: 4, Finished: 3, Parked: 1, Rate: 2},
		ReplayTimes:  wire.ReplayTimes{CreatedAt: at, StartedAt: &at, UpdatedAt: at},
	}
	e := Entry{Key: "r-1", Value: encode(t, want), Revision: 1 << 51, Created: at}
	got, err := DecodeReplayEntry(e, ns)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v (-want +got)\n%s", err, diff)
	}
	for name, change := range map[string]func(r *wire.Replay){
		"another id":        func(r *wire.Replay) { r.ID = "r-2" },
		"no range":          func(r *wire.Replay) { r.FromSequence = 11 },
		"a wrong selector":  func(r *wire.Replay) { r.Selector = &wire.Selector{} },
		"a wrong spec":      func(r *wire.Replay) { r.Spec.AckWait = -1 },
		"ranges that cross": func(r *wire.Replay) { r.Checkpoint.Ranges = [][2]uint64{{2, 6}} },
	} {
		r := *want
		change(&r)
		e.Value = encode(t, &r)
		if _, err := DecodeReplayEntry(e, ns); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
