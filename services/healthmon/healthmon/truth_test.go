package healthmon

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func names(issues []wire.Issue) string {
	var out []string
	for _, i := range issues {
		out = append(out, i.Name)
	}
	return strings.Join(out, ",")
}

// Only the server's clock counts: that of the monitor may show anything.
func TestAMonitorWhoseClockIsOffJudgesByTheServers(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"two hours ahead": 2 * time.Hour, "two hours behind": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.skew = -time.Hour
			e.storeNamed("GITHUB", 1)
			e.subscribe("triage", "GITHUB", nil)
			e.pool("triage", "uid-triage", "emitter-1", 0)
			e.listen("to.triage")
			e.emitter("emitter-1", func(name string) wire.PoolStatus {
				if name != "triage" {
					return wire.PoolStatus{}
				}
				st := idle("emitter-1", 0)(name)
				st.Position, st.State = 1, wire.PoolWaiting
				st.OldestAt = at(time.Now().UTC())
				return st
			})
			cfg := slow()
			cfg.LagAge = time.Hour
			r := e.startOff(cfg, off)
			e.leader(r)
			e.listen("to.fresh")
			e.subscribe("fresh", "GITHUB", nil) // which nobody has claimed yet
			report := e.check()
			if len(report.Issues.Lagging)+len(report.Issues.Missing) != 0 {
				t.Errorf("lagging %+v, missing %+v, want none at once", report.Issues.Lagging, report.Issues.Missing)
			}
			if d := time.Since(report.Timestamp).Abs(); d > time.Minute {
				t.Errorf("the report's timestamp is off by %s", d)
			}
			report = e.await("all to be found", func(r wire.Report) error {
				return errors.Join(want(2, r.Issues.ClockSkew), want(1, r.Issues.Missing))
			})
			emitter, skew := report.Issues.ClockSkew[0], report.Issues.ClockSkew[1]
			if behind := emitter.Evidence["off_ms"].(float64); emitter.Name != "emitter-1" || behind > -3_590_000 || behind < -3_610_000 {
				t.Errorf("issue = %+v, want emitter-1 an hour behind", emitter)
			}
			if skew.Name != r.Instance() || skew.Evidence["off_ms"].(float64)*float64(off) < 0 || !skew.NeedsPerson {
				t.Errorf("issue = %+v, want one of %s, off by about %s, for a person", skew, r.Instance(), off)
			}
			if len(report.Issues.Lagging) != 0 {
				t.Errorf("lagging = %+v, want none", report.Issues.Lagging)
			}
		})
	}
}

func at(t time.Time) *time.Time { return &t }

// deleteBucket deletes the stream of a bucket, and returns how to make it again.
func (e *env) deleteBucket(bucket string) (again func()) {
	e.t.Helper()
	if err := e.js.DeleteStream(e.t.Context(), "KV_"+bucket); err != nil {
		e.t.Fatal(err)
	}
	return func() {
		if _, err := bus.Ensure(e.t.Context(), e.js, bus.Layout{Namespace: ns, SessionTTL: ttl}, zerolog.Nop()); err != nil {
			e.t.Error(err)
		}
	}
}

func TestABucketThatIsMissingIsReportedAndProvesNothing(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{ns.BucketSubscriptions(), ns.BucketPools(), ns.BucketHealth(), ns.BucketReplays()} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.storeNamed("GITHUB", 3)
			e.subscribe("triage", "GITHUB", old)
			e.pool("triage", "uid-triage", "emitter-1", 3)
			e.emitter("emitter-1", idle("emitter-1", 3)) // nobody listens
			e.leader(e.start(quick()))
			e.await("the stale subscription", func(r wire.Report) error { return want(1, r.Issues.Stale) })
			published, err := e.nc.SubscribeSync(ns.HealthReport())
			if err != nil {
				t.Fatal(err)
			}
			e.deleteBucket(bucket)
			report := e.await("the missing bucket", func(r wire.Report) error { return want(1, r.Issues.NoBucket) })
			if names(report.Issues.NoBucket) != bucket || report.Status != wire.StatusFailing || !report.Issues.NoBucket[0].NeedsPerson {
				t.Errorf("issues = %+v, status %s, want %s, failing", report.Issues.NoBucket, report.Status, bucket)
			}
			if names(report.Issues.Stale) != "triage" || len(report.Issues.Missing)+len(report.Issues.Orphaned)+len(report.Issues.Corrupt) != 0 {
				t.Errorf("issues = %+v, want what was known before and nothing else", report.Issues)
			}
			if report.TotalSubscriptions != 1 || report.TotalPools != 1 {
				t.Errorf("%d subscriptions and %d pools, want one of each", report.TotalSubscriptions, report.TotalPools)
			}
			if _, err := published.NextMsg(10 * time.Second); err != nil {
				t.Errorf("no report is published meanwhile: %v", err)
			}
		})
	}
}

