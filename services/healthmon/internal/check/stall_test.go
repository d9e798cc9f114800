package check

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// stuck is a world whose pool has work and does not move.
func stuck() *world {
	w := newWorld()
	w.Pools[0].Next = Next{Behind: true, At: start}
	return w
}

// judgeAsAsked sweeps when the result before asks for it, until want holds of a
// result, and returns that and how many sweeps it took.
func (w *world) judgeAsAsked(t *testing.T, want func(Result) bool) (res Result, looks int) {
	t.Helper()
	res = w.judge(0)
	for looks = 1; !want(res); looks++ {
		if res.Recheck <= 0 || looks > 20 {
			t.Fatalf("look %d: issues %+v, recheck %s", looks, res.Issues, res.Recheck)
		}
		res = w.judge(res.Recheck)
	}
	return res, looks
}

func stalledAndRepaired(r Result) bool {
	return show(r.Issues) == "stalled_pools triage" && r.Issues[0].Repair == "restart_pool"
}

func TestAStallTakesSeveralLooksHoweverLongTheyAreApart(t *testing.T) {
	t.Parallel()
	w := stuck()
	for n := range stallSteps { // as if monitor or emitter got no processor time for a minute
		if res := w.judge(time.Minute); len(res.Issues) != 0 {
			t.Fatalf("look %d: issues %+v, want none", n+1, res.Issues)
		}
	}
	res := w.judge(time.Minute)
	if !stalledAndRepaired(res) || res.Issues[0].Evidence["looks"] != stallSteps+1 || !res.Issues[0].Since.Equal(start.Add(time.Minute)) {
		t.Errorf("issues = %+v, want a stall since the first look", res.Issues)
	}
	if res, looks := stuck().judgeAsAsked(t, stalledAndRepaired); looks != stallSteps+1 {
		t.Errorf("%d looks, want %d: %+v", looks, stallSteps+1, res.Issues)
	}
	w = stuck()
	for n := range 100 { // asked for one after the other
		if res := w.judge(cfg.StallAfter / 200); len(res.Issues) != 0 {
			t.Fatalf("look %d: issues %+v, want none before %s", n+1, res.Issues, cfg.StallAfter)
		}
	}
}

