package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	born  = start.Add(-time.Hour)
	cfg   = Config{Grace: 10 * time.Second, StallAfter: 10 * time.Second, LagAge: 5 * time.Minute, Skew: 2 * time.Second}
)

// world is a healthy installation with one subscription, to be spoilt.
type world struct {
	Snapshot
	mem Memory
}

func newWorld() *world {
	rec := wire.Record{
		Schema: 1, Name: "triage", UID: "u1", Generation: 3, CreatedAt: born, UpdatedAt: born,
		StartSequence: 1, StoreCreated: born,
	}
	rec.Spec.Store = "GITHUB"
	rec.Spec.Deliver = wire.Deliver{Subject: "triage.issues", Mode: wire.ModeAck}
	rec.Spec.AckWait = wire.Duration(2 * time.Second)
	rec.Spec.Retry.MaxAttempts = 5
	rec.Spec.Breaker.OpenFor = wire.Duration(time.Minute)
	pool := wire.Pool{
		Schema: 1, Name: "triage", UID: "u1", Owner: "emitter-1", Epoch: 4, ObservedGeneration: 3,
		Checkpoint: wire.Checkpoint{Floor: 100}, State: wire.PoolLive,
	}
	return &world{Snapshot: Snapshot{
		At:       start,
		Records:  []Record{{Entry: Entry{Key: "triage", Revision: 7}, Created: born, Record: &rec}},
		Pools:    []Pool{{Entry: Entry{Key: "triage", Revision: 9}, Pool: &pool}},
		Emitters: map[string]bool{"emitter-1": true},
		Answered: map[string]string{"triage": "emitter-1"},
		Statuses: map[string]wire.PoolStatus{"triage": {
			Name: "triage", UID: "u1", Owner: "emitter-1", Epoch: 4, State: wire.PoolLive, Floor: 100,
			Position: 100, Delivered: 50, Finished: 50, Breaker: "closed", Generation: 3,
		}},
		Stores:      map[string]Store{"GITHUB": {Known: true, Exists: true, Created: born, First: 1, Last: 100}},
		Listeners:   map[string]Listeners{"triage.issues": {Known: true, Count: 1}},
		Parked:      map[string]uint64{},
		ParkedKnown: true, Captures: Captures{Known: true}, Buckets: Buckets{Parked: "SLUICE_PARKED"},
	}}
}

func (w *world) rec() *wire.Record { return w.Records[0].Record }
func (w *world) pool() *wire.Pool  { return w.Pools[0].Pool }

func (w *world) status(change func(*wire.PoolStatus)) {
	st := w.Statuses["triage"]
	change(&st)
	w.Statuses["triage"] = st
}

// judge sweeps once, after d.
func (w *world) judge(d time.Duration) Result {
	w.At = w.At.Add(d)
	res := Judge(cfg, w.mem, w.Snapshot)
	w.mem = res.Memory
	return res
}

// show names the issues of a result.
func show(issues []wire.Issue) string {
	var out []string
	for _, i := range issues {
		out = append(out, i.Kind+" "+i.Name)
	}
	return strings.Join(out, ", ")
}

func TestAHealthyInstallationHasNoIssues(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for range 3 {
		res := w.judge(time.Minute)
		if len(res.Issues) != 0 || res.Status != wire.StatusHealthy || res.Recheck != 0 {
			t.Fatalf("issues = %v, status %s, recheck %s, want none, healthy, 0", res.Issues, res.Status, res.Recheck)
		}
		if len(res.Statuses) != 1 || res.Statuses[0].Status != wire.StatusHealthy || res.Statuses[0].State != "live" {
			t.Fatalf("statuses = %+v, want one healthy and live", res.Statuses)
		}
	}
}

