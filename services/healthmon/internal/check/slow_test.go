package check

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// outrun is a world whose store grows by 5,000 events at each look, of which the
// pool reads 1,000.
func outrun(w *world, look int) {
	w.Pools[0].Next = Next{Behind: true, At: start}
	st := w.Stores["GITHUB"]
	st.Last = 200 + 5000*uint64(look)
	w.Stores["GITHUB"] = st
	w.status(func(s *wire.PoolStatus) {
		s.State, s.Position, s.Floor, s.Limit = wire.PoolCatchingUp, 100+1000*uint64(look), 100+1000*uint64(look), 16
	})
}

func TestReadingThatIsSlowerThanWritingIsAnIssueWhileTheSubscriberIsIdle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(w *world, look int)
		want string
	}{
		{"idle", func(*world, int) {}, "slow_reading triage"},
		{"idle, though live", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.State = wire.PoolLive }) }, "slow_reading triage"},
		{"idle with some at work", func(w *world, _ int) {
			w.status(func(s *wire.PoolStatus) { s.InFlight, s.Pending = 15, 15 })
		}, "slow_reading triage"},
		{"in flight at its limit", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.InFlight, s.Pending = 16, 1024 }) }, ""},
		{"one key after the other", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.InFlight, s.Pending = 1, 1024 }) }, ""},
		{"some are tried again", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.Retrying, s.Pending = 1, 1 }) }, ""},
		{"its lane is blocked", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.State = wire.PoolBlocked }) }, ""},
		{"paused", func(w *world, _ int) { w.rec().Paused = true }, ""},
		{"busy in between", func(w *world, look int) {
			if look == 3 {
				w.status(func(s *wire.PoolStatus) { s.InFlight, s.Pending = 16, 16 })
			}
		}, ""},
		{"nothing more is for it", func(w *world, _ int) { w.Pools[0].Next = Next{} }, ""},
		{"the backlog shrinks", func(w *world, look int) {
			w.status(func(s *wire.PoolStatus) { s.Position = 100 + 4000 + 5000*uint64(look) - 2*uint64(4-look) })
			st := w.Stores["GITHUB"]
			st.Last = 50_000
			w.Stores["GITHUB"] = st
		}, ""},
		{"by little", func(w *world, look int) {
			w.status(func(s *wire.PoolStatus) { s.Position = 100 + 4900*uint64(look) })
		}, ""},
		{"another owner", func(w *world, look int) {
			if look == 3 {
				w.pool().Epoch++
				w.status(func(s *wire.PoolStatus) { s.Epoch++ })
			}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			var res Result
			for look := range stallSteps + 1 {
				outrun(w, look)
				tt.edit(w, look)
				res = w.judge(cfg.StallAfter)
				if look < stallSteps && len(res.Issues) > 0 {
					t.Fatalf("at look %d: %s", look+1, show(res.Issues))
				}
			}
			if show(res.Issues) != tt.want {
				t.Errorf("issues = %q, want %q", show(res.Issues), tt.want)
			}
		})
	}
}

func TestSlowReadingIsAnIssueUntilTheBacklogShrinks(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for look := range 10 {
		outrun(w, look)
		w.judge(cfg.StallAfter / 2)
	}
	issue, ok := w.mem.Issues[Ref{wire.IssueSlowReading, "triage"}]
	if !ok {
		t.Fatal("no issue")
	}
	held := issue.Issue
	if held.Evidence["written_per_second"].(uint64) <= held.Evidence["read_per_second"].(uint64) {
		t.Fatalf("issue = %+v", held)
	}
	statuses, answered := w.Statuses, w.Answered
	w.Statuses, w.Answered = nil, nil
	if res := w.judge(time.Second); show(res.Issues) != "slow_reading triage" {
		t.Errorf("while the owner is silent: %q", show(res.Issues))
	}
	w.Statuses, w.Answered = statuses, answered
	w.status(func(s *wire.PoolStatus) { s.Position += 20_000 })
	if res := w.judge(cfg.StallAfter); show(res.Issues) != "" || res.Status != wire.StatusHealthy {
		t.Errorf("once it shrinks: %q", show(res.Issues))
	}
}
