package replayer

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestAReportThatIsTooLongKeepsWhatMattersAndFitsAMessage(t *testing.T) {
	t.Parallel()
	var steps []wire.Transition
	for i := range 3 * maxReported {
		steps = append(steps, wire.Transition{
			Name: strings.Repeat("n", 64), UID: strings.Repeat("u", 128), Kind: wire.TransitionRecreated,
			Revision: uint64(i + 1), Missed: i%10 == 0, Observed: i%100 != 0,
		})
	}
	kept, truncated := cut(steps)
	if len(kept) != maxReported || !truncated {
		t.Fatalf("kept %d, truncated %v, want %d, true", len(kept), truncated, maxReported)
	}
	unobserved, missed := 0, 0
	for i, s := range kept {
		if !s.Observed {
			unobserved++
		}
		if s.Missed {
			missed++
		}
		if i > 0 && s.Revision <= kept[i-1].Revision {
			t.Fatalf("revision %d after %d", s.Revision, kept[i-1].Revision)
		}
	}
	if want := len(steps) / 100; unobserved != want {
		t.Errorf("%d unobserved kept, want all %d", unobserved, want)
	}
	if want := len(steps) / 10; missed != want {
		t.Errorf("%d missed kept, want all %d", missed, want)
	}
	body, err := json.Marshal(wire.ReconcileReport{Transitions: kept})
	if err != nil || len(body) > 900_000 {
		t.Errorf("%d bytes, %v, want less than a message of 1 MiB", len(body), err)
	}
	if all, truncated := cut(steps[:maxReported]); len(all) != maxReported || truncated {
		t.Errorf("a report that fits was cut to %d, %v", len(all), truncated)
	}
}

func TestASummaryTellsOutcomesApart(t *testing.T) {
	t.Parallel()
	a := []wire.Transition{{Revision: 1, Missed: true}}
	b := []wire.Transition{{Revision: 1, Missed: true, Observed: true}}
	if summary(a) == summary(b) || summary(a) != summary([]wire.Transition{a[0]}) {
		t.Error("want the same for the same outcome and another for another")
	}
}
