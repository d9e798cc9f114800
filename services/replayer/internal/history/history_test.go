package history_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/history"
)

func put(rev uint64, name, uid string, gen uint64) history.Entry {
	return history.Entry{Name: name, Revision: rev, UID: uid, Generation: gen}
}

func del(rev uint64, name string) history.Entry {
	return history.Entry{Name: name, Revision: rev, Deleted: true}
}

// line writes steps the way the tables below do.
func line(chains []history.Chain) []string {
	var got []string
	for _, c := range chains {
		for _, s := range c.Steps {
			got = append(got, fmt.Sprintf("%d %s %s %s/%d", s.Revision, s.Name, s.Kind, s.UID, s.Generation))
		}
	}
	return got
}

func TestFold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		entries []history.Entry
		from    uint64
		want    []string
	}{
		{"nothing", nil, 1, nil},
		{
			"a life, and another under the same name",
			[]history.Entry{put(1, "a", "u", 1), put(2, "a", "u", 2), del(3, "a"), put(4, "a", "v", 1)},
			1,
			[]string{"1 a created u/1", "2 a updated u/2", "3 a deleted u/2", "4 a recreated v/1"},
		},
		{
			"a restart is a new life without a tombstone",
			[]history.Entry{put(1, "a", "u", 1), put(2, "a", "v", 2)},
			1,
			[]string{"1 a created u/1", "2 a recreated v/2"},
		},
		{
			"what lies before the window tells what a tombstone ended",
			[]history.Entry{put(1, "a", "u", 3), del(2, "a")},
			2,
			[]string{"2 a deleted u/3"},
		},
		{
			"a tombstone before the window makes a creation a new one",
			[]history.Entry{del(1, "a"), put(2, "a", "v", 1)},
			2,
			[]string{"2 a recreated v/1"},
		},
		{
			"a tombstone of which nothing is known",
			[]history.Entry{del(9, "a")},
			1,
			[]string{"9 a deleted /0"},
		},
		{
			"the beginning is no longer kept",
			[]history.Entry{put(70, "a", "u", 66), put(71, "a", "u", 67)},
			1,
			[]string{"70 a updated u/66", "71 a updated u/67"},
		},
		{
			"what changes nothing is no step",
			[]history.Entry{put(1, "a", "u", 1), put(2, "a", "u", 1), del(3, "a"), del(4, "a")},
			1,
			[]string{"1 a created u/1", "3 a deleted u/1"},
		},
		{
			"order and repeats of the input do not matter",
			[]history.Entry{del(3, "a"), put(1, "a", "u", 1), put(2, "b", "w", 1), put(1, "a", "u", 1), del(3, "a")},
			1,
			[]string{"1 a created u/1", "3 a deleted u/1", "2 b created w/1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, line(history.Fold(tt.entries, tt.from))); diff != "" {
				t.Errorf("Fold (-want +got):\n%s", diff)
			}
		})
	}
}

