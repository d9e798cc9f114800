package replayer

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestWhatCannotBeTrueInTheReplaysBucketIsNotBelieved(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		what string
		harm func(p *position, r *wire.ReconcileReport)
		ok   bool
	}{
		{"as it was written", func(*position, *wire.ReconcileReport) {}, true},
		{"by a clock that is off", func(p *position, r *wire.ReconcileReport) {
			p.At, r.Timestamp = now.Add(50*time.Hour), now.Add(-50*time.Hour)
		}, true},
		{"revisions at the end of numbers", func(p *position, r *wire.ReconcileReport) { p.Revision, r.ToRevision = 1<<64-1, 1<<64-1 }, false},
		{"in 300 years", func(p *position, r *wire.ReconcileReport) {
			p.At, r.Timestamp = now.AddDate(300, 0, 0), now.AddDate(300, 0, 0)
		}, false},
		{"never", func(p *position, r *wire.ReconcileReport) { p.At, r.Timestamp = time.Time{}, time.Time{} }, false},
		{"a wildcard's, backwards", func(p *position, r *wire.ReconcileReport) { p.Leader, r.FromRevision = "*", 100 }, false},
		{"below nothing", func(p *position, r *wire.ReconcileReport) { p.Schema, r.Missed = -1, -1 }, false},
		{"beyond all counts", func(p *position, r *wire.ReconcileReport) { p.Epoch, r.Unobserved = 1<<60, 8 }, false},
	} {
		p := position{Schema: 1, Revision: 9, Leader: "r-1", Epoch: 4, At: now}
		r := wire.ReconcileReport{Type: wire.ReconcileReportType, Timestamp: now, FromRevision: 3, ToRevision: 9, Total: 7, Missed: 2}
		tt.harm(&p, &r)
		got, err := decodePosition(encoded(t, p), now)
		if (err == nil) != tt.ok || err != nil && got != (position{}) {
			t.Errorf("position, %s: %+v, %v", tt.what, got, err)
		}
		if _, err := decodeReport(encoded(t, r), now); (err == nil) != tt.ok {
			t.Errorf("report, %s: %v", tt.what, err)
		}
	}
	half := `{"schema":1,"revision":9000,"leader":"r-1","at":"2026-11-26T12:00:00Z","epoch":"x"}`
	if got, err := decodePosition([]byte(half), now); err == nil || got.Revision != 0 {
		t.Errorf("half a position: %+v, %v", got, err)
	}
}

func encoded(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func FuzzReplays(f *testing.F) {
	f.Add([]byte(`{"schema":1,"revision":9,"leader":"r-1","at":"2026-11-26T12:00:00Z"}`), int64(1_795_000_000))
	f.Add([]byte(`{"type":"`+wire.ReconcileReportType+`","timestamp":"2026-11-26T12:00:00Z","total":3}`), int64(0))
	f.Fuzz(func(t *testing.T, value []byte, stored int64) {
		if p, err := decodePosition(value, time.Unix(stored, 0)); err == nil && (p.Revision > wire.MaxRevision || !wire.ValidName(p.Leader)) {
			t.Fatalf("%+v", p)
		}
		if r, err := decodeReport(value, time.Unix(stored, 0)); err == nil && (r.Missed < 0 || r.Missed > r.Total || len(r.Transitions) > r.Total) {
			t.Fatalf("%+v", r)
		}
	})
}