func TestEveryKindOfIssueAppearsAndClears(t *testing.T) {
	t.Parallel()
	old := start.Add(-10 * time.Minute)
	for _, tt := range []struct {
		name   string
		spoil  func(w *world)
		want   string
		status string
		grace  bool // not an issue at once
	}{
		{"nobody listens", func(w *world) {
			w.Listeners["triage.issues"] = Listeners{Known: true}
		}, "stale_subscriptions triage", wire.StatusDegraded, false},
		{"no record", func(w *world) { w.Records = nil }, "orphaned_pools triage", wire.StatusDegraded, true},
		{"pool of another uid", func(w *world) {
			w.rec().UID, w.Records[0].Created = "u2", start.Add(time.Second)
		}, "orphaned_pools triage, missing_pools triage", wire.StatusFailing, true},
		{"no pool any more", func(w *world) { w.Pools = nil }, "missing_pools triage", wire.StatusFailing, true},
		{"never a pool", func(w *world) { w.Pools, w.mem = nil, Memory{} }, "missing_pools triage", wire.StatusFailing, false},
		{"no owner", func(w *world) { w.pool().Owner = "" }, "missing_pools triage", wire.StatusFailing, true},
		{"dead owner", func(w *world) {
			w.Emitters = map[string]bool{"emitter-2": true}
		}, "missing_pools triage", wire.StatusFailing, true},
		{"no progress", func(w *world) {
			w.Pools[0].Next = Next{Behind: true, At: start}
			st := w.Stores["GITHUB"]
			st.Last = 200
			w.Stores["GITHUB"] = st
		}, "stalled_pools triage", wire.StatusFailing, true},
		{"old unfinished event", func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.OldestAt = &old })
		}, "lagging_pools triage", wire.StatusDegraded, false},
		{"breaker open", func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.Breaker, s.State = "open", wire.PoolBreakerOpen })
		}, "open_breakers triage", wire.StatusDegraded, false},
		{"parked", func(w *world) { w.Parked["triage"] = 2 }, "parked_events triage", wire.StatusDegraded, false},
		{"gap", func(w *world) {
			w.pool().Gap = &wire.Gap{From: 5, To: 9, At: start, Generation: 3}
		}, "gaps triage", wire.StatusDegraded, false},
		{"gap that paused the subscription", func(w *world) {
			w.rec().Paused, w.rec().Spec.OnGap = true, wire.GapPause
			w.pool().Gap = &wire.Gap{From: 5, To: 9, At: start, Generation: 2}
		}, "gaps triage", wire.StatusDegraded, false},
		{"store gone", func(w *world) { w.Stores["GITHUB"] = Store{Known: true} }, "lost_stores GITHUB", wire.StatusFailing, false},
		{"another store of the same name", func(w *world) {
			w.Stores["GITHUB"] = Store{Known: true, Exists: true, Created: start, Last: 3}
		}, "lost_stores GITHUB", wire.StatusFailing, false},
		{"change not observed", func(w *world) {
			w.pool().ObservedGeneration = 2
		}, "unobserved_changes triage", wire.StatusDegraded, false},
		{"record unreadable", func(w *world) {
			w.Records[0].Record, w.Records[0].Reason = nil, "not JSON"
		}, "corrupt_records triage", wire.StatusFailing, false},
		{"a record that vanished", func(w *world) {
			w.Records, w.Pools, w.Gone = nil, nil, []Gone{{Name: "triage", Detail: "the record is gone"}}
		}, "corrupt_records triage", wire.StatusFailing, false},
		{"a bucket that is missing", func(w *world) { w.Buckets.Missing = []string{"sluice_replays"} }, "missing_buckets sluice_replays", wire.StatusFailing, false},
		{"a store that its pool cannot read", func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.Unreadable = "maximum consumers limit reached" })
		}, "unreadable_stores GITHUB", wire.StatusFailing, true},
		{"a store that the monitor may not look at", func(w *world) {
			w.Stores["GITHUB"] = Store{Refused: "permissions violation", Reason: "permissions violation"}
		}, "unreadable_stores GITHUB", wire.StatusFailing, true},
		{"a stream that captures deliveries", func(w *world) {
			w.Captures.BySubject = map[string][]Capture{"triage.issues": {{"AUDIT", "triage.>"}}}
		}, "delivery_captured triage", wire.StatusDegraded, false},
		{"the store captures its own deliveries, which are said to go there", func(w *world) {
			w.rec().Spec.Deliver.Stream = "GITHUB"
			w.Captures.Origins = map[string][]string{"GITHUB": {"GITHUB"}}
			w.Captures.BySubject = map[string][]Capture{"triage.issues": {{"GITHUB", "triage.>"}}}
		}, "delivery_captured triage", wire.StatusDegraded, false},
		{"answers of a stream that nobody sees", func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.Captured = 2 })
		}, "delivery_captured triage", wire.StatusDegraded, false},
		{"events that are too costly", func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.TooCostly = 2 })
		}, "too_costly triage", wire.StatusDegraded, false},
		{"an emitter whose clock is ahead", func(w *world) {
			w.Clocks = map[string]Clock{"emitter-1": {Service: "emitter", Off: time.Hour}}
		}, "clock_skew emitter-1", wire.StatusDegraded, true},
		{"a monitor whose clock is behind", func(w *world) {
			w.Clocks = map[string]Clock{"healthmon-1": {Service: "healthmon", Off: -3 * time.Second, Doubt: 500 * time.Millisecond}}
		}, "clock_skew healthmon-1", wire.StatusDegraded, true},
		{"pool entry unreadable", func(w *world) {
			w.Pools[0].Pool, w.Pools[0].Reason = nil, "not JSON"
		}, "corrupt_records triage", wire.StatusFailing, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.judge(0)
			tt.spoil(w)
			res := w.judge(time.Second)
			if tt.grace {
				if len(res.Issues) != 0 || res.Recheck <= 0 || res.Recheck > cfg.Grace {
					t.Fatalf("at once: issues %s, recheck %s, want none and a look within %s", show(res.Issues), res.Recheck, cfg.Grace)
				}
				for looks := 0; len(res.Issues) == 0 && looks < stallSteps; looks++ {
					res = w.judge(res.Recheck)
				}
			}
			if got := show(res.Issues); got != tt.want || show(res.Raised) != tt.want {
				t.Fatalf("issues = %q, raised %q, want %q", got, show(res.Raised), tt.want)
			}
			if res.Status != tt.status {
				t.Errorf("status = %s, want %s", res.Status, tt.status)
			}
			since := res.Issues[0].Since
			again := w.judge(time.Minute)
			if show(again.Issues) != tt.want || len(again.Raised) != 0 || !again.Issues[0].Since.Equal(since) {
				t.Errorf("a minute later: %q since %s, raised %q, want the same since %s and none raised",
					show(again.Issues), again.Issues[0].Since, show(again.Raised), since)
			}
			for _, i := range again.Issues {
				if i.Evidence == nil || i.Detail == "" {
					t.Errorf("%s has no evidence or detail: %+v", i.Kind, i)
				}
			}
			well := newWorld()
			well.At, well.mem = w.At, w.mem
			well.status(func(s *wire.PoolStatus) { s.Finished++ })
			well.Clocks = map[string]Clock{"emitter-1": {Service: "emitter"}}
			cleared := well.judge(time.Minute)
			if len(cleared.Issues) != 0 || show(cleared.Cleared) != tt.want || cleared.Status != wire.StatusHealthy {
				t.Errorf("after the cure: issues %q, cleared %q, status %s, want none, %q, healthy",
					show(cleared.Issues), show(cleared.Cleared), cleared.Status, tt.want)
			}
		})
	}
}

