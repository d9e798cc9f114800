package check

import (
	"maps"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestGap_IsToldWithItsKindAndNumber(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		gap    wire.Gap
		kind   string
		count  uint64
		detail string
	}{
		{"of an earlier version", wire.Gap{From: 3, To: 9}, wire.GapFront, 7, "no longer held the events 3 to 9"},
		{"at the front", wire.Gap{From: 3, To: 9, Count: 7, Kind: wire.GapFront}, wire.GapFront, 7, "no longer held the events 3 to 9"},
		{"in the middle", wire.Gap{From: 3, To: 9, Count: 2, Kind: wire.GapMiddle}, wire.GapMiddle, 2, "lost 2 of the events 3 to 9"},
	} {
		kind, count := kindOf(&tt.gap)
		if detail := lostEvents(&tt.gap); kind != tt.kind || count != tt.count || !strings.Contains(detail, tt.detail) {
			t.Errorf("%s: %d events, %s, %q; want %d, %s, %q", tt.name, count, kind, detail, tt.count, tt.kind, tt.detail)
		}
	}
}

func TestAnIssueShowsTheLabelsOfItsSubscription(t *testing.T) {
	t.Parallel()
	team := map[string]string{"team": "triage"}
	for _, tt := range []struct {
		name         string
		uid          string // of the record; the pool is u1's
		labels, want map[string]string
	}{
		{"its own", "u1", team, team},
		{"none", "u1", nil, nil},
		{"not those of a later one", "u2", team, nil},
	} {
		w := newWorld()
		w.rec().UID, w.rec().Spec.Labels = tt.uid, tt.labels
		w.pool().Gap = &wire.Gap{From: 3, To: 9, At: start, Generation: 3}
		w.judge(0)
		found := false
		for _, i := range w.judge(cfg.Grace).Issues {
			if i.Evidence["uid"] != "u1" {
				continue
			}
			found = true
			if got, _ := i.Evidence["labels"].(map[string]string); !maps.Equal(got, tt.want) {
				t.Errorf("%s: %s has the labels %v, want %v", tt.name, i.Kind, got, tt.want)
			}
		}
		if !found {
			t.Errorf("%s: no issue", tt.name)
		}
	}
}
