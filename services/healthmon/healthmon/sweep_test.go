package healthmon

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

func TestTheReportIsToTheLetterOfTheContract(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	published, err := e.nc.SubscribeSync(ns.HealthReport())
	if err != nil {
		t.Fatal(err)
	}
	e.leader(e.start(slow()))
	m, err := e.request(ns.API(wire.VerbHealthCheck), untilMade)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(m.Data, &got); err != nil {
		t.Fatal(err)
	}
	if got["type"] != "io.sluice.health.v1.report" || got["namespace"] != "sluice" || got["status"] != "healthy" || got["cleanup_enabled"] != true {
		t.Errorf("report = %s", m.Data)
	}
	members := []string{
		"check_duration_ms", "cleanup_enabled", "id", "issues", "leader", "namespace", "repairs", "status", "summary",
		"timestamp", "total_emitters", "total_pools", "total_subscriptions", "type",
	}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, members) {
		t.Errorf("members = %v, want %v", keys, members)
	}
	issues, _ := got["issues"].(map[string]any)
	for _, kind := range check.Kinds() {
		if l, ok := issues[kind].([]any); !ok || len(l) != 0 {
			t.Errorf("issues.%s = %v, want an empty list", kind, issues[kind])
		}
	}
	if len(issues) != len(check.Kinds()) {
		t.Errorf("issues = %v, want %d kinds", issues, len(check.Kinds()))
	}
	if l, ok := got["repairs"].([]any); !ok || len(l) != 0 {
		t.Errorf("repairs = %v, want an empty list", got["repairs"])
	}
	wantSummary := `map[missing_pool_count:0 orphaned_pool_count:0 stale_subscription_count:0 total_issues:0]`
	if s := fmt.Sprint(got["summary"]); s != wantSummary {
		t.Errorf("summary = %s, want %s", s, wantSummary)
	}

	last := ask[wire.ReportResponse](e, ns.API(wire.VerbHealthReport), "")
	if last.ID != got["id"] {
		t.Errorf("health.report has id %s, want that of the last check, %v", last.ID, got["id"])
	}
	for {
		p, err := published.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("the report was not published: %v", err)
		}
		if string(p.Data) == string(m.Data) {
			break
		}
	}
}

func TestASystemInWhichAllIsWellHasNoIssuesInAnyStore(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 2))
	for _, store := range []string{"GITHUB", "orders"} {
		e.storeNamed(store, 2)
		name := "on-" + store
		e.subscribe(name, store, old)
		e.pool(name, "uid-"+name, "emitter-1", 2)
		e.listen("to." + name)
	}
	e.subscribe("paused", "orders", func(r *wire.Record) { old(r); r.Paused = true })
	e.leader(e.start(slow()))
	r := e.await("the emitter to be seen", func(r wire.Report) error {
		if r.TotalEmitters != 1 {
			return errors.New("no emitter")
		}
		return nil
	})
	if r.Status != wire.StatusHealthy || r.Summary.Total != 0 || r.TotalSubscriptions != 3 || r.TotalPools != 2 {
		t.Errorf("report = %+v, want healthy with 3 subscriptions and 2 pools", r)
	}
	st := ask[wire.SubscriptionHealthResponse](e, ns.API(wire.VerbHealthSubscription, "on-GITHUB"), "")
	if st.Status != wire.StatusHealthy || st.Owner != "emitter-1" || st.Listeners != 1 || st.Lag != 0 ||
		st.Type != "io.sluice.api.v1.health_subscription_response" {
		t.Errorf("status = %+v", st)
	}
	if st := ask[wire.SubscriptionHealthResponse](e, ns.API(wire.VerbHealthSubscription, "paused"), ""); st.Status != "paused" {
		t.Errorf("status = %+v, want paused", st)
	}
}

