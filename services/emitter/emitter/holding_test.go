package emitter

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup stores an entry that is owned by owner, and a holding of ours that
// believes it is at that revision.
func setup(t *testing.T, owner string) (*buckettest.KV, *subscription.Pools, *holding) {
	t.Helper()
	kv := buckettest.New(time.Hour)
	pools := subscription.NewPools(kv)
	now := time.Now().UTC()
	entry := wire.Pool{Schema: 1, Name: "s", UID: "u", Owner: owner, Epoch: 3, ObservedGeneration: 1, State: wire.PoolLive, ClaimedAt: now, UpdatedAt: now}
	rev, err := pools.Write(t.Context(), &entry, 0)
	if err != nil {
		t.Fatal(err)
	}
	return kv, pools, &holding{name: "s", me: "me", entry: entry, rev: rev}
}

func floorOf(t *testing.T, pools *subscription.Pools) (uint64, string) {
	t.Helper()
	p, _, err := pools.Get(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	return p.Checkpoint.Floor, p.Owner
}

func at(h *holding, floor uint64) wire.Pool {
	next := h.entry
	next.Checkpoint.Floor = floor
	return next
}

func TestACheckpointThatSomebodyElseOverwroteIsLost(t *testing.T) {
	t.Parallel()
	_, pools, h := setup(t, "me")
	theirs := h.entry
	theirs.Owner, theirs.Epoch, theirs.Checkpoint.Floor = "other", 4, 7
	if _, err := pools.Write(t.Context(), &theirs, h.rev); err != nil {
		t.Fatal(err)
	}
	if err := h.write(t.Context(), pools, at(h, 5)); !errors.Is(err, errLost) {
		t.Errorf("write = %v, want errLost", err)
	}
	if floor, owner := floorOf(t, pools); floor != 7 || owner != "other" {
		t.Errorf("the entry is %s's at floor %d, want other's at 7", owner, floor)
	}
}

func TestWhatSomebodyMadeUnreadableIsWrittenAnewAndALaterVersionsClaimIsNot(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]error{
		`{`: nil, `{"schema":1,"name":"s","uid":"u","epoch":9,"owner":"*"}`: nil, `{"schema":2}`: errLost,
	} {
		kv, pools, h := setup(t, "me")
		if _, err := kv.Update(t.Context(), "s", []byte(value), h.rev); err != nil {
			t.Fatal(err)
		}
		if err := h.write(t.Context(), pools, at(h, 5)); !errors.Is(err, want) {
			t.Errorf("write over %s = %v, want %v", value, err, want)
		}
		if p, _, err := pools.Get(t.Context(), "s"); (err == nil) != (want == nil) || err == nil && p.Checkpoint.Floor != 5 {
			t.Errorf("after %s the entry is %+v, %v", value, p, err)
		}
	}
}

func TestASeekUnderAnOwnerIsLostToIt(t *testing.T) {
	t.Parallel()
	_, pools, h := setup(t, "me")
	sought := h.entry
	sought.Owner, sought.Epoch, sought.Checkpoint.Floor = "", 9, 0
	if _, err := pools.Write(t.Context(), &sought, h.rev); err != nil {
		t.Fatal(err)
	}
	if err := h.write(t.Context(), pools, at(h, 5)); !errors.Is(err, errLost) {
		t.Errorf("write = %v, want errLost", err)
	}
	if floor, _ := floorOf(t, pools); floor != 0 {
		t.Errorf("floor = %d: the seek was undone", floor)
	}
}

func TestAClaimThatComesTooLateUndoesNothing(t *testing.T) {
	t.Parallel()
	_, pools, h := setup(t, "dead")
	// The owner was not dead after all, and has moved on.
	theirs := h.entry
	theirs.Checkpoint.Floor = 7
	if _, err := pools.Write(t.Context(), &theirs, h.rev); err != nil {
		t.Fatal(err)
	}
	claim := h.entry
	claim.Owner, claim.Epoch = "me", 4
	if err := h.write(t.Context(), pools, claim); !errors.Is(err, errLost) {
		t.Errorf("write = %v, want errLost", err)
	}
	if floor, owner := floorOf(t, pools); floor != 7 || owner != "dead" {
		t.Errorf("the entry is %s's at floor %d, want dead's at 7", owner, floor)
	}
}