func TestWhatWasKeptIsWrittenAgainIntoABucketThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("triage", "GITHUB", old)
	e.pool("triage", "uid-triage", "emitter-1", 0)
	e.emitter("emitter-1", idle("emitter-1", 0))
	e.leader(e.start(quick()))
	e.await("the stale subscription", func(r wire.Report) error { return want(1, r.Issues.Stale) })
	e.deleteBucket(ns.BucketHealth())()
	kv, err := e.js.KeyValue(t.Context(), ns.BucketHealth())
	if err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "report, issue and status", func() error {
		var errs []error
		for _, key := range []string{keyReport, subscriptionKey("triage"), prefixIssue + wire.IssueStale + ".triage"} {
			_, err := kv.Get(t.Context(), key)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// Somebody who wipes the bucket leaves no marks of deletion.
func TestSubscriptionsThatVanishAreMissed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("gone", "GITHUB", old)
	e.subscribe("deleted", "GITHUB", old)
	first := e.start(slow())
	e.leader(first)
	e.check()
	st, err := e.js.Stream(t.Context(), "KV_"+ns.BucketSubscriptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+ns.BucketSubscriptions()+".gone")); err != nil {
		t.Fatal(err)
	}
	if err := e.b.Subscriptions.Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	missed := func(r wire.Report) error {
		if names(r.Issues.Corrupt) != "gone" || r.Status != wire.StatusFailing {
			return fmt.Errorf("corrupt = %+v, status %s, want gone and failing", r.Issues.Corrupt, r.Status)
		}
		return nil
	}
	e.await("it to be missed", missed)
	if r := e.check(); missed(r) != nil || !r.Issues.Corrupt[0].NeedsPerson {
		t.Errorf("at the next sweep: %+v", r.Issues.Corrupt)
	}
	first.stop()
	e.leader(e.start(slow()))
	e.await("it to be missed by another leader", missed)
	r := e.check()
	if i := r.Issues.Corrupt[0]; i.Repair != "" {
		t.Errorf("by one that never knew the record it can be repaired: %+v", i)
	}
	if err := e.b.Subscriptions.Delete(t.Context(), "gone"); err != nil { // a person's decision
		t.Fatal(err)
	}
	e.await("the issue to clear", func(r wire.Report) error { return want(0, r.Issues.Corrupt) })
}

// A subscription that vanished can be brought back by those who remember it, but
// only if a person asks for it.
func TestARecordThatVanishedIsRestoredOnRequest(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	rec := e.subscribe("gone", "GITHUB", old)
	first, second := e.start(quick()), e.start(quick())
	leader := e.leader(first, second)
	e.check()
	st, err := e.js.Stream(t.Context(), "KV_"+ns.BucketSubscriptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	missed := func(r wire.Report) error {
		if names(r.Issues.Corrupt) != "gone" {
			return fmt.Errorf("corrupt = %+v", r.Issues.Corrupt)
		}
		return nil
	}
	e.await("it to be missed", missed)
	leader.stop() // the other one remembers it too
	e.leader(map[bool]*running{true: second, false: first}[leader == first])
	for range 5 {
		r := e.check()
		if err := missed(r); err != nil {
			t.Fatalf("it was restored though nobody asked for it: %v", err)
		}
		if i := r.Issues.Corrupt[0]; i.Repair != "restore_record" || !i.NeedsPerson || len(r.Repairs) > 0 {
			t.Fatalf("the issue is %+v, repairs %+v", i, r.Repairs)
		}
	}
	body := `{"kind":"corrupt_records","name":"gone"}`
	if r := ask[wire.RepairResponse](e, ns.API(wire.VerbHealthRepair), body).Repair; r.Outcome != "done" || r.Action != "restore_record" {
		t.Errorf("the repair is %+v", r)
	}
	got, _, err := subscription.NewStore(e.b.Subscriptions, ns).Get(t.Context(), "gone")
	if err != nil || got.UID != rec.UID || got.Generation != rec.Generation {
		t.Fatalf("the record is %+v, %v", got, err)
	}
	e.await("the issue to clear", func(r wire.Report) error { return want(0, r.Issues.Corrupt) })
}

func TestDeliveriesThatAStreamCapturesAreFound(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	mustStream := func(cfg jetstream.StreamConfig) {
		t.Helper()
		if _, err := e.js.CreateOrUpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 { // more than a page of the list
		mustStream(jetstream.StreamConfig{Name: fmt.Sprintf("A%d", i), Subjects: []string{fmt.Sprintf("a%d.>", i)}})
	}
	mustStream(jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"to.audited"}})
	mustStream(jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"to.target"}})
	mustStream(jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"to.looped"}})
	mustStream(jetstream.StreamConfig{Name: "MIDDLE", Sources: []*jetstream.StreamSource{{Name: "ORIGIN"}}})
	mustStream(jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "MIDDLE"}})
	e.subscribe("audited", "GITHUB", old)
	e.subscribe("target", "GITHUB", func(r *wire.Record) { r.Spec.Deliver.Stream = "TARGET" })
	e.subscribe("plain", "GITHUB", old)
	copied, err := e.js.Stream(t.Context(), "COPY")
	if err != nil {
		t.Fatal(err)
	}
	e.subscribe("looped", "GITHUB", func(r *wire.Record) {
		r.Spec.Store, r.StoreCreated, r.Spec.Deliver.Stream = "COPY", copied.CachedInfo().Created, "ORIGIN"
	})
	e.leader(e.start(slow()))
	report := e.await("both to be found", func(r wire.Report) error { return want(2, r.Issues.Captured) })
	if names(report.Issues.Captured) != "audited,looped" {
		t.Fatalf("captured = %+v, want audited and looped", report.Issues.Captured)
	}
	for i, stream := range []string{"AUDIT", "ORIGIN"} {
		issue := report.Issues.Captured[i]
		if fmt.Sprint(issue.Evidence["streams"]) != "["+stream+"]" || issue.Evidence["loop"] != (stream == "ORIGIN") || !issue.NeedsPerson {
			t.Errorf("issue = %+v, want %s named, and whether it is a loop", issue, stream)
		}
	}
	if report.Status == wire.StatusHealthy {
		t.Errorf("status = %s", report.Status)
	}
}