func TestAnEphemeralSubscriptionIsRemovedAndADurableOneNever(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	expired := e.advisories(wire.AdvSubscriptionExpired)
	e.subscribe("durable", "GITHUB", old)
	e.subscribe("passing", "GITHUB", ephemeral(time.Second))
	e.subscribe("listened", "GITHUB", ephemeral(time.Second))
	e.listen("to.listened")
	e.leader(e.start(quick()))
	natstest.Await(t, "the ephemeral one to be removed", func() error {
		if _, _, err := e.records.Get(t.Context(), "passing"); !errors.Is(err, subscription.ErrNotFound) {
			return errors.New("Get = " + fmt.Sprint(err)) // which may be nil
		}
		return nil
	})
	natstest.Await(t, "the advisory", func() error {
		if got := expired(); len(got) != 1 || got[0].Name != "passing" {
			return fmt.Errorf("advisories = %+v", got)
		}
		return nil
	})
	e.await("the issue to clear", func(r wire.Report) error { return want(1, r.Issues.Stale) })
	for _, name := range []string{"durable", "listened"} {
		if _, _, err := e.records.Get(t.Context(), name); err != nil {
			t.Errorf("Get(%s) = %v, want it kept", name, err)
		}
	}
	for _, kind := range check.Kinds() {
		body := fmt.Sprintf(`{"kind":%q,"name":"durable"}`, kind)
		if check.OfStore(kind) {
			body = fmt.Sprintf(`{"kind":%q,"name":"GITHUB"}`, kind)
		}
		r := ask[wire.RepairResponse](e, ns.API(wire.VerbHealthRepair), body)
		if r.Error != nil || r.Repair == nil {
			t.Errorf("repair of %s = %+v", kind, r)
		}
		if _, _, err := e.records.Get(t.Context(), "durable"); err != nil {
			t.Errorf("after a repair of %s: Get(durable) = %v, want it kept", kind, err)
		}
	}
}

func TestSinceWhenASubscriptionIsStaleSurvivesAChangeOfLeader(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("durable", "GITHUB", old)
	first := e.start(slow())
	e.leader(first)
	r := e.await("the issue", func(r wire.Report) error { return want(1, r.Issues.Stale) })
	raised := e.advisories(wire.AdvIssueRaised)
	first.stop()
	e.leader(e.start(slow()))
	again := e.check()
	if len(again.Issues.Stale) != 1 || !again.Issues.Stale[0].Since.Equal(r.Issues.Stale[0].Since) || again.Leader == r.Leader {
		t.Errorf("stale = %+v by %s, want since %s by another than %s", again.Issues.Stale, again.Leader, r.Issues.Stale[0].Since, r.Leader)
	}
	for _, a := range raised() {
		if a.Name == "durable" && a.Data["kind"] == wire.IssueStale {
			t.Errorf("the new leader raised it again: %+v", a)
		}
	}
}

func TestAnOrphanedPoolIsRemovedAndALivingOneIsNot(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 0))
	e.subscribe("kept", "orders", old)
	e.pool("kept", "uid-kept", "emitter-1", 0)
	e.listen("to.kept")
	e.pool("orphan", "uid-gone", "", 7)
	e.leader(e.start(quick()))
	natstest.Await(t, "the orphan to be removed", func() error {
		if _, _, err := e.pools.Get(t.Context(), "orphan"); !errors.Is(err, subscription.ErrNotFound) {
			return errors.New("Get = " + fmt.Sprint(err)) // which may be nil
		}
		return nil
	})
	r := e.await("the issue to clear", func(r wire.Report) error { return want(0, r.Issues.Orphaned) })
	if r.TotalPools != 1 || r.Status != wire.StatusHealthy {
		t.Errorf("report = %+v, want healthy with one pool", r)
	}
	if _, _, err := e.pools.Get(t.Context(), "kept"); err != nil {
		t.Errorf("Get(kept) = %v, want it kept", err)
	}
}