func TestObserved(t *testing.T) {
	t.Parallel()
	lives := []history.Entry{
		put(1, "a", "u", 1), put(2, "a", "u", 2), del(3, "a"), put(4, "a", "v", 1), put(5, "a", "v", 2),
	}
	over := append(slices.Clone(lives), del(6, "a"))
	pool := func(uid string, gen uint64) *history.Pool {
		return &history.Pool{UID: uid, ObservedGeneration: gen}
	}
	rec := func(uid string, gen uint64) *history.Record {
		return &history.Record{UID: uid, Generation: gen}
	}
	for _, tt := range []struct {
		name    string
		entries []history.Entry
		from    uint64
		pool    *history.Pool
		record  *history.Record
		want    int
	}{
		{"no pool: only what a deletion made void", lives, 1, nil, rec("v", 2), 3},
		{"no pool, no deletion in the window", lives, 4, nil, rec("v", 2), 0},
		{"no pool and no record: all void", lives, 1, nil, nil, 5},
		{"no pool, and another life since", lives, 1, nil, rec("w", 1), 5},
		{"no pool, and it ended", over, 1, nil, nil, 6},
		{"the first state", lives, 1, pool("u", 1), rec("v", 2), 1},
		{"the first life, not its deletion", lives, 1, pool("u", 2), rec("v", 2), 2},
		{"an earlier state than the window's, of a life before it", lives, 2, pool("u", 1), rec("v", 2), 0},
		{"the second life, claimed but nothing observed", lives, 1, pool("v", 0), rec("v", 2), 3},
		{"the second life behind by one", lives, 1, pool("v", 1), rec("v", 2), 4},
		{"the last state", lives, 1, pool("v", 2), rec("v", 2), 5},
		{"a later state than the window's", lives, 1, pool("v", 9), rec("v", 9), 5},
		{"a life since the window", lives, 1, pool("w", 1), rec("w", 1), 5},
		{"a pool that no known life explains", lives, 1, pool("x", 7), rec("v", 2), 0},
		{"an orphan of the last life", over, 1, pool("v", 2), nil, 5},
		{"an orphan of the first life", over, 1, pool("u", 2), nil, 2},
		{"an orphan where the tombstone's uid is not known", over[5:], 6, pool("v", 2), nil, 0},
		{"no orphan where the tombstone's uid is not known", over[5:], 6, nil, nil, 1},
		{"the window begins with the deletion", over, 6, pool("v", 2), nil, 0},
		{
			"only the life before a restart",
			[]history.Entry{put(1, "a", "u", 1), put(2, "a", "v", 2)},
			2,
			pool("u", 1), rec("v", 2), 0,
		},
		{
			"only the life before a restart, and a read of the record that lags",
			[]history.Entry{put(1, "a", "u", 1), put(2, "a", "v", 2)},
			2, pool("u", 1), rec("u", 1), 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			chains := history.Fold(tt.entries, tt.from)
			if len(chains) != 1 {
				t.Fatalf("%d chains, want 1", len(chains))
			}
			if got := chains[0].Observed(tt.pool, tt.record); got != tt.want {
				t.Errorf("Observed = %d, want %d of %v", got, tt.want, line(chains))
			}
		})
	}
}

// world is the naive model: it performs operations on names and notes, as it
// goes, what each one was.
type world struct {
	revision uint64
	uids     int
	entries  []history.Entry
	truth    map[uint64]wire.Transition // by revision
	state    map[string]*named
}

type named struct {
	alive, existed bool
	uid            string
	gen            uint64
}

func (w *world) write(e history.Entry, kind string, uid string, gen uint64) {
	w.revision++
	e.Revision = w.revision
	w.entries = append(w.entries, e)
	if kind != "" {
		w.truth[w.revision] = wire.Transition{
			Name: e.Name, Kind: kind, UID: uid, Generation: gen, Revision: w.revision,
		}
	}
}

func (w *world) newUID() string { w.uids++; return fmt.Sprintf("uid%d", w.uids) }

// step performs one random operation that the registry could perform.
func (w *world) step(t *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	n := w.state[name]
	if n == nil {
		n = &named{}
		w.state[name] = n
	}
	op := "create"
	if n.alive {
		op = rapid.SampledFrom([]string{"update", "update", "restart", "delete", "rewrite"}).Draw(t, "op")
	} else if n.existed && rapid.Bool().Draw(t, "deleteAgain") {
		op = "deleteAgain"
	}
	switch op {
	case "create":
		kind := wire.TransitionCreated
		if n.existed {
			kind = wire.TransitionRecreated
		}
		n.alive, n.existed, n.uid, n.gen = true, true, w.newUID(), 1
		w.write(put(0, name, n.uid, n.gen), kind, n.uid, n.gen)
	case "update":
		n.gen++
		w.write(put(0, name, n.uid, n.gen), wire.TransitionUpdated, n.uid, n.gen)
	case "restart":
		n.uid, n.gen = w.newUID(), n.gen+1
		w.write(put(0, name, n.uid, n.gen), wire.TransitionRecreated, n.uid, n.gen)
	case "rewrite":
		w.write(put(0, name, n.uid, n.gen), "", "", 0)
	case "delete":
		n.alive = false
		w.write(del(0, name), wire.TransitionDeleted, n.uid, n.gen)
	case "deleteAgain":
		w.write(del(0, name), "", "", 0)
	}
}

func run(t *rapid.T) *world {
	w := &world{truth: map[uint64]wire.Transition{}, state: map[string]*named{}}
	for range rapid.IntRange(0, 60).Draw(t, "steps") {
		w.step(t)
	}
	return w
}

// keep drops all but the last n entries of each name, as the bucket does.
func keep(entries []history.Entry, n int) (kept []history.Entry) {
	seen := map[string]int{}
	for _, e := range slices.Backward(entries) {
		if seen[e.Name]++; seen[e.Name] <= n {
			kept = append(kept, e)
		}
	}
	slices.Reverse(kept)
	return kept
}

