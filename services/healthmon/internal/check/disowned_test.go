package check

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// disowned is a world whose emitter answers, and does not list the pool that
// its entry gives to it.
func disowned() *world {
	w := newWorld()
	w.judge(0)
	w.Statuses = nil
	return w
}

func TestAPoolThatItsOwnerDoesNotListIsMissing(t *testing.T) {
	t.Parallel()
	w := disowned()
	if res := w.judge(time.Second); len(res.Issues) != 0 || res.Recheck != cfg.Grace {
		t.Fatalf("at once: issues %+v, recheck %s, want none and %s", res.Issues, res.Recheck, cfg.Grace)
	}
	res := w.judge(cfg.Grace)
	if show(res.Issues) != "missing_pools triage" || res.Issues[0].Repair != "restart_pool" || res.Status != wire.StatusFailing {
		t.Fatalf("after the grace: %+v, want it missing, with a restart", res.Issues)
	}
	if ev := res.Issues[0].Evidence; ev["owner"] != "emitter-1" || ev["listed"] != false {
		t.Errorf("evidence = %v", ev)
	}
	w.Answered = nil // silent from now on
	if res := w.judge(time.Minute); show(res.Issues) != "missing_pools triage" || res.Issues[0].Repair != "" {
		t.Errorf("while it is silent: %+v, want what is known, and no repair", res.Issues)
	}
	well := newWorld()
	well.At, well.mem = w.At, w.mem
	if res := well.judge(time.Second); len(res.Issues) != 0 {
		t.Errorf("once it is listed: %+v, want none", res.Issues)
	}
}

func TestAnOwnerThatIsSilentDisownsNothing(t *testing.T) {
	t.Parallel()
	w := disowned()
	w.Answered = nil
	for range 3 {
		if res := w.judge(time.Minute); len(res.Issues) != 0 {
			t.Fatalf("issues = %+v, want none", res.Issues)
		}
	}
}

// A claim that has been made and is not yet listed is no evidence against the
// claim before it.
func TestEachClaimHasItsOwnGrace(t *testing.T) {
	t.Parallel()
	w := disowned()
	for n := range uint64(4) {
		w.pool().Epoch = 10 + n
		if res := w.judge(cfg.Grace - 1); len(res.Issues) != 0 {
			t.Fatalf("look %d: %+v, want none", n, res.Issues)
		}
	}
	w.judge(cfg.Grace)
	w.pool().Epoch = 20 // the claim was freed and made anew
	if res := w.judge(time.Second); show(res.Issues) != "missing_pools triage" || res.Issues[0].Repair != "" {
		t.Errorf("under a new claim: %+v, want the issue, without a repair for now", res.Issues)
	}
	if res := w.judge(cfg.Grace); res.Issues[0].Repair != "restart_pool" || len(res.Raised) != 0 {
		t.Errorf("after its grace: %+v, want the repair", res.Issues)
	}
}
