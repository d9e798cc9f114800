package repair

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ref    = check.Ref{Kind: wire.IssueMissingPool, Name: "triage"}
	limits = Limits{MaxAttempts: 3, Delay: 5 * time.Second}
)

// sweep asks and tries as the monitor does, and says what it did.
func sweep(b *Book) string {
	switch v, left := b.Ask(ref, time.Now()); v {
	case Go:
		return fmt.Sprintf("attempt %d", b.Tried(ref, time.Now(), "done"))
	case Wait:
		return "wait " + left.String()
	case GiveUp:
		return "give up"
	default:
		return "given up"
	}
}

// Defect 4 of the ancestor: the number of attempts was thrown away, so its
// limit never bit.
func TestAncestorDefect4AttemptsCountAndStopAtTheLimit(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		b := NewBook(limits, nil)
		for i, want := range []string{
			"attempt 1", "wait 3s", "wait 1s", "attempt 2", "wait 3s", "wait 1s", "attempt 3", "wait 3s", "wait 1s",
			"give up", "given up", "given up",
		} {
			if got := sweep(b); got != want {
				t.Errorf("sweep %d: %s, want %s", i, got, want)
			}
			<-time.After(2 * time.Second) // in the bubble
		}
		b.Forget(ref) // the issue cleared
		if got := sweep(b); got != "attempt 1" {
			t.Errorf("when the issue comes again: %s, want attempt 1", got)
		}
	})
}

func TestAttemptsAreCountedByIssue(t *testing.T) {
	t.Parallel()
	b := NewBook(Limits{MaxAttempts: 1, Delay: time.Hour}, nil)
	now := time.Now()
	b.Tried(ref, now, "failed")
	other := check.Ref{Kind: wire.IssueOrphanedPool, Name: ref.Name}
	if v, _ := b.Ask(other, now); v != Go {
		t.Errorf("another kind of issue of the same name: %v, want Go", v)
	}
}

func TestABookThatIsReadBackGoesOnCounting(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		old := NewBook(limits, nil)
		sweep(old)
		<-time.After(limits.Delay) // in the bubble
		sweep(old)
		b := NewBook(limits, map[check.Ref]Entry{ref: old.Entry(ref)})
		if got := sweep(b); got != "wait 5s" {
			t.Errorf("at once: %s, want wait 5s", got)
		}
		<-time.After(limits.Delay) // in the bubble
		if got := sweep(b); got != "attempt 3" {
			t.Errorf("after the delay: %s, want attempt 3", got)
		}
		<-time.After(limits.Delay) // in the bubble
		sweep(b)
		b = NewBook(limits, map[check.Ref]Entry{ref: b.Entry(ref)})
		if got := sweep(b); got != "given up" {
			t.Errorf("read back after giving up: %s, want given up, and not said again", got)
		}
	})
}

func TestAClockThatWentBackDoesNotStretchTheDelay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := NewBook(limits, map[check.Ref]Entry{ref: {Attempts: 1, LastAt: now.Add(time.Hour)}})
	if v, left := b.Ask(ref, now); v != Wait || left != limits.Delay {
		t.Errorf("Ask = %v, %s, want Wait, %s", v, left, limits.Delay)
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		issue wire.Issue
		facts Facts
		want  string
	}{
		{"expired", wire.Issue{Kind: wire.IssueStale, Repair: RemoveSubscription}, Facts{Expired: true}, RemoveSubscription},
		{"not yet expired", wire.Issue{Kind: wire.IssueStale, Repair: RemoveSubscription}, Facts{ByHand: true}, ""},
		{"durable", wire.Issue{Kind: wire.IssueStale}, Facts{Durable: true, Expired: true, ByHand: true}, ""},
		{"orphan", wire.Issue{Kind: wire.IssueOrphanedPool, Repair: RemovePool}, Facts{}, RemovePool},
		{"orphan that vanished", wire.Issue{Kind: wire.IssueOrphanedPool}, Facts{}, ""},
		{"missing", wire.Issue{Kind: wire.IssueMissingPool, Repair: StartPool}, Facts{Emitters: 1}, StartPool},
		{"missing and nobody to ask", wire.Issue{Kind: wire.IssueMissingPool, Repair: StartPool}, Facts{ByHand: true}, ""},
		{"unobserved", wire.Issue{Kind: wire.IssueUnobservedChange, Repair: ReconcilePool}, Facts{Emitters: 1}, ReconcilePool},
		{"stalled", wire.Issue{Kind: wire.IssueStalledPool, Repair: RestartPool, Evidence: map[string]any{"in_flight": 0}}, Facts{}, RestartPool},
		{"stalled, and restarted a moment ago", wire.Issue{Kind: wire.IssueStalledPool, Evidence: map[string]any{"in_flight": 0}}, Facts{}, ""},
		{"the same, by a person", wire.Issue{Kind: wire.IssueStalledPool, Evidence: map[string]any{"in_flight": 0}}, Facts{ByHand: true}, RestartPool},
		{"stalled with deliveries out", wire.Issue{Kind: wire.IssueStalledPool, Evidence: map[string]any{"in_flight": 2}}, Facts{}, ""},
		{"the same, by hand", wire.Issue{Kind: wire.IssueStalledPool, Evidence: map[string]any{"in_flight": 2}}, Facts{ByHand: true}, RestartPool},
		{"corrupt", wire.Issue{Kind: wire.IssueCorruptRecord, Repair: QuarantineRecord}, Facts{}, QuarantineRecord},
		{"of a later version", wire.Issue{Kind: wire.IssueCorruptRecord}, Facts{ByHand: true}, ""},
		{"lost store", wire.Issue{Kind: wire.IssueLostStore}, Facts{ByHand: true}, ""},
		{"parked", wire.Issue{Kind: wire.IssueParkedEvents}, Facts{ByHand: true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, reason := Plan(tt.issue, tt.facts)
			if got != tt.want || (got == "") != (reason != "") {
				t.Errorf("Plan = %q, %q, want %q, and a reason only where there is none", got, reason, tt.want)
			}
		})
	}
}

// A durable subscription is never removed by the monitor, whatever is asked.
func TestNoPlanRemovesADurableSubscription(t *testing.T) {
	t.Parallel()
	for _, kind := range check.Kinds() {
		for bits := range 8 {
			f := Facts{Durable: true, Expired: bits&1 > 0, ByHand: bits&2 > 0, Emitters: bits & 4}
			for _, offered := range []string{"", StartPool, RemovePool} {
				if got, _ := Plan(wire.Issue{Kind: kind, Repair: offered}, f); got == RemoveSubscription {
					t.Errorf("Plan(%s, %+v) = %s", kind, f, got)
				}
			}
		}
	}
}