func TestFoldAgreesWithTheModelWhateverIsKeptAndWhereverItStarts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := run(t)
		limit := rapid.SampledFrom([]int{1, 2, 3, 5, 64}).Draw(t, "limit")
		from := rapid.Uint64Range(1, w.revision+1).Draw(t, "from")
		kept := keep(w.entries, limit)

		var want []wire.Transition
		seen := map[string]bool{} // names with an entry before this one among the kept
		uid := map[string]bool{}  // names whose uid is known from the kept
		for _, e := range kept {
			if e.Revision >= from {
				if step, ok := expected(w, e, seen[e.Name], uid[e.Name]); ok {
					want = append(want, step)
				}
			}
			seen[e.Name] = true
			uid[e.Name] = uid[e.Name] || !e.Deleted
		}
		if diff := cmp.Diff(want, flat(history.Fold(rapid.Permutation(kept).Draw(t, "order"), from))); diff != "" {
			t.Fatalf("limit %d, from %d (-want +got):\n%s", limit, from, diff)
		}
	})
}

// expected is the truth of e, less what cannot be known once the entry before
// it has been dropped.
func expected(w *world, e history.Entry, seen, uidKnown bool) (wire.Transition, bool) {
	step, ok := w.truth[e.Revision]
	before := 0
	for _, b := range w.entries {
		if b.Name == e.Name && b.Revision < e.Revision {
			before++
		}
	}
	dropped := !seen && before > 0
	switch {
	case dropped && e.Deleted: // it ended something, nobody knows what
		return wire.Transition{Name: e.Name, Kind: wire.TransitionDeleted, Revision: e.Revision}, true
	case dropped:
		kind := wire.TransitionUpdated
		if e.Generation == 1 {
			kind = wire.TransitionCreated
		}
		return wire.Transition{
			Name: e.Name, Kind: kind, UID: e.UID, Generation: e.Generation, Revision: e.Revision,
		}, true
	case ok && e.Deleted && !uidKnown:
		step.UID, step.Generation = "", 0
	}
	return step, ok
}

// flat returns all steps in order of revision.
func flat(chains []history.Chain) []wire.Transition {
	var all []wire.Transition
	for _, c := range chains {
		all = append(all, c.Steps...)
	}
	slices.SortFunc(all, func(a, b wire.Transition) int { return int(a.Revision) - int(b.Revision) })
	return all
}

// TestAPoolThatFollowedToAnyPointHasObservedExactlyThat lets a model emitter
// follow a name's true life to any point and stop there.
func TestAPoolThatFollowedToAnyPointHasObservedExactlyThat(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := run(t)
		from := rapid.Uint64Range(1, w.revision+1).Draw(t, "from")
		stopped := rapid.Uint64Range(0, w.revision).Draw(t, "stopped") // the last revision that emitters saw
		chains := history.Fold(w.entries, from)
		observed := make([]int, len(chains))
		first := w.revision + 1
		for i, c := range chains {
			p := poolAt(w, c.Name, stopped)
			n := w.state[c.Name]
			var r *history.Record
			if n.alive {
				r = &history.Record{UID: n.uid, Generation: n.gen}
			}
			observed[i] = c.Observed(p, r)
			want := 0
			for j, s := range c.Steps {
				void := p == nil && (r == nil || s.Kind == wire.TransitionDeleted)
				if s.Revision <= stopped || void {
					want = j + 1
				}
			}
			if observed[i] != want {
				t.Fatalf("stopped at %d: %s has observed %d, want %d of %v", stopped, c.Name, observed[i], want, line(chains[i:i+1]))
			}
			if want < len(c.Steps) {
				first = min(first, c.Steps[want].Revision)
			}
		}
		if got := history.Advance(chains, observed, w.revision); got != first-1 {
			t.Fatalf("Advance = %d, want %d", got, first-1)
		}
	})
}

// poolAt is the pool entry that an emitter leaves behind that saw everything
// up to the revision.
func poolAt(w *world, name string, revision uint64) (p *history.Pool) {
	for _, e := range w.entries {
		switch {
		case e.Name != name || e.Revision > revision:
		case e.Deleted:
			p = nil
		default:
			p = &history.Pool{UID: e.UID, ObservedGeneration: e.Generation}
		}
	}
	return p
}