func TestAStallIsNotSeenWhereSomethingExplainsIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		world func(w *world, sweep int)
		want  bool
	}{
		{"nothing explains it", func(*world, int) {}, true},
		{"pending but nothing moves", func(w *world, _ int) {
			w.Pools[0].Next = Next{}
			w.status(func(s *wire.PoolStatus) { s.Pending = 3 })
		}, true},
		{"the end of the store was deleted", func(w *world, _ int) { w.Pools[0].Next = Next{} }, false},
		{"the position moves", func(w *world, n int) { w.status(func(s *wire.PoolStatus) { s.Position = uint64(n) }) }, false},
		{"deliveries are tried", func(w *world, n int) { w.status(func(s *wire.PoolStatus) { s.Delivered = uint64(n) }) }, false},
		{"a subscriber says it works on it", func(w *world, n int) {
			at := start.Add(time.Duration(n) * time.Second)
			w.status(func(s *wire.PoolStatus) { s.InFlight, s.ExtendedAt = 1, &at })
		}, false},
		{"backoff", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.Retrying = 1 }) }, false},
		{"events on their way to the parked stream", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.Parking, s.Pending = 2, 2 }) }, false},
		{"the store has not reached the start", func(w *world, _ int) {
			w.Pools[0].Next = Next{}
			w.status(func(s *wire.PoolStatus) { s.State, s.Pending = wire.PoolNotBegun, 1 })
		}, false},
		{"the store has reached the start long ago, whatever the pool says", func(w *world, _ int) {
			w.status(func(s *wire.PoolStatus) { s.State = wire.PoolNotBegun })
		}, true},
		{"every reader is in use", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.State = wire.PoolNoReader }) }, false},
		{"the floor moves", func(w *world, n int) { w.status(func(s *wire.PoolStatus) { s.Floor = uint64(n) }) }, false},
		{"only the checkpoint in the entry moves", func(w *world, n int) { w.pool().Checkpoint.Floor = uint64(n) }, true},
		{"breaker", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.Breaker = "open" }) }, false},
		{"a breaker that should have probed long ago", func(w *world, _ int) {
			w.rec().Spec.Breaker.OpenFor = wire.Duration(time.Second)
			w.status(func(s *wire.PoolStatus) { s.Breaker = "open" })
		}, true},
		{"a breaker with nobody to probe", func(w *world, _ int) {
			w.rec().Spec.Breaker.OpenFor = wire.Duration(time.Second)
			w.Listeners["triage.issues"] = Listeners{Known: true}
			w.status(func(s *wire.PoolStatus) { s.Breaker = "open" })
		}, false},
		{"nobody listens", func(w *world, _ int) {
			w.Listeners["triage.issues"] = Listeners{Known: true}
			w.status(func(s *wire.PoolStatus) { s.State = wire.PoolWaiting })
		}, false},
		{"nobody listens, as far as is known", func(w *world, _ int) {
			w.Listeners["triage.issues"] = Listeners{}
			w.status(func(s *wire.PoolStatus) { s.State = wire.PoolWaiting })
		}, false},
		{"the pool says that nobody listens, and somebody does", func(w *world, _ int) {
			w.status(func(s *wire.PoolStatus) { s.State = wire.PoolWaiting })
		}, true},
		{"when the next event was stored is not known", func(w *world, _ int) {
			w.Pools[0].Next = Next{Behind: true, Sequence: 101, Fault: "timeout"}
		}, true},
		{"a reader that is opened anew again and again, catching up", func(w *world, n int) {
			w.status(func(s *wire.PoolStatus) { s.State, s.Reopened = wire.PoolCatchingUp, n+1 })
		}, true},
		{"the same, while deliveries are tried again", func(w *world, n int) {
			w.status(func(s *wire.PoolStatus) { s.Reopened, s.Retrying, s.Delivered = n+1, 1, uint64(n) })
		}, true},
		{"the same, while nobody listens", func(w *world, n int) {
			w.Listeners["triage.issues"] = Listeners{Known: true}
			w.status(func(s *wire.PoolStatus) { s.State, s.Reopened = wire.PoolWaiting, n+1 })
		}, true},
		{"a reader that is opened anew at the end of its store", func(w *world, n int) {
			w.Pools[0].Next = Next{}
			w.status(func(s *wire.PoolStatus) { s.State, s.Reopened = wire.PoolCatchingUp, n+1 })
		}, false},
		{"a reader that is opened anew and gets on", func(w *world, n int) {
			w.status(func(s *wire.PoolStatus) { s.State, s.Reopened, s.Position = wire.PoolCatchingUp, 1, uint64(n) })
		}, false},
		{"a store that cannot be read", func(w *world, n int) {
			w.status(func(s *wire.PoolStatus) { s.Reopened, s.Unreadable = n+1, "maximum consumers limit reached" })
		}, false},
		{"blocked by choice", func(w *world, _ int) { w.status(func(s *wire.PoolStatus) { s.State = wire.PoolBlocked }) }, false},
		{"paused", func(w *world, _ int) { w.rec().Paused = true }, false},
		{"a new epoch at each sweep", func(w *world, n int) {
			w.pool().Epoch = uint64(n)
			w.status(func(s *wire.PoolStatus) { s.Epoch = uint64(n) })
		}, false},
		{"unanswered within ack_wait", func(w *world, _ int) {
			w.rec().Spec.AckWait = wire.Duration(time.Hour)
			w.status(func(s *wire.PoolStatus) { s.InFlight = 1 })
		}, false},
		{"unanswered for far longer than ack_wait", func(w *world, _ int) {
			w.status(func(s *wire.PoolStatus) { s.InFlight = 1 })
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.Pools[0].Next = Next{Behind: true, At: start}
			var res Result
			for n := range 10 {
				tt.world(w, n)
				res = w.judge(4 * time.Second)
			}
			if got := strings.Contains(show(res.Issues), wire.IssueStalledPool); got != tt.want {
				t.Errorf("stalled = %v, want %v; issues %+v", got, tt.want, res.Issues)
			}
		})
	}
}

func TestWorkAfterALongIdleTimeIsNoStall(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.judge(0)
	w.judge(time.Hour)
	w.Pools[0].Next = Next{Behind: true, At: start}
	if res := w.judge(time.Hour); len(res.Issues) != 0 && strings.Contains(show(res.Issues), wire.IssueStalledPool) {
		t.Errorf("issues = %+v, want no stall at the first sight of work", res.Issues)
	}
}

