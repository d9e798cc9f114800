package healthmon

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// Bounds of what is told and kept of one sweep.
const (
	// tellMost is how many issues of a kind a sweep tells one by one; of the others
	// it tells how many there are. A report has them.
	tellMost = 256
	// refreshAfter is how old the numbers of a kept status may become beside a word
	// that stays, and refreshMost how many are written for that in a sweep. Whoever
	// asks gets those of the last sweep, from the leader.
	refreshAfter = time.Hour
	refreshMost  = 1000
)

// tell publishes what came and went.
func (m *monitor) tell(res check.Result) {
	m.tellSome(wire.AdvIssueRaised, res.Raised, func(i wire.Issue) {
		m.log.Warn().Str("kind", i.Kind).Str("name", i.Name).Str("detail", i.Detail).Msg("issue raised")
		m.advisor.Advise(wire.AdvIssueRaised, i.Name, i.Detail, map[string]any{"kind": i.Kind, "evidence": i.Evidence})
	})
	m.tellSome(wire.AdvIssueCleared, res.Cleared, func(i wire.Issue) {
		m.log.Info().Str("kind", i.Kind).Str("name", i.Name).Msg("issue cleared")
		m.advisor.Advise(wire.AdvIssueCleared, i.Name, i.Detail, map[string]any{"kind": i.Kind, "since": i.Since})
	})
	for _, i := range res.Cleared {
		m.book.Forget(check.Ref{Kind: i.Kind, Name: i.Name})
	}
	for ref, h := range res.Memory.Issues {
		if was, ok := m.mem.Issues[ref]; ok && !was.Issue.Since.Equal(h.Issue.Since) {
			m.book.Forget(ref) // it had ended in between
		}
	}
}

// tellSome tells the first tellMost issues of each kind one by one, and how many
// there are beyond.
func (m *monitor) tellSome(what string, issues []wire.Issue, one func(wire.Issue)) {
	count := map[string]int{}
	for _, i := range issues {
		if count[i.Kind]++; count[i.Kind] <= tellMost {
			one(i)
		}
	}
	for kind, n := range count {
		if more := n - tellMost; more > 0 {
			detail := fmt.Sprintf("%d more issues of the kind %s than are told one by one", more, kind)
			m.log.Warn().Str("advisory", what).Str("kind", kind).Int("count", more).Msg("more issues than are told one by one")
			m.advisor.Advise(what, wire.ServiceHealthmon, detail, map[string]any{"kind": kind, "count": more})
		}
	}
}

// keepIssues brings the issues in KV to what mem and the book say.
func (m *monitor) keepIssues(ctx context.Context, mem check.Memory) error {
	err := m.kept.write(ctx, func(yield func(change) bool) {
		for ref, h := range mem.Issues {
			if c, changed := m.issueChange(ref, h); changed && !yield(c) {
				return
			}
		}
		for ref := range m.kept.issues {
			if _, ok := mem.Issues[ref]; ok {
				continue
			}
			if !yield(change{key: issueKey(ref), done: func() { delete(m.kept.issues, ref) }}) {
				return
			}
		}
	})
	if err != nil {
		return fmt.Errorf("keep issues: %w", err)
	}
	return nil
}

// keepIssue writes one issue, if what matters of it has changed.
func (m *monitor) keepIssue(ctx context.Context, ref check.Ref, h check.Held) error {
	c, changed := m.issueChange(ref, h)
	if !changed {
		return nil
	}
	if err := m.kept.write(ctx, slices.Values([]change{c})); err != nil {
		return fmt.Errorf("keep issue: %w", err)
	}
	return nil
}

// issueChange is what has to be written of an issue, if what matters of it has changed.
func (m *monitor) issueChange(ref check.Ref, h check.Held) (c change, changed bool) {
	was, ok := m.kept.issues[ref]
	now := heldIssue{Schema: issueSchema, UID: h.UID, Issue: h.Issue, Repair: m.book.Entry(ref)}
	if ok && was.UID == now.UID && was.Issue.Since.Equal(now.Issue.Since) && was.Repair == now.Repair &&
		was.Issue.NeedsPerson == now.Issue.NeedsPerson {
		return change{}, false
	}
	return change{key: issueKey(ref), value: now, done: func() { m.kept.issues[ref] = now }}, true
}

// keepStatuses brings the statuses in KV to what they say, and publishes those
// whose word changed.
func (m *monitor) keepStatuses(ctx context.Context, statuses []wire.SubscriptionHealth) error {
	if err := m.kept.write(ctx, m.statusChanges(statuses)); err != nil {
		return fmt.Errorf("keep statuses: %w", err)
	}
	return nil
}

// statusChanges are the statuses that are to be written, and removed.
func (m *monitor) statusChanges(statuses []wire.SubscriptionHealth) iter.Seq[change] {
	there, refresh := make(map[string]bool, len(statuses)), refreshMost
	return func(yield func(change) bool) {
		for _, st := range statuses {
			there[st.Name] = true
			was, ok := m.kept.statuses[st.Name]
			now := keptStatus{UID: m.uids[st.Name], SubscriptionHealth: st}
			switch {
			case !ok || was.UID != now.UID || saysElse(was.SubscriptionHealth, st):
			case refresh > 0 && st.CheckedAt.Sub(was.CheckedAt) >= refreshAfter && differs(was.SubscriptionHealth, st):
				refresh--
			default:
				continue
			}
			c := change{key: subscriptionKey(st.Name), value: now, done: func() {
				m.kept.statuses[st.Name] = now
				if !ok || was.Status != st.Status {
					m.publishStatus(st)
				}
			}}
			if !yield(c) {
				return
			}
		}
		for name := range m.kept.statuses {
			if there[name] {
				continue
			}
			if !yield(change{key: subscriptionKey(name), done: func() { delete(m.kept.statuses, name) }}) {
				return
			}
		}
	}
}

func (m *monitor) publishStatus(st wire.SubscriptionHealth) {
	body, err := wire.Marshal(st)
	if err == nil {
		err = m.src.nc.Publish(m.ns.HealthSubscription(st.Name), body)
	}
	if err != nil {
		m.log.Warn().Err(err).Str("subscription", st.Name).Msg("status not published")
	}
}

// saysElse reports whether a status has another word, other issues for it, or has
// come to an owner or lost all. The rest is in every report, or for the leader to tell.
func saysElse(was, now wire.SubscriptionHealth) bool {
	return was.Status != now.Status || (was.State == wire.StateUnclaimed) != (now.State == wire.StateUnclaimed) ||
		!slices.EqualFunc(was.Reasons, now.Reasons, sameKind)
}

// sameKind reports whether two reasons are of the same kind of issue.
func sameKind(a, b string) bool {
	kind, _, _ := strings.Cut(a, ":")
	other, _, _ := strings.Cut(b, ":")
	return kind == other
}

// differs reports whether a status has changed in anything that matters, or a number
// of it by more than a tenth.
func differs(was, now wire.SubscriptionHealth) bool {
	if was.State != now.State || was.Owner != now.Owner || was.Epoch != now.Epoch ||
		was.Parked != now.Parked || was.Listeners != now.Listeners || !slices.Equal(was.Reasons, now.Reasons) {
		return true
	}
	return moved(float64(was.Lag), float64(now.Lag)) || moved(was.Rate, now.Rate) ||
		moved(was.LagAge.Std().Seconds(), now.LagAge.Std().Seconds())
}

// moved reports whether a number went to or from zero or by more than a tenth.
func moved(was, now float64) bool {
	return (was == 0) != (now == 0) || math.Abs(now-was) > math.Max(was, now)/10
}
