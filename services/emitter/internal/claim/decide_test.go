package claim

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestWhatIsSettledNeedsNoContents(t *testing.T) {
	t.Parallel()
	settled := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		few := func(what string) uint64 { return rapid.Uint64Range(1, 3).Draw(t, what) }
		who := func(what string) string { return rapid.SampledFrom([]string{"me", "other", ""}).Draw(t, what) }
		uid := func(what string) string { return rapid.SampledFrom([]string{"u1", "u2"}).Draw(t, what) }
		v := View{
			Me: "me", Rightful: rapid.SampledFrom([]string{"me", "me", "me", "me", "other", ""}).Draw(t, "rightful"), RecordRevision: few("record"), PoolRevision: few("entry"),
			Deleted: rapid.Bool().Draw(t, "deleted"), PoolCorrupt: rapid.Bool().Draw(t, "corrupt"),
			OwnerAlive: rapid.Bool().Draw(t, "alive"), Contested: rapid.Bool().Draw(t, "contested"),
		}
		if rapid.Bool().Draw(t, "held") {
			v.Held = &Held{UID: uid("held uid"), Generation: few("held generation"), Epoch: few("held epoch"), Revision: few("held entry"), RecordRevision: few("held record")}
		}
		if rapid.Bool().Draw(t, "has record") {
			v.Record = &wire.Record{UID: uid("record uid"), Generation: few("generation")}
		}
		if rapid.Bool().Draw(t, "has entry") {
			v.Pool = &wire.Pool{Owner: who("owner"), UID: uid("entry uid"), Epoch: few("epoch"), ObservedRevision: few("observed")}
		}
		v.Named = v.Pool != nil && v.Pool.Owner == v.Me || rapid.Bool().Draw(t, "named by chance")
		if !v.Settled() {
			return
		}
		settled[v.Held != nil]++
		if a := Decide(v); a != None {
			t.Fatalf("settled, but to be decided: %s", a)
		}
		v.Record, v.Pool, v.PoolCorrupt, v.OwnerAlive = nil, nil, false, false
		if a := Decide(v); a != None {
			t.Fatalf("settled, but to be decided where nothing was decoded: %s", a)
		}
	})
	if settled[true] == 0 || settled[false] == 0 {
		t.Errorf("%d views of pools that are held were settled, and %d of others", settled[true], settled[false])
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	rec := func(uid string, gen uint64) *wire.Record { return &wire.Record{UID: uid, Generation: gen} }
	entry := func(owner, uid string, epoch, observed uint64) *wire.Pool {
		return &wire.Pool{Owner: owner, UID: uid, Epoch: epoch, ObservedRevision: observed}
	}
	held := &Held{UID: "u1", Generation: 1, Epoch: 5, Revision: 10, RecordRevision: 3}
	for _, tt := range []struct {
		name string
		v    View
		want Action
	}{
		{"nothing is known", View{}, None},
		{"a new subscription", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me"}, Claim},
		{"a new subscription of somebody else's", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "other"}, None},
		{"a released pool", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("", "u1", 4, 3)}, Claim},
		{"the owner lives", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("other", "u1", 4, 3), OwnerAlive: true}, None},
		{"the owner is dead", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("other", "u1", 4, 3)}, Claim},
		{"the owner is dead, but took it from us again and again", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("other", "u1", 4, 3), Contested: true}, None},
		{"fought over, and without an owner now", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("", "u1", 4, 3), Contested: true}, Claim},
		{"fought over, and our own", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("me", "u1", 4, 3), OwnerAlive: true, Contested: true}, Claim},
		{"held, fought over, another owner", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Held: held, Pool: entry("other", "u1", 11, 3), PoolRevision: 11, Contested: true}, Drop},
		{"our own claim whose answer was lost", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("me", "u1", 4, 3), OwnerAlive: true}, Claim},
		{"ours, not held, and somebody else should have it", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "other", Pool: entry("me", "u1", 4, 3), OwnerAlive: true}, Claim},
		{"the same, as the other sees it", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("other", "u1", 4, 3), OwnerAlive: true}, None},
		{"ours, not held, without a session", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "other", Pool: entry("me", "u1", 4, 3)}, None},
		{"ours, not held, deleted, and somebody else should have it", View{Deleted: true, RecordRevision: 9, Rightful: "other", Pool: entry("me", "u1", 4, 3), OwnerAlive: true}, Remove},
		{"ours, not held, and it cannot be read", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "other", PoolCorrupt: true, OwnerAlive: true}, None},
		{"the entry was made from a newer record", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Pool: entry("", "u2", 4, 9)}, None},
		{"created anew", View{Record: rec("u2", 1), RecordRevision: 9, Rightful: "me", Pool: entry("", "u1", 4, 3)}, Claim},
		{"the entry cannot be read", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", PoolCorrupt: true, PoolRevision: 8}, None},
		{"deleted, its owner dead", View{Deleted: true, RecordRevision: 9, Rightful: "me", Pool: entry("other", "u1", 4, 3)}, Remove},
		{"deleted, its owner alive", View{Deleted: true, RecordRevision: 9, Rightful: "me", Pool: entry("other", "u1", 4, 3), OwnerAlive: true}, None},
		{"absent without a tombstone", View{Rightful: "me", Pool: entry("", "u1", 4, 3)}, None},
		{"held, all is well", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 10}, None},
		{"held, our own newer write", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 11}, None},
		{"held, an older entry", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Held: held, Pool: entry("other", "u1", 4, 3), PoolRevision: 9}, None},
		{"held, another owner", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Held: held, Pool: entry("other", "u1", 11, 3), PoolRevision: 11}, Drop},
		{"held, another epoch", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Held: held, Pool: entry("me", "u1", 11, 3), PoolRevision: 11}, Drop},
		{"held, the entry was deleted", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "me", Held: held, PoolRevision: 11}, Drop},
		{"held, somebody else should have it", View{Record: rec("u1", 1), RecordRevision: 3, Rightful: "other", Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 10}, Release},
		{"held, nobody is known to live", View{Record: rec("u1", 1), RecordRevision: 3, Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 10}, None},
		{"held, a change", View{Record: rec("u1", 2), RecordRevision: 4, Rightful: "me", Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 10}, Restart},
		{"held, created anew", View{Record: rec("u2", 1), RecordRevision: 4, Rightful: "me", Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 10}, Restart},
		{"held, an old record", View{Record: rec("u0", 7), RecordRevision: 2, Rightful: "me", Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 10}, None},
		{"held, deleted", View{Deleted: true, RecordRevision: 4, Rightful: "me", Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 10}, Remove},
		{"held, the record is absent without a tombstone", View{Rightful: "me", Held: held, Pool: entry("me", "u1", 5, 3), PoolRevision: 10}, None},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.v.Me = "me"
			if got := Decide(tt.v); got != tt.want {
				t.Errorf("Decide = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRightfulMovesOnlyTheShareOfWhoComesOrGoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`emitter-[0-9a-f]{4}`), 1, 8, rapid.ID[string]).Draw(t, "instances")
		gone := rapid.SampledFrom(ids).Draw(t, "gone")
		name := rapid.StringMatching(`[a-z]{1,12}`).Draw(t, "name")
		before := Rightful(name, ids)
		shuffled := rapid.Permutation(ids).Draw(t, "shuffled")
		if got := Rightful(name, shuffled); got != before {
			t.Fatalf("the order of instances matters: %q, then %q", before, got)
		}
		rest := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == gone })
		if after := Rightful(name, rest); before != gone && after != before {
			t.Fatalf("pool %q moved from %q to %q although %q went", name, before, after, gone)
		}
	})
}

func TestRightfulSpreadsEvenly(t *testing.T) {
	t.Parallel()
	ids := []string{"emitter-1", "emitter-2", "emitter-3", "emitter-4"}
	share := map[string]int{}
	const pools = 10_000
	for i := range pools {
		share[Rightful(fmt.Sprintf("subscription-%d", i), ids)]++
	}
	for _, id := range ids {
		if n := share[id]; n < pools/5 || n > pools*3/10 {
			t.Errorf("%s has %d of %d pools, want about a quarter", id, n, pools)
		}
	}
	if got := Rightful("x", nil); got != "" {
		t.Errorf("Rightful of nobody = %q", got)
	}
}
