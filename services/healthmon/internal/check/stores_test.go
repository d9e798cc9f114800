package check

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

const endsEarly = "the store ends before the checkpoint: it lost events"

// twoPools is a world with a second subscription to the same store.
func twoPools() *world {
	w := newWorld()
	rec, pool := *w.rec(), *w.pool()
	rec.Name, rec.UID, pool.Name, pool.UID = "well", "u9", "well", "u9"
	w.Records = append(w.Records, Record{Entry: Entry{Key: "well"}, Record: &rec})
	w.Pools = append(w.Pools, Pool{Entry: Entry{Key: "well"}, Pool: &pool})
	st := w.Statuses["triage"]
	st.Name, st.UID = "well", "u9"
	w.Statuses["well"], w.Answered["well"] = st, "emitter-1"
	return w
}

func TestAStoreThatIsLostToItsPoolIsAnIssue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		lose func(w *world)
	}{
		{"as the owner says now", func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.State, s.Reason = wire.PoolStoreLost, endsEarly })
		}},
		{"as a silent owner wrote last", func(w *world) {
			delete(w.Statuses, "triage")
			delete(w.Answered, "triage")
			w.pool().State, w.pool().Reason = wire.PoolStoreLost, endsEarly
		}},
		{"and the store cannot be asked", func(w *world) {
			w.Stores["GITHUB"] = Store{Reason: "timeout"}
			w.status(func(s *wire.PoolStatus) { s.State, s.Reason = wire.PoolStoreLost, endsEarly })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := twoPools()
			w.judge(0)
			tt.lose(w)
			res := w.judge(time.Second)
			if show(res.Issues) != "lost_stores GITHUB" || res.Status != wire.StatusFailing || res.Issues[0].Detail != endsEarly {
				t.Fatalf("issues = %+v, status %s, want the store lost for the pool's reason", res.Issues, res.Status)
			}
			ev := res.Issues[0].Evidence
			if fmt.Sprint(ev["subscriptions"], ev["reasons"]) != "[triage] map[triage:"+endsEarly+"]" {
				t.Errorf("evidence = %v", ev)
			}
			lost, well := res.Statuses[0], res.Statuses[1]
			if lost.Status != wire.StatusFailing || lost.State != "store_lost" || len(lost.Reasons) != 1 || !strings.Contains(lost.Reasons[0], endsEarly) {
				t.Errorf("status = %+v, want failing, with the reason", lost)
			}
			if well.Status != wire.StatusHealthy {
				t.Errorf("status of the other subscription = %+v, want healthy", well)
			}
			again := twoPools()
			again.At, again.mem = w.At, w.mem
			if res := again.judge(time.Second); len(res.Issues) != 0 {
				t.Errorf("once the pool reads again: %+v, want none", res.Issues)
			}
		})
	}
}

func TestWhatAnOwnerSaysNowCountsMoreThanWhatItWrote(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.pool().State, w.pool().Reason = wire.PoolStoreLost, endsEarly
	if res := w.judge(0); len(res.Issues) != 0 {
		t.Errorf("issues = %+v, want none: the owner says that the pool is live", res.Issues)
	}
}