func TestWhatIsNormalIsNoIssue(t *testing.T) {
	t.Parallel()
	busy := start.Add(-2 * time.Hour)
	for _, tt := range []struct {
		name  string
		world func(w *world)
	}{
		{"a new subscription without a pool or a subscriber", func(w *world) {
			w.Records[0].Created, w.Pools = start, nil
			w.Listeners["triage.issues"] = Listeners{Known: true}
		}},
		{"a paused subscription without an owner or a subscriber", func(w *world) {
			w.rec().Paused, w.Pools = true, nil
			w.Listeners["triage.issues"] = Listeners{Known: true}
		}},
		{"a change that has just been made", func(w *world) { w.Records[0].Created, w.pool().ObservedGeneration = start, 2 }},
		{"a registry whose clock is hours ahead or behind", func(w *world) { w.Records[0].Created, w.rec().UpdatedAt, w.Pools = start, busy, nil }},
		{"a gap before the last change", func(w *world) { w.pool().Gap = &wire.Gap{From: 1, To: 2, Generation: 2} }},
		{"parked events of others", func(w *world) { w.Parked["gone"] = 9 }},
		{"a store that cannot be asked", func(w *world) { w.Stores["GITHUB"] = Store{Reason: "timeout"} }},
		{"a probe that was not complete", func(w *world) { w.Listeners["triage.issues"] = Listeners{} }},
		{"an owner that is silent", func(w *world) { w.Statuses = nil }},
		{"a status of an earlier claim", func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.Epoch, s.Breaker = 3, "open" })
		}},
		{"the stream that is the target", func(w *world) {
			w.rec().Spec.Deliver.Stream, w.Listeners["triage.issues"] = "TRIAGE", Listeners{Known: true, Streams: []string{"TRIAGE"}}
			w.Captures.BySubject = map[string][]Capture{"triage.issues": {{"TRIAGE", "triage.>"}}}
		}},
		{"a clock within its doubt", func(w *world) {
			w.Clocks = map[string]Clock{"emitter-1": {Off: 4 * time.Second, Doubt: 3 * time.Second}}
		}},
		{"a store that does not answer for now", func(w *world) { w.Stores["GITHUB"] = Store{Reason: "timeout"} }},
		{"events that were too costly to another owner", func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.Owner, s.TooCostly = "emitter-9", 3 })
		}},
		{"a record without the store's birth", func(w *world) { w.rec().StoreCreated = time.Time{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			tt.world(w)
			if res := w.judge(0); len(res.Issues) != 0 {
				t.Errorf("issues = %+v, want none", res.Issues)
			}
		})
	}
}

