package healthmon

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// freed waits until the claim on a pool is freed and returns the entry.
func (e *env) freed(name string) *wire.Pool {
	e.t.Helper()
	var out *wire.Pool
	natstest.Await(e.t, "the pool to be freed", func() error {
		p, _, err := e.pools.Get(e.t.Context(), name)
		if err != nil {
			return err
		}
		if p.Owner != "" || p.State != wire.PoolReleased {
			return fmt.Errorf("pool = %+v", p)
		}
		out = p
		return nil
	})
	return out
}

func TestAStalledPoolIsFreed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.storeNamed("GITHUB", 5)
	e.emitter("emitter-1", idle("emitter-1", 2))
	e.subscribe("stuck", "GITHUB", old)
	e.listen("to.stuck")
	rev := e.pool("stuck", "uid-stuck", "emitter-1", 2)
	e.leader(e.start(quick()))
	if p := e.freed("stuck"); p.Epoch <= rev || p.Checkpoint.Floor != 2 {
		t.Errorf("pool = %+v, want a higher epoch and the floor kept", p)
	}
}

func TestAPoolThatMovesWhenItIsLookedAtAgainIsNotFreed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.storeNamed("GITHUB", 5)
	key := issueKey(check.Ref{Kind: wire.IssueStalledPool, Name: "slow"})
	moves := func() bool { // once the issue is kept, which is before anything is done about it
		_, err := e.b.Health.Get(t.Context(), key)
		return err == nil
	}
	position := uint64(2)
	e.emitter("emitter-1", func(name string) wire.PoolStatus {
		if position == 2 && moves() {
			position++
		}
		return idle("emitter-1", position)(name)
	})
	e.subscribe("slow", "GITHUB", old)
	e.listen("to.slow")
	e.pool("slow", "uid-slow", "emitter-1", 2)
	cleared := e.advisories(wire.AdvIssueCleared)
	e.leader(e.start(quick()))
	natstest.Await(t, "the issue to come and go", func() error {
		for _, a := range cleared() {
			if a.Name == "slow" && a.Data["kind"] == wire.IssueStalledPool {
				return nil
			}
		}
		return fmt.Errorf("advisories = %+v", cleared())
	})
	if p, _, err := e.pools.Get(t.Context(), "slow"); err != nil || p.Owner != "emitter-1" || p.Epoch != 1 {
		t.Errorf("pool = %+v, %v, want its claim untouched", p, err)
	}
}

func TestAPoolThatItsOwnerDoesNotHaveIsFreed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", func(string) wire.PoolStatus { return wire.PoolStatus{} })
	e.subscribe("disowned", "GITHUB", old)
	e.listen("to.disowned")
	rev := e.pool("disowned", "uid-disowned", "emitter-1", 7)
	restarted := e.advisories(wire.AdvPoolRestarted)
	e.leader(e.start(quick()))
	if p := e.freed("disowned"); p.Epoch <= rev || p.Checkpoint.Floor != 7 {
		t.Errorf("pool = %+v, want a higher epoch and the floor kept", p)
	}
	natstest.Await(t, "the advisory", func() error {
		if got := restarted(); len(got) != 1 || got[0].Data["kind"] != wire.IssueMissingPool {
			return fmt.Errorf("advisories = %+v", got)
		}
		return nil
	})
}

// The owner claims, and claims again, and never has the pool.
func TestAPoolThatIsDisownedAgainAndAgainIsFreedAtMostMaxAttemptsTimes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", func(string) wire.PoolStatus { return wire.PoolStatus{} })
	e.subscribe("disowned", "GITHUB", old)
	e.listen("to.disowned")
	e.pool("disowned", "uid-disowned", "emitter-1", 7)
	cfg := quick()
	cfg.CleanupMaxAttempts = 2
	e.leader(e.start(cfg))
	for range cfg.CleanupMaxAttempts {
		p := e.freed("disowned")
		_, rev, err := e.pools.Get(t.Context(), "disowned")
		if err != nil {
			t.Fatal(err)
		}
		p.Owner, p.State = "emitter-1", wire.PoolLive
		if _, err := e.pools.Write(t.Context(), p, rev); err != nil {
			t.Fatal(err)
		}
	}
	e.await("the monitor to give up", func(r wire.Report) error {
		if len(r.Repairs) != 1 || r.Repairs[0].Outcome != outcomeGivenUp || r.Repairs[0].Attempt != 2 {
			return fmt.Errorf("repairs = %+v, missing = %+v", r.Repairs, r.Issues.Missing)
		}
		return nil
	})
	if p, _, err := e.pools.Get(t.Context(), "disowned"); err != nil || p.Owner != "emitter-1" {
		t.Errorf("pool = %+v, %v, want it left to a person", p, err)
	}
}

// The local copy of the buckets may be older than what the owner answers.
func TestAnOwnerIsNotHeldToAClaimThatHasBeenReplaced(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 0))
	e.pool("moved", "uid-moved", "emitter-1", 0) // epoch 1, as the owner says
	e.pool("lost", "uid-lost", "emitter-1", 0)
	seen := func(name, uid string, epoch uint64) check.Pool {
		return check.Pool{Entry: check.Entry{Key: name}, Pool: &wire.Pool{Name: name, UID: uid, Owner: "emitter-1", Epoch: epoch}}
	}
	s := &source{ns: ns, nc: e.nc, poolsKV: e.b.Pools, subsKV: e.b.Subscriptions, clock: &clock{local: time.Now}}
	snap := check.Snapshot{
		Emitters: map[string]bool{"emitter-1": true},
		Pools:    []check.Pool{seen("lost", "uid-another", 1), seen("moved", "uid-moved", 0)},
	}
	s.statuses(t.Context(), &snap)
	if len(snap.Answered) != 0 {
		t.Errorf("answered = %v, want nothing known of claims that are no more", snap.Answered)
	}
	snap.Pools = []check.Pool{seen("moved", "uid-moved", 1)}
	s.statuses(t.Context(), &snap)
	if snap.Answered["moved"] != "emitter-1" {
		t.Errorf("answered = %v, want the owner", snap.Answered)
	}
}
