package claim

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestVanished_EntriesAreLeftToTheirOwnersForAWhile(t *testing.T) {
	t.Parallel()
	var v Vanished
	now := time.Now()
	for _, step := range []struct {
		after time.Duration
		gone  bool
		want  bool
	}{
		{0, false, false},
		{time.Second, true, true},
		{awaitOwner, true, true}, // a second less than awaitOwner since it was noticed
		{awaitOwner + time.Second, true, false},
		{awaitOwner + 2*time.Second, false, false},
		{awaitOwner + 3*time.Second, true, true}, // gone again
	} {
		if got := v.Note("p", step.gone, now.Add(step.after)); got != step.want {
			t.Errorf("after %v, gone %v: awaited = %v, want %v", step.after, step.gone, got, step.want)
		}
	}
}

func TestDecide_WritesBackAnEntryThatVanishedAndLeavesItToItsOwner(t *testing.T) {
	t.Parallel()
	rec := &wire.Record{Name: "p", UID: "u", Generation: 1}
	held := &Held{UID: "u", Generation: 1, Epoch: 3, Revision: 7, RecordRevision: 2}
	for _, tt := range []struct {
		name string
		view View
		want Action
	}{
		{"held", View{Me: "a", Record: rec, RecordRevision: 2, Rightful: "a", Vanished: true, Awaited: true, Held: held}, Restore},
		{"held, and somebody made it unreadable", View{Me: "a", Record: rec, RecordRevision: 2, Rightful: "a", PoolCorrupt: true, PoolRevision: 9, Held: held}, Restore},
		{"held, and a later version wrote it", View{Me: "a", Record: rec, RecordRevision: 2, Rightful: "a", PoolCorrupt: true, PoolNewer: true, PoolRevision: 9, Held: held}, Drop},
		{"held, and another should have it", View{Me: "a", Record: rec, RecordRevision: 2, Rightful: "b", Vanished: true, Held: held}, Restore},
		{"held, and the subscription is deleted", View{Me: "a", Deleted: true, Rightful: "a", Vanished: true, Held: held}, Remove},
		{"not held, and its owner may still write", View{Me: "a", Record: rec, RecordRevision: 2, Rightful: "a", Vanished: true, Awaited: true}, None},
		{"not held, and nobody wrote", View{Me: "a", Record: rec, RecordRevision: 2, Rightful: "a", Vanished: true}, Claim},
	} {
		if tt.view.Settled() {
			t.Errorf("%s: taken for settled", tt.name)
		}
		if got := Decide(tt.view); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