func TestWhatIsNotKnownNeitherRaisesNorClears(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.Listeners["triage.issues"] = Listeners{Known: true}
	w.Parked["triage"] = 1
	w.Stores["GITHUB"] = Store{Known: true}
	before := w.judge(0)
	w.Listeners["triage.issues"] = Listeners{}
	w.Parked, w.ParkedKnown = nil, false
	w.Stores["GITHUB"] = Store{}
	after := w.judge(time.Minute)
	if show(after.Issues) != show(before.Issues) || len(before.Issues) != 3 || len(after.Cleared)+len(after.Raised) != 0 {
		t.Errorf("issues = %q after %q, want the same three", show(after.Issues), show(before.Issues))
	}
}

// Defect 3 of the ancestor: its monitor made up pool names from a default
// store, so in any other store every pool was an orphan and every subscription
// missed its pool.
func TestAncestorDefect3PoolsOfAnyStoreBelongToTheirSubscriptions(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for i, store := range []string{"default_store", "GITHUB", "orders", "Some-Other_Store"} {
		rec, pool := *w.rec(), *w.pool()
		rec.Name, rec.Spec.Store = fmt.Sprintf("sub-%d", i), store
		pool.Name = rec.Name
		w.Records = append(w.Records, Record{Entry: Entry{Key: rec.Name}, Record: &rec})
		w.Pools = append(w.Pools, Pool{Entry: Entry{Key: rec.Name}, Pool: &pool})
		w.Stores[store] = Store{Known: true, Exists: true, Created: born, First: 1, Last: 100}
	}
	for range 3 {
		if res := w.judge(time.Minute); len(res.Issues) != 0 {
			t.Fatalf("issues = %q, want none", show(res.Issues))
		}
	}
}