func TestAPoolIsNotRemovedWhenItsRecordVanishedWithoutATrace(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	if _, err := e.pools.Write(t.Context(), &wire.Pool{
		Schema: 1, Name: "lost", UID: "uid-lost", Epoch: 1, ObservedGeneration: 1, ObservedRevision: 12,
		Checkpoint: wire.Checkpoint{Floor: 9}, State: wire.PoolReleased, UpdatedAt: time.Now(),
	}, 0); err != nil {
		t.Fatal(err)
	}
	e.leader(e.start(quick()))
	r := e.await("the issue", func(r wire.Report) error { return want(1, r.Issues.Orphaned) })
	if r.Issues.Orphaned[0].Repair != "" || len(r.Repairs) != 0 {
		t.Errorf("report = %+v, want an orphan without a repair", r)
	}
	if _, _, err := e.pools.Get(t.Context(), "lost"); err != nil {
		t.Errorf("Get = %v, want the checkpoint kept", err)
	}
}

func TestTheEmittersAreAskedAtMostMaxAttemptsTimes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 0))
	asked, err := e.nc.SubscribeSync(ns.Lifecycle("*"))
	if err != nil {
		t.Fatal(err)
	}
	failed := e.advisories(wire.AdvRepairFailed)
	rec := e.subscribe("nobodys", "GITHUB", old)
	e.listen("to.nobodys")
	first := e.start(quick())
	e.leader(first)
	for i := range 3 {
		m, err := asked.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("attempt %d: %v", i+1, err)
		}
		var tr wire.Transition
		if err := json.Unmarshal(m.Data, &tr); err != nil || tr.Name != "nobodys" || tr.UID != rec.UID || tr.Kind != wire.TransitionCreated {
			t.Errorf("attempt %d asked %s", i+1, m.Data)
		}
	}
	givenUp := func(r wire.Report) error {
		if len(r.Repairs) != 1 || r.Repairs[0].Outcome != outcomeGivenUp || r.Repairs[0].Attempt != 3 {
			return fmt.Errorf("repairs = %+v", r.Repairs)
		}
		return nil
	}
	e.await("the monitor to give up", givenUp)
	first.stop()
	e.leader(e.start(quick())) // a new leader goes on where the old one was
	for range 5 {
		if err := givenUp(e.check()); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := asked.NextMsg(10 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Fatalf("asked a fourth time: %v, %v", m, err)
	}
	if got := failed(); len(got) != 1 {
		t.Errorf("repair_failed = %+v, want it said once", got)
	}
	r := ask[wire.RepairResponse](e, ns.API(wire.VerbHealthRepair), `{"kind":"missing_pools","name":"nobodys"}`)
	if r.Repair == nil || r.Repair.Outcome != outcomeDone || r.Repair.Action != "start_pool" {
		t.Errorf("by hand: %+v, want it done whatever the count", r)
	}
	if _, err := asked.NextMsg(10 * time.Second); err != nil {
		t.Errorf("by hand: the emitters were not asked: %v", err)
	}
}

func TestACorruptRecordIsQuarantinedAndTheLastReadableOneTakesItsPlace(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 0))
	e.subscribe("broken", "GITHUB", old)
	e.pool("broken", "uid-broken", "emitter-1", 0)
	e.listen("to.broken")
	for _, key := range []string{"broken", "garbage"} {
		if _, err := e.b.Subscriptions.Put(t.Context(), key, []byte("{not JSON")); err != nil {
			t.Fatal(err)
		}
	}
	quarantined := e.advisories(wire.AdvRecordQuarantined)
	e.leader(e.start(quick()))
	e.await("all to be well", func(r wire.Report) error {
		if r.TotalEmitters != 1 {
			return errors.New("no emitter")
		}
		return want(0, r.Issues.Corrupt)
	})
	if rec, _, err := e.records.Get(t.Context(), "broken"); err != nil || rec.UID != "uid-broken" {
		t.Errorf("Get(broken) = %+v, %v, want the revision before", rec, err)
	}
	if _, _, err := e.records.Get(t.Context(), "garbage"); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("Get(garbage) = %v, want it gone", err)
	}
	if got := quarantined(); len(got) != 2 {
		t.Errorf("advisories = %+v, want 2", got)
	}
	s, err := e.js.Stream(t.Context(), ns.StreamQuarantine())
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Quarantined
	if err := json.Unmarshal(m.Data, &q); err != nil || string(q.Value) != "{not JSON" || s.CachedInfo().State.Msgs != 2 {
		t.Errorf("quarantine holds %d entries, the first %s, %v", s.CachedInfo().State.Msgs, m.Data, err)
	}
}