// An event with a header by which servers talk made the client library's read
// fail, and nothing was concluded from that.
func TestAPoolThatStandsBeforeAnEventWithAHostileHeaderIsStalled(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprintf("allow_direct %v", direct), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			cfg := jetstream.StreamConfig{Name: "GITHUB", Subjects: []string{"GITHUB.>"}, AllowDirect: direct}
			if _, err := e.js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			for _, h := range []nats.Header{nil, {"Status": {"503"}}, nil} {
				if _, err := e.js.PublishMsg(t.Context(), &nats.Msg{Subject: "GITHUB.x", Header: h}); err != nil {
					t.Fatal(err)
				}
			}
			e.subscribe("stuck", "GITHUB", old)
			e.listen("to.stuck")
			e.pool("stuck", "uid-stuck", "emitter-1", 1)
			var reopened atomic.Int64
			e.emitter("emitter-1", func(name string) wire.PoolStatus {
				st := idle("emitter-1", 1)(name)
				st.State, st.Reopened = wire.PoolCatchingUp, int(reopened.Add(1))
				return st
			})
			config := quick()
			config.CleanupEnabled = false
			e.leader(e.start(config))
			report := e.await("the stall", func(r wire.Report) error { return want(1, r.Issues.Stalled) })
			if report.Status != wire.StatusFailing || !strings.Contains(report.Issues.Stalled[0].Detail, "sequence 1 of 3") {
				t.Errorf("status %s, issue %+v, want failing, with the place", report.Status, report.Issues.Stalled[0])
			}
			e.await("a person to be asked for, as nothing repairs it", func(r wire.Report) error {
				if len(r.Issues.Stalled) != 1 || !r.Issues.Stalled[0].NeedsPerson {
					return fmt.Errorf("stalled = %+v", r.Issues.Stalled)
				}
				return nil
			})
		})
	}
}

func TestTheStatusOfASubscriptionHasTheNumbersOfTheTimeThatItNames(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.storeNamed("GITHUB", 100)
	e.subscribe("triage", "GITHUB", old)
	e.listen("to.triage")
	e.pool("triage", "uid-triage", "emitter-1", 20)
	var floor atomic.Uint64
	floor.Store(20)
	e.emitter("emitter-1", func(name string) wire.PoolStatus {
		st := idle("emitter-1", floor.Load())(name)
		st.Position = 100
		return st
	})
	e.leader(e.start(slow()))
	e.check()
	floor.Store(21) // less than a tenth of the lag
	report := e.check()
	st := ask[wire.SubscriptionHealthResponse](e, ns.API(wire.VerbHealthSubscription, "triage"), "")
	if st.Error != nil || st.Lag != 79 || st.CheckedAt.After(report.Timestamp) || report.Timestamp.Sub(st.CheckedAt) > 5*time.Second {
		t.Errorf("status = %+v, want a lag of 79, checked for the report of %s", st, report.Timestamp)
	}
}

func TestWhatADryRunWouldDoIsInWords(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.pool("orphan", "uid-orphan", "", 7)
	e.leader(e.start(slow()))
	body := fmt.Sprintf(`{"kind":%q,"name":"orphan","dry_run":true}`, wire.IssueOrphanedPool)
	r := ask[wire.RepairResponse](e, ns.API(wire.VerbHealthRepair), body)
	if r.Repair == nil || !strings.Contains(r.Repair.Observed, `epoch 1, floor 7, owner ""`) || strings.Contains(r.Repair.Observed, "map[") {
		t.Errorf("repair = %+v, want the evidence in words", r.Repair)
	}
}