// Defect 5 of the ancestor: a look at something on another node broke the
// whole sweep.
func TestAncestorDefect5WhatCannotBeLookedAtTakesNothingFromTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld()
	rec, pool := *w.rec(), *w.pool()
	rec.Name, pool.Name, rec.Spec.Store = "far", "far", "FAR"
	pool.Owner = "emitter-9"
	w.Emitters["emitter-9"] = true // lives, but does not answer
	w.Records = append([]Record{{Entry: Entry{Key: "far"}, Record: &rec}}, w.Records...)
	w.Pools = append(w.Pools, Pool{Entry: Entry{Key: "far"}, Pool: &pool})
	w.Stores["FAR"] = Store{Reason: "timeout"}
	w.Parked["triage"] = 1
	if res := w.judge(time.Minute); show(res.Issues) != "parked_events triage" || len(res.Statuses) != 2 {
		t.Errorf("issues = %q with %d statuses, want parked_events triage and 2", show(res.Issues), len(res.Statuses))
	}
}

func TestAPoolWhoseRecordVanishedWithoutATraceIsLeftToAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.Records, w.Pools[0].Vanished = nil, true
	w.judge(0)
	res := w.judge(time.Minute)
	if show(res.Issues) != "orphaned_pools triage" || res.Issues[0].Repair != "" {
		t.Errorf("issues = %+v, want an orphan without a repair", res.Issues)
	}
}

func TestAnEntryOfALaterVersionIsNotRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.Records[0] = Record{Entry: Entry{Key: "triage", Reason: "newer", Newer: true}}
	res := w.judge(0)
	if show(res.Issues) != "corrupt_records triage" || res.Issues[0].Repair != "" {
		t.Errorf("issues = %+v, want one without a repair", res.Issues)
	}
}

func TestAnUnreadableRecordDoesNotMakeItsPoolAnOrphan(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.Records[0].Record, w.Records[0].Reason = nil, "not JSON"
	for range 3 {
		if res := w.judge(time.Minute); show(res.Issues) != "corrupt_records triage" {
			t.Fatalf("issues = %q, want corrupt_records only", show(res.Issues))
		}
	}
}

func TestStatusOfASubscription(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.judge(0)
	w.status(func(s *wire.PoolStatus) { s.Finished, s.Floor, s.State = 150, 120, wire.PoolCatchingUp })
	w.Stores["GITHUB"] = Store{Known: true, Exists: true, Created: born, First: 1, Last: 150}
	next := start.Add(-time.Minute)
	w.Pools[0].Next = Next{Behind: true, At: next}
	w.Parked["triage"] = 2
	got := w.judge(10 * time.Second).Statuses[0]
	if got.Status != wire.StatusDegraded || got.Lag != 30 || got.LagAge.Std() != 70*time.Second || got.Rate != 10 ||
		got.Parked != 2 || got.Listeners != 1 || got.Owner != "emitter-1" || got.Epoch != 4 || got.State != "catching_up" ||
		!slices.Equal(got.Reasons, []string{"parked_events: 2 events are parked"}) || !got.Since.Equal(w.At) {
		t.Errorf("status = %+v", got)
	}
	since := got.Since
	w.status(func(s *wire.PoolStatus) { s.Position++ })
	if again := w.judge(time.Minute).Statuses[0]; !again.Since.Equal(since) {
		t.Errorf("since = %s, want %s: the status is the same", again.Since, since)
	}
	w.Parked["triage"] = 0
	w.rec().Paused = true
	if paused := w.judge(time.Minute).Statuses[0]; paused.Status != "paused" || !paused.Since.Equal(w.At) {
		t.Errorf("status = %+v, want paused since now", paused)
	}
}

func TestJudgeChangesNeitherItsMemoryNorItsSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.Pools[0].Pool.Owner = ""
	first := Judge(cfg, Memory{}, w.Snapshot)
	mem := fmt.Sprintf("%+v", first.Memory)
	later := w.Snapshot
	later.At = later.At.Add(time.Minute)
	a, b := Judge(cfg, first.Memory, later), Judge(cfg, first.Memory, later)
	if show(a.Issues) != show(b.Issues) || fmt.Sprintf("%+v", first.Memory) != mem {
		t.Errorf("judging twice gave %q and %q, or changed the memory", show(a.Issues), show(b.Issues))
	}
}