func TestAPoolThatWaitsForAReaderForLongLags(t *testing.T) {
	t.Parallel()
	w := stuck()
	w.status(func(s *wire.PoolStatus) { s.State = wire.PoolNoReader })
	if res := w.judge(time.Minute); len(res.Issues) != 0 {
		t.Errorf("issues = %+v after a minute, want none", res.Issues)
	}
	for range 5 {
		w.judge(2 * time.Minute)
	}
	if res := w.judge(0); show(res.Issues) != "lagging_pools triage" || res.Statuses[0].State != "waiting_for_reader" {
		t.Errorf("issues = %+v, want it to lag and not to be stalled", res.Issues)
	}
}

func TestAStallThatARestartDoesNotCureLastsAndIsWatchedAnew(t *testing.T) {
	t.Parallel()
	w := stuck()
	first, _ := w.judgeAsAsked(t, stalledAndRepaired)
	w.pool().Epoch = 9
	w.status(func(s *wire.PoolStatus) { s.Epoch = 9 })
	res := w.judge(time.Second)
	if show(res.Issues) != "stalled_pools triage" || len(res.Raised)+len(res.Cleared) != 0 || res.Issues[0].Repair != "" {
		t.Fatalf("after the restart: %+v, want the issue, without a repair for now", res.Issues)
	}
	again, looks := w.judgeAsAsked(t, stalledAndRepaired)
	if looks != stallSteps+1 || !again.Issues[0].Since.Equal(first.Issues[0].Since) {
		t.Errorf("after %d looks: %+v, want %d and the same since", looks, again.Issues, stallSteps+1)
	}
	w.status(func(s *wire.PoolStatus) { s.Position++ })
	if res := w.judge(time.Second); len(res.Issues) != 0 {
		t.Errorf("issues = %+v once it moves, want none", res.Issues)
	}
}

func TestANewLeaderJudgesAStallByItsEvidence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		move func(*wire.PoolStatus)
		want string
	}{
		{"nothing moved", func(*wire.PoolStatus) {}, "stalled_pools triage"},
		{"position", func(s *wire.PoolStatus) { s.Position++ }, ""},
		{"floor", func(s *wire.PoolStatus) { s.Floor++ }, ""},
		{"deliveries", func(s *wire.PoolStatus) { s.Delivered++ }, ""},
		{"finished", func(s *wire.PoolStatus) { s.Finished++ }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := stuck()
			w.judgeAsAsked(t, stalledAndRepaired)
			w.mem = readBack(t, w.mem)
			w.status(tt.move)
			res := w.judge(time.Second)
			if show(res.Issues) != tt.want || len(res.Raised) != 0 {
				t.Fatalf("issues = %+v, want %q", res.Issues, tt.want)
			}
			if len(res.Issues) > 0 && res.Issues[0].Repair != "" {
				t.Errorf("repair = %q at the first look, want none", res.Issues[0].Repair)
			}
		})
	}
}

func TestNothingIsDoneAboutAStallWhileItsOwnerIsSilent(t *testing.T) {
	t.Parallel()
	w := stuck()
	w.judgeAsAsked(t, stalledAndRepaired)
	w.Statuses, w.Answered = nil, nil
	if res := w.judge(time.Second); show(res.Issues) != "stalled_pools triage" || res.Issues[0].Repair != "" {
		t.Errorf("issues = %+v, want the stall, without a repair", res.Issues)
	}
}

// readBack is what a new leader finds of what another remembered.
func readBack(t *testing.T, mem Memory) Memory {
	t.Helper()
	out := Memory{Issues: map[Ref]Held{}, Statuses: mem.Statuses}
	for ref, h := range mem.Issues {
		b, err := json.Marshal(h.Issue)
		if err != nil {
			t.Fatal(err)
		}
		now := Held{UID: h.UID}
		if err := json.Unmarshal(b, &now.Issue); err != nil {
			t.Fatal(err)
		}
		out.Issues[ref] = now
	}
	return out
}

// A pool whose reader hangs may still try deliveries: only its position says that
// it reads again.
func TestAReaderThatHangsHasMovedOnlyWhenItsPositionHas(t *testing.T) {
	t.Parallel()
	w := stuck()
	w.status(func(s *wire.PoolStatus) { s.Reopened, s.Retrying = 4, 1 })
	res, _ := w.judgeAsAsked(t, stalledAndRepaired)
	st := w.Statuses["triage"]
	st.Delivered++
	ev := res.Issues[0].Evidence
	if Moved(ev, st) {
		t.Errorf("moved by a delivery, evidence %v", ev)
	}
	st.Position++
	if !Moved(ev, st) {
		t.Errorf("not moved although the position has, evidence %v", ev)
	}
}