func TestALostStoreAndOtherIssuesAreFoundTogether(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", func(name string) wire.PoolStatus {
		st := idle("emitter-1", 0)(name)
		if name == "open" {
			st.State, st.Breaker = wire.PoolBreakerOpen, "open"
		}
		return st
	})
	for _, name := range []string{"lost", "open"} {
		e.subscribe(name, "ST-"+name, old)
		e.pool(name, "uid-"+name, "emitter-1", 0)
		e.listen("to." + name)
	}
	if err := e.js.DeleteStream(t.Context(), "ST-lost"); err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg(ns.Parked("open"))
	if _, err := e.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	e.leader(e.start(slow()))
	r := e.await("the emitter", func(r wire.Report) error { return want(1, r.Issues.OpenBreaker) })
	if r.Status != wire.StatusFailing || len(r.Issues.LostStores) != 1 || r.Issues.LostStores[0].Name != "ST-lost" ||
		len(r.Issues.Parked) != 1 || r.Issues.Parked[0].Evidence["parked"] != 1.0 || r.Summary.Total != 3 {
		t.Errorf("report = %+v", r)
	}
	st := ask[wire.SubscriptionHealthResponse](e, ns.API(wire.VerbHealthSubscription, "lost"), "")
	if st.Status != wire.StatusFailing || len(st.Reasons) != 1 || !strings.HasPrefix(st.Reasons[0], "lost_stores: ") {
		t.Errorf("status = %+v, want failing for the lost store", st)
	}
}

func TestTheStatusOfADeletedSubscriptionIsForgotten(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	changes, err := e.nc.SubscribeSync(ns.HealthSubscription("*"))
	if err != nil {
		t.Fatal(err)
	}
	e.subscribe("short", "GITHUB", nil)
	e.leader(e.start(slow()))
	e.check()
	if m, err := changes.NextMsg(5 * time.Second); err != nil || m.Subject != ns.HealthSubscription("short") {
		t.Errorf("published status = %v, %v", m, err)
	}
	if _, err := e.b.Health.Get(t.Context(), "subscription.short"); err != nil {
		t.Fatalf("Get(subscription.short) = %v", err)
	}
	_, rev, err := e.records.Get(t.Context(), "short")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.records.Delete(t.Context(), "short", rev); err != nil {
		t.Fatal(err)
	}
	e.check()
	if _, err := e.b.Health.Get(t.Context(), "subscription.short"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("Get(subscription.short) = %v, want it gone", err)
	}
	r := ask[wire.SubscriptionHealthResponse](e, ns.API(wire.VerbHealthSubscription, "short"), "")
	if r.Error == nil || r.Error.ErrCode != wire.CodeNoSubscription {
		t.Errorf("health.subscription = %+v, want %d", r, wire.CodeNoSubscription)
	}
}

func TestASweepMakesSomeRepairsAndTheNextOnesTheOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 0))
	asked, err := e.nc.SubscribeSync(ns.Lifecycle("*"))
	if err != nil {
		t.Fatal(err)
	}
	published, err := e.nc.SubscribeSync(ns.HealthReport())
	if err != nil {
		t.Fatal(err)
	}
	const n = maxRepairs + 10
	for i := range n {
		e.subscribe(fmt.Sprint("nobodys", i), "GITHUB", old)
	}
	cfg := quick()
	cfg.CleanupMaxAttempts = 1
	e.leader(e.start(cfg))
	names := map[string]bool{}
	for len(names) < n {
		m, err := asked.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatalf("the emitters were asked for %d of %d: %v", len(names), n, err)
		}
		names[m.Subject] = true
	}
	for pending, _, _ := published.Pending(); pending > 0; pending-- {
		m, err := published.NextMsg(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var r wire.Report
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Fatal(err)
		}
		done := 0
		for _, r := range r.Repairs {
			if r.Outcome == outcomeDone {
				done++
			}
		}
		if done > maxRepairs {
			t.Errorf("a sweep made %d repairs, want at most %d", done, maxRepairs)
		}
	}
}
