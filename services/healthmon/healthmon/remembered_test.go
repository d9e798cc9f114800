package healthmon

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
	"github.com/sluicehq/sluice/services/healthmon/internal/repair"
)

func remember(tb testing.TB, v any, stored time.Time) remembered {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return remembered{b, stored}
}

func TestIssuesThatCannotBeTrueAreNotRemembered(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	key := issueKey(check.Ref{Kind: wire.IssueStale, Name: "triage"})
	for _, tt := range []struct {
		what string
		harm func(h *heldIssue)
		ok   bool
	}{
		{"as it was written", func(*heldIssue) {}, true},
		{"of a monitor whose clock is off", func(h *heldIssue) { h.Issue.Since = now.Add(50 * time.Hour) }, true},
		{"tried", func(h *heldIssue) { h.Repair = repair.Entry{Attempts: 3, LastAt: now} }, true},
		{"of a later version", func(h *heldIssue) { h.Schema, h.UID = 9, "u" }, true},
		{"another subscription's", func(h *heldIssue) { h.Issue.Name = "other" }, false},
		{"another kind", func(h *heldIssue) { h.Issue.Kind = wire.IssueGap }, false},
		{"since ever", func(h *heldIssue) { h.Issue.Since = time.Time{} }, false},
		{"since 1970", func(h *heldIssue) { h.Issue.Since = time.Unix(0, 0) }, false},
		{"in 300 years", func(h *heldIssue) { h.Issue.Since = now.AddDate(300, 0, 0) }, false},
		{"tried less than never", func(h *heldIssue) { h.Repair.Attempts = -1 }, false},
		{"tried without end", func(h *heldIssue) { h.Repair = repair.Entry{Attempts: 1 << 30, LastAt: now} }, false},
		{"tried in 300 years", func(h *heldIssue) { h.Repair = repair.Entry{Attempts: 1, LastAt: now.AddDate(300, 0, 0)} }, false},
	} {
		h := heldIssue{Schema: 1, Issue: wire.Issue{Kind: wire.IssueStale, Name: "triage", Since: now.Add(-time.Hour)}}
		tt.harm(&h)
		if got, err := remember(t, h, now).issue(key); (err == nil) != tt.ok || err != nil && got.Issue.Kind != "" {
			t.Errorf("%s: %+v, %v", tt.what, got, err)
		}
	}
}

func TestStatusesThatCannotBeTrueAreNotRemembered(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		what string
		harm func(st *keptStatus)
		ok   bool
	}{
		{"as it was written", func(*keptStatus) {}, true},
		{"another's", func(st *keptStatus) { st.Name = "other" }, false},
		{"since ever", func(st *keptStatus) { st.Since = time.Time{} }, false},
		{"since 300 years from now", func(st *keptStatus) { st.Since = now.AddDate(300, 0, 0) }, false},
		{"looked at in 300 years", func(st *keptStatus) { st.CheckedAt = now.AddDate(300, 0, 0) }, false},
		{"less than no listeners", func(st *keptStatus) { st.Listeners = -1 }, false},
		{"less than no rate", func(st *keptStatus) { st.Rate = -1 }, false},
		{"a lag of less than nothing", func(st *keptStatus) { st.LagAge = -1 }, false},
		{"a wildcard's", func(st *keptStatus) { st.Owner = "*" }, false},
	} {
		st := keptStatus{SubscriptionHealth: wire.SubscriptionHealth{
			Name: "triage", Status: wire.StatusHealthy, Since: now, CheckedAt: now, Owner: "emitter-1",
		}}
		tt.harm(&st)
		if _, err := remember(t, st, now).status(subscriptionKey("triage")); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

func TestReportsThatCannotBeTrueAreNotHandedOut(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		what string
		harm func(r *wire.Report)
		ok   bool
	}{
		{"as it was written", func(*wire.Report) {}, true},
		{"another type", func(r *wire.Report) { r.Type = "x" }, false},
		{"nobody's", func(r *wire.Report) { r.Leader = "" }, false},
		{"less than no pools", func(r *wire.Report) { r.TotalPools = -1 }, false},
		{"in 300 years", func(r *wire.Report) { r.Timestamp = now.AddDate(300, 0, 0) }, false},
	} {
		r := wire.Report{Type: wire.ReportType, Status: wire.StatusHealthy, Leader: "h-1", Timestamp: now}
		tt.harm(&r)
		if err := remember(t, r, now).report(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
	if err := (remembered{[]byte(`{"type":`), now}).report(); err == nil {
		t.Error("half a report: no error")
	}
}

func FuzzRemembered(f *testing.F) {
	f.Add("issue.gaps.x", []byte(`{"schema":1,"issue":{"kind":"gaps","name":"x","since":"2026-11-26T12:00:00Z"},"repair":{"attempts":2}}`), int64(1_795_000_000))
	f.Add("subscription.x", []byte(`{"name":"x","status":"healthy","since":"2026-11-26T12:00:00Z","lag_age":"3s"}`), int64(0))
	f.Fuzz(func(t *testing.T, key string, value []byte, stored int64) {
		r := remembered{value, time.Unix(stored, 0)}
		if h, err := r.issue(key); err == nil && (h.Repair.Attempts < 0 || h.Repair.Attempts > maxAttempts) {
			t.Fatalf("%+v", h)
		}
		if st, err := r.status(key); err == nil && (!wire.ValidName(st.Name) || st.Listeners < 0 || st.LagAge < 0) {
			t.Fatalf("%+v", st)
		}
	})
}
