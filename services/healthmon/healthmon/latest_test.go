package healthmon

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// slowOwner is an emitter that takes a while to answer, from when it is told to.
func (e *env) slowOwner(takes time.Duration) (slow *atomic.Bool) {
	e.t.Helper()
	slow = new(atomic.Bool)
	e.emitter("emitter-1", func(name string) wire.PoolStatus {
		if slow.Load() && name == "slow" {
			select {
			case <-time.After(takes):
			case <-e.t.Context().Done():
			}
		}
		return idle("emitter-1", 0)(name)
	})
	e.subscribe("slow", "GITHUB", old)
	e.pool("slow", "uid-slow", "emitter-1", 0)
	e.listen("to.slow")
	return slow
}

func TestACheckIsAnsweredInTimeWhileASweepIsUnderWay(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	slow := e.slowOwner(askTimeout * 3 / 2) // each sweep takes askTimeout: more than patience
	e.subscribe("stale", "GITHUB", old)
	e.pool("stale", "uid-stale", "emitter-1", 0)
	e.subscribe("kept", "GITHUB", old)
	e.pool("kept", "uid-kept", "emitter-1", 0)
	e.leader(e.start(slowly24h()))
	e.await("two stale subscriptions", func(r wire.Report) error { return want(2, r.Issues.Stale) })
	slow.Store(true)

	_, rev, err := e.records.Get(t.Context(), "stale")
	if err != nil {
		t.Fatal(err)
	}
	_, poolRev, err := e.pools.Get(t.Context(), "stale")
	if err := errors.Join(err, e.records.Delete(t.Context(), "stale", rev), e.pools.Delete(t.Context(), "stale", poolRev)); err != nil {
		t.Fatal(err)
	}
	e.subscribe("new-1", "GITHUB", nil)
	e.subscribe("new-2", "GITHUB", nil)
	start := time.Now()
	r := ask[wire.ReportResponse](e, ns.API(wire.VerbHealthCheck), "")
	took := time.Since(start)
	if r.Error != nil || r.AsOf == nil || took > patience+askTimeout/4 {
		t.Fatalf("check = %+v after %s, want the last report soon", r, took)
	}
	for _, part := range []string{wire.PartEntries, wire.PartOwners, wire.PartListeners, wire.PartStores, wire.PartParked} {
		age, ok := r.AsOf.Ages[part]
		if !ok || age.Std() < took-time.Second || age.Std() > time.Minute {
			t.Errorf("%s are %s old, after %s", part, age, took)
		}
	}
	if c := r.AsOf.Changed; c == nil || c.Created != 2 || c.Deleted != 1 || c.Updated != 0 || c.Pools != 1 || len(c.Joined)+len(c.Departed) != 0 {
		t.Errorf("changed = %+v, want two created and one deleted", c)
	}
	if r.TotalSubscriptions != 4 || r.TotalPools != 2 || r.TotalEmitters != 1 {
		t.Errorf("totals %d, %d, %d, want those of now", r.TotalSubscriptions, r.TotalPools, r.TotalEmitters)
	}
	if names(r.Issues.Stale) != "kept" || r.Summary.Stale != 1 || r.Summary.Total != 1 || r.Status != wire.StatusDegraded {
		t.Errorf("issues = %+v, summary %+v, status %s, want none of what was deleted", r.Issues.Stale, r.Summary, r.Status)
	}
	if made := e.check(); made.AsOf != nil || made.TotalSubscriptions != 4 {
		t.Errorf("who waits gets %+v, want a report that was made for it", made)
	}
}

// slowly24h sweeps when it is asked to.
func slowly24h() Config {
	c := slow()
	c.Interval = 24 * time.Hour
	c.CleanupEnabled = false
	return c
}

func TestANewLeaderTellsTheReportOfTheOneBeforeUntilItHasMadeOne(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	slow := e.slowOwner(askTimeout * 3 / 2)
	first := e.start(slowly24h())
	e.leader(first)
	was := e.check()
	slow.Store(true)
	first.stop()
	second := e.start(slowly24h())
	natstest.Await(t, "the report of the leader before", func() error {
		r := ask[wire.ReportResponse](e, ns.API(wire.VerbHealthCheck), `{"within":"0s"}`)
		switch {
		case r.Error != nil:
			return r.Error
		case r.Leader == second.Instance():
			return errors.New("it has made one already")
		case r.AsOf == nil || r.ID != was.ID || r.AsOf.Changed != nil || r.AsOf.Ages[wire.PartOwners] <= 0:
			t.Errorf("check = %+v, as of %+v, want the report %s", r.Report, r.AsOf, was.ID)
		}
		return nil
	})
}

func TestHowLongACheckWaitsIsBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.leader(e.start(slow()))
	for _, body := range []string{`{"within":"-1s"}`, `{"within":"29s"}`, `{"within":"soon"}`, `{"within":null}`} {
		if r := ask[wire.ReportResponse](e, ns.API(wire.VerbHealthCheck), body); r.Error == nil || r.Error.ErrCode != wire.CodeBadField {
			t.Errorf("%s: %+v, want %d", body, r, wire.CodeBadField)
		}
	}
}
