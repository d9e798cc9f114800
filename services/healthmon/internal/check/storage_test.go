package check

import (
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestStorage_IsNearFullUntilThereIsRoomAgain(t *testing.T) {
	t.Parallel()
	w := newWorld()
	const issue = "storage_near_full sluice_pools"
	for _, tt := range []struct {
		bytes, max uint64 // both 0: not looked at
		want       string
	}{
		{890, 1000, ""},
		{5000, 0, ""},
		{900, 1000, issue},
		{1200, 1000, issue},
		{860, 1000, issue},
		{0, 0, issue},
		{840, 1000, ""},
		{860, 1000, ""},
	} {
		w.Buckets.Rooms = map[string]Room{}
		if tt.bytes > 0 {
			w.Buckets.Rooms["sluice_pools"] = Room{Bytes: tt.bytes, Max: tt.max}
		}
		if res := w.judge(time.Second); show(res.Issues) != tt.want {
			t.Errorf("%d of %d bytes: issues %q, want %q", tt.bytes, tt.max, show(res.Issues), tt.want)
		}
		w.mem = readBack(t, w.mem)
	}
}

func TestStorage_AFullParkedStreamConcernsThoseWhoCannotPark(t *testing.T) {
	t.Parallel()
	const why = "the parked stream is full: the account has used up its storage"
	w := twoPools()
	w.Buckets.Rooms = map[string]Room{"SLUICE_PARKED": {Bytes: 10, Max: 1000}}
	w.status(func(s *wire.PoolStatus) { s.Unparked, s.State = why, wire.PoolBlocked })
	for range 100 { // it explains why nothing moves, for however long
		w.Pools[0].Next = Next{Behind: true, At: start}
		res := w.judge(10 * time.Minute)
		if issues := show(res.Issues); !strings.Contains(issues, "storage_near_full SLUICE_PARKED") || strings.Contains(issues, "stalled") {
			t.Fatalf("issues = %q, want that the storage is full and no stall", issues)
		}
		for _, st := range res.Statuses {
			if said := strings.Contains(strings.Join(st.Reasons, "; "), why); said != (st.Name == "triage") {
				t.Fatalf("%s: status %s, reasons %q", st.Name, st.Status, st.Reasons)
			}
		}
	}
	silent := w.Statuses
	w.Pools[0].Next = Next{}
	w.Statuses, w.Answered = nil, nil
	if res := w.judge(time.Second); !strings.Contains(show(res.Issues), "storage_near_full") {
		t.Errorf("where owners are silent: %q", show(res.Issues))
	}
	w.Statuses = silent
	w.status(func(s *wire.PoolStatus) { s.Unparked, s.State = "", wire.PoolLive })
	if res := w.judge(time.Second); strings.Contains(show(res.Issues), "storage_near_full") {
		t.Errorf("when there is room: %q", show(res.Issues))
	}
}
