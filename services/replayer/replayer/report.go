package replayer

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/history"
)

// maxReported bounds the transitions of a report, which must fit a message of
// the server's default size.
const maxReported = 2000

// report publishes and stores what the run found and did. A repeated run that
// has nothing new to say is silent.
func (r *reconciler) report(ctx context.Context, w *work) error {
	steps := w.transitions()
	said := summary(steps)
	r.log.Info().Str("trigger", w.trigger).Uint64("from_revision", w.first).Uint64("to_revision", w.barrier).
		Int("transitions", len(steps)).Int("unobserved", w.unobserved()).
		Int64("duration_ms", time.Since(w.began).Milliseconds()).Msg("history reconciled")
	r.metrics.found(ctx, steps, r.told, w.unobserved())
	if w.trigger == moveRetry && said == r.said {
		return nil
	}
	rep := wire.ReconcileReport{
		Type: wire.ReconcileReportType, ID: nuid.Next(), Timestamp: time.Now().UTC(),
		Leader: r.instance, Trigger: w.trigger,
		FromRevision: w.first, ToRevision: w.barrier,
		DurationMS: time.Since(w.began).Milliseconds(),
		Total:      len(steps), Unobserved: w.unobserved(),
	}
	for _, t := range steps {
		if t.Missed {
			rep.Missed++
		}
		if t.Replayed {
			rep.Replayed++
		}
	}
	rep.Transitions, rep.Truncated = cut(steps)
	body, err := wire.Marshal(rep)
	if err == nil {
		err = r.nc.Publish(r.ns.ReconcileReport(), body)
	}
	if err != nil {
		return fmt.Errorf("publish report: %w", err)
	}
	if err := r.archive.saveReport(ctx, rep); err != nil {
		return err
	}
	r.said = said
	return nil
}

// transitions returns the steps of all chains in order of revision, with what
// became of them.
func (w *work) transitions() []wire.Transition {
	all := []wire.Transition{} // an empty list, not null
	for i, c := range w.chains {
		for j, t := range c.Steps {
			t.Missed = j >= w.atFirst[i]
			t.Replayed = t.Missed
			t.Observed = j < w.observed[i]
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b wire.Transition) int { return cmp.Compare(a.Revision, b.Revision) })
	return all
}

// cut returns at most maxReported of steps, the unobserved before the missed
// before the others, newer before older, in order of revision.
func cut(steps []wire.Transition) (kept []wire.Transition, truncated bool) {
	if len(steps) <= maxReported {
		return steps, false
	}
	rank := func(t wire.Transition) int {
		switch {
		case !t.Observed:
			return 0
		case t.Missed:
			return 1
		default:
			return 2
		}
	}
	kept = slices.Clone(steps)
	slices.SortFunc(kept, func(a, b wire.Transition) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Revision, a.Revision))
	})
	kept = kept[:maxReported]
	slices.SortFunc(kept, func(a, b wire.Transition) int { return cmp.Compare(a.Revision, b.Revision) })
	return kept, true
}

// summary tells two outcomes apart without keeping them.
func summary(steps []wire.Transition) string {
	h := fnv.New128a()
	for _, t := range steps {
		_, _ = fmt.Fprintln(h, t.Revision, t.Missed, t.Observed) // a hash takes everything
	}
	return string(h.Sum(nil))
}

// advise says what became of some transitions of one name.
func (r *reconciler) advise(what, detail string, c history.Chain, steps []wire.Transition) {
	kinds := make([]string, 0, len(steps))
	for _, t := range steps {
		kinds = append(kinds, t.Kind)
	}
	last := c.Last()
	r.advisor.Advise(what, c.Name, strings.Join(kinds, ", ")+": "+detail, map[string]any{
		"kinds": kinds, "uid": last.UID, "generation": last.Generation,
		"first_revision": steps[0].Revision, "last_revision": last.Revision,
	})
}
