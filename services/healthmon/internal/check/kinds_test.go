package check

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestWhereABucketIsMissingEverythingElseStaysAsItWas(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.Parked["triage"] = 1
	w.judge(0)
	gone := w.Snapshot
	gone.Records, gone.Pools, gone.Emitters = nil, nil, nil
	gone.Buckets.Missing, gone.Buckets.Blind = []string{"sluice_subscriptions"}, true
	gone.At = w.At.Add(time.Minute)
	res := Judge(cfg, w.mem, gone)
	if show(res.Issues) != "parked_events triage, missing_buckets sluice_subscriptions" || res.Status != wire.StatusFailing {
		t.Errorf("issues = %q, status %s, want those of before and the bucket, failing", show(res.Issues), res.Status)
	}
	if len(res.Statuses) != 1 || !res.Statuses[0].CheckedAt.Equal(start) {
		t.Errorf("statuses = %+v, want the one of before, as of then", res.Statuses)
	}
	w.mem = res.Memory
	if res := w.judge(2 * time.Minute); show(res.Issues) != "parked_events triage" || show(res.Cleared) != "missing_buckets sluice_subscriptions" {
		t.Errorf("when it is back: issues %q, cleared %q", show(res.Issues), show(res.Cleared))
	}
}

func TestASubscriptionThatVanishedIsKnownUntilSomebodyDecides(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.judge(0)
	w.Records, w.Pools, w.Gone = nil, nil, []Gone{{Name: "triage", Detail: "gone"}}
	for range 3 {
		res := w.judge(time.Minute)
		w.mem = readBack(t, res.Memory) // also under a new leader
		if show(res.Issues) != "corrupt_records triage" || len(w.mem.Known()) != 1 || w.mem.Known()[0] != "triage" {
			t.Fatalf("issues = %q, known %q, want triage both times", show(res.Issues), w.mem.Known())
		}
	}
	w.Gone = nil // somebody deleted it
	if res := w.judge(time.Minute); len(res.Issues) != 0 || len(res.Memory.Known()) != 0 {
		t.Errorf("issues = %q, known %q, want none", show(res.Issues), res.Memory.Known())
	}
}

func TestAChangeOfTheSubscriptionEndsWhatWasCountedBefore(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.status(func(s *wire.PoolStatus) { s.TooCostly = 2 })
	if res := w.judge(0); show(res.Issues) != "too_costly triage" {
		t.Fatalf("issues = %q, want too_costly", show(res.Issues))
	}
	w.rec().Generation = 4
	w.pool().ObservedGeneration = 4
	if res := w.judge(time.Minute); len(res.Issues) != 0 {
		t.Fatalf("after a change: %q, want none", show(res.Issues))
	}
	w.status(func(s *wire.PoolStatus) { s.TooCostly = 3 })
	res := w.judge(time.Minute)
	if show(res.Issues) != "too_costly triage" || res.Issues[0].Evidence["events"] != uint64(1) {
		t.Fatalf("after one more: %+v, want too_costly with one event", res.Issues)
	}
	w.mem = readBack(t, w.mem)
	if res := w.judge(time.Minute); show(res.Issues) != "too_costly triage" || !equal(res.Issues[0].Evidence["events"], 1) {
		t.Errorf("under a new leader: %+v, want the same", res.Issues)
	}
}

func TestACaptureLastsUntilItIsKnownToBeOver(t *testing.T) {
	t.Parallel()
	captured := func(w *world) { w.Captures.BySubject = map[string][]Capture{"triage.issues": {{"AUDIT", "triage.>"}}} }
	answered := func(w *world) { w.status(func(s *wire.PoolStatus) { s.Captured++ }) }
	for _, tt := range []struct {
		name        string
		begin, then func(w *world)
		want        string
	}{
		{"the streams cannot be listed", captured, func(w *world) { w.Captures.Known = false }, "delivery_captured triage"},
		{"no stream captures it any more", captured, func(*world) {}, ""},
		{"nothing was delivered since", answered, func(*world) {}, "delivery_captured triage"},
		{"more was delivered, and no stream answered", answered, func(w *world) {
			w.status(func(s *wire.PoolStatus) { s.Finished++ })
		}, ""},
		{"the owner is silent", answered, func(w *world) { w.Statuses, w.Answered = nil, nil }, "delivery_captured triage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.judge(0)
			tt.begin(w)
			if res := w.judge(time.Second); show(res.Issues) != "delivery_captured triage" {
				t.Fatalf("issues = %q, want delivery_captured", show(res.Issues))
			}
			w.Captures.BySubject = nil
			tt.then(w)
			if res := w.judge(time.Second); show(res.Issues) != tt.want {
				t.Errorf("issues = %q, want %q", show(res.Issues), tt.want)
			}
		})
	}
}

func TestAStoreThatCannotBeReadConcernsThoseWhoReadIt(t *testing.T) {
	t.Parallel()
	w := twoPools()
	w.status(func(s *wire.PoolStatus) { s.Unreadable = "maximum consumers limit reached" })
	w.judge(0)
	res := w.judge(cfg.Grace)
	if show(res.Issues) != "unreadable_stores GITHUB" {
		t.Fatalf("issues = %q, want unreadable_stores", show(res.Issues))
	}
	if a, b := res.Statuses[0].Status, res.Statuses[1].Status; a != wire.StatusFailing || b != wire.StatusHealthy {
		t.Errorf("status of the one that cannot read it %s, of the other %s, want failing and healthy", a, b)
	}
	w.Statuses, w.Answered = nil, nil
	if res := w.judge(time.Second); show(res.Issues) != "unreadable_stores GITHUB" {
		t.Errorf("while the owner is silent: %q, want the same", show(res.Issues))
	}
}

// As after the bucket of pools was deleted: until its owner has written it back.
func TestAPoolWhoseEntryIsGoneIsMissingOnlyAfterItsGrace(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.judge(0)
	w.Pools = nil
	for range 5 {
		if res := w.judge(2 * time.Second); len(res.Issues) != 0 {
			t.Fatalf("issues = %v, want none within the grace", show(res.Issues))
		}
	}
	if res := w.judge(2 * time.Second); show(res.Issues) != "missing_pools triage" {
		t.Errorf("issues = %v, want the missing pool", show(res.Issues))
	}
}