func TestAWriteThatTimedOutButHappenedIsFound(t *testing.T) {
	t.Parallel()
	for _, owner := range []string{"me", "dead"} {
		kv, pools, h := setup(t, owner)
		failed := false
		kv.After = func(_ context.Context, op, _ string) error {
			if op == "update" && !failed {
				failed = true
				return context.DeadlineExceeded
			}
			return nil
		}
		next := at(h, 5)
		next.Owner, next.Epoch = "me", max(h.entry.Epoch, 3)
		if err := h.write(t.Context(), pools, next); err != nil {
			t.Fatalf("owner %s: write = %v", owner, err)
		}
		if !failed {
			t.Fatal("no write was made to time out")
		}
		kv.After = nil
		if err := h.write(t.Context(), pools, at(h, 6)); err != nil {
			t.Errorf("owner %s: the next write = %v: the revision was not learnt", owner, err)
		}
		if floor, _ := floorOf(t, pools); floor != 6 {
			t.Errorf("owner %s: floor = %d, want 6", owner, floor)
		}
	}
}

// A bucket that is restored from a backup under running emitters has entries from
// before those that their owners know.
func TestAnEntryThatWasSetBackIsWrittenOver(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		owner string
		epoch uint64
		fails bool
	}{
		"our own claim":           {"me", 3, false},
		"a claim before ours":     {"other", 2, false},
		"a release before ours":   {"", 2, false},
		"our own, from before":    {"me", 2, false},
		"a claim later than ours": {"other", 9, true},
	} {
		kv, pools, h := setup(t, "me")
		backup := h.entry
		backup.Owner, backup.Epoch = tt.owner, tt.epoch
		for floor := range uint64(5) {
			if err := h.write(t.Context(), pools, at(h, floor)); err != nil {
				t.Fatal(err)
			}
		}
		kv.SetBack()
		if _, err := pools.Write(t.Context(), &backup, 0); err != nil { // the restore
			t.Fatal(err)
		}
		if err := h.write(t.Context(), pools, at(h, 9)); (err != nil) != tt.fails {
			t.Errorf("%s: write = %v", name, err)
		}
		if floor, _ := floorOf(t, pools); (floor == 9) == tt.fails {
			t.Errorf("%s: floor = %d", name, floor)
		}
	}
}

func TestAnEntryThatWasDeletedIsLost(t *testing.T) {
	t.Parallel()
	_, pools, h := setup(t, "me")
	if err := pools.Delete(t.Context(), "s", h.rev); err != nil {
		t.Fatal(err)
	}
	if err := h.write(t.Context(), pools, at(h, 5)); !errors.Is(err, errLost) {
		t.Errorf("write = %v, want errLost", err)
	}
}

func TestTheLossOfTheStoresEndIsWorthAWrite(t *testing.T) {
	t.Parallel()
	_, _, h := setup(t, "me")
	spec := subscription.Default()
	spec.Selector.ByStream = wire.StringList{">"}
	var err error
	h.pool, err = pool.New(pool.Config{Config: core.Config{Record: &wire.Record{Name: "s", Spec: spec}}, Moved: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	h.entry = h.snapshot()
	h.entry.State, h.entry.Reason = wire.PoolStoreLost, "the store ended at sequence 10, before the checkpoint: it lost events; seek or restart the subscription"
	h.pool.LoseEnd(11)
	if next := h.snapshot(); next.LostFrom != 11 || next.Reason != h.entry.Reason || !differs(&h.entry, &next) {
		t.Errorf("snapshot = %+v", next)
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()
	err := Config{DrainTimeout: -1, MaxReaders: 1, EventBytes: 5, HTTP: HTTP{Allow: []string{"10.0.0.1"}, Proxy: "http://proxy"}}.Validate()
	for _, name := range []string{"SLUICE_DRAIN_TIMEOUT", "SLUICE_MAX_READERS", "SLUICE_EVENT_BYTES", "SLUICE_HTTP_ALLOW", "SLUICE_HTTP_PROXY", "SLUICE_HTTP_PER_HOST"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Validate = %v, want %s named", err, name)
		}
	}
}
