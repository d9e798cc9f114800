package claim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const testTTL = 10 * time.Second

// town is emitters over pools, some of whose sessions are all that there is of
// them. Each decides by what it sees, every half TTL.
type town struct {
	now     time.Time
	fake    []string
	real    map[string]*Idle
	owners  map[string]string // by pool; "" is nobody
	epochs  map[string]uint64
	moves   int // changes of owner
	refuses map[string]string
}

func (w *town) live() []string {
	live := slices.Clone(w.fake)
	for in := range w.real {
		live = append(live, in)
	}
	slices.Sort(live)
	return live
}

func (w *town) rightful(me, pool string) string {
	return Rightful(pool, w.real[me].Candidates(pool, w.live()))
}

func (w *town) alive(owner string) bool {
	_, ok := w.real[owner]
	return ok || slices.Contains(w.fake, owner)
}

func (w *town) take(me, pool string) {
	w.owners[pool] = me
	w.epochs[pool]++
	w.moves++
	for _, idle := range w.real {
		idle.Claimed(pool, me, w.epochs[pool])
	}
}

// act lets me do about all pools what the emitter does.
func (w *town) act(me string) {
	for _, pool := range sortedKeys(w.owners) {
		owner, right := w.owners[pool], w.rightful(me, pool)
		switch {
		case owner == me && right != me:
			w.owners[pool] = ""
		case owner != me && right == me && !w.alive(owner) && w.refuses[me] != pool:
			w.take(me, pool)
		}
	}
}

// owned are the epochs of the pools of an instance.
func (w *town) owned(instance string) map[string]uint64 {
	owned := map[string]uint64{}
	for p, o := range w.owners {
		if o == instance {
			owned[p] = w.epochs[p]
		}
	}
	return owned
}

func (w *town) look(me string) {
	idle := w.real[me]
	idle.Live(w.live(), w.now)
	for _, pool := range sortedKeys(w.owners) {
		if w.rightful(me, pool) == me || w.alive(w.owners[pool]) {
			idle.Settled(pool)
			continue
		}
		idle.Waits(pool, idle.Candidates(pool, w.live()), w.now)
	}
}

func (w *town) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(testTTL / 2) {
		for _, me := range sortedKeys(w.real) {
			w.look(me)
			w.act(me)
		}
	}
}

func (w *town) unserved() (pools []string) {
	for pool, owner := range w.owners {
		if _, ok := w.real[owner]; !ok {
			pools = append(pools, pool)
		}
	}
	return pools
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func newTown(reals, fakes, pools int) *town {
	w := &town{now: time.Now(), real: map[string]*Idle{}, owners: map[string]string{}, epochs: map[string]uint64{}, refuses: map[string]string{}}
	for i := range reals {
		me := fmt.Sprintf("emitter-%d", i)
		w.real[me] = NewIdle(me, testTTL, w.owned)
	}
	for i := range fakes {
		w.fake = append(w.fake, fmt.Sprintf("fake-%d", i))
	}
	for i := range pools {
		w.owners[fmt.Sprintf("pool-%d", i)] = ""
	}
	return w
}

func TestEveryPoolIsServedHoweverManySessionsAreFake(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newTown(rapid.IntRange(1, 4).Draw(t, "emitters"), rapid.IntRange(0, 60).Draw(t, "fakes"), rapid.IntRange(1, 12).Draw(t, "pools"))
		w.pass(5 * testTTL)
		if left := w.unserved(); len(left) > 0 {
			t.Fatalf("after five TTLs nobody serves %v", left)
		}
		w.moves = 0
		w.pass(8 * testTTL)
		if w.moves > 0 || len(w.unserved()) > 0 {
			t.Fatalf("%d pools move on and on, %v are not served", w.moves, w.unserved())
		}
	})
}

func TestAnInstanceThatFailedForThreePoolsIsLeftOutForAllUntilItClaimsOne(t *testing.T) {
	t.Parallel()
	i := NewIdle("me", testTTL, func(string) map[string]uint64 { return map[string]uint64{"old": 7} })
	now := time.Now()
	both := []string{"me", "stuck"}
	var names []string // of pools that are the other's
	for n := 0; len(names) < failsOfIdle+1; n++ {
		if name := fmt.Sprintf("pool-%d", n); Rightful(name, both) == "stuck" {
			names = append(names, name)
		}
	}
	rightful := func(name string) string { return Rightful(name, i.Candidates(name, both)) }
	wait := func(name string) {
		for _, at := range []time.Duration{0, 2 * testTTL} {
			i.Waits(name, i.Candidates(name, both), now.Add(at))
		}
	}
	last := names[failsOfIdle]
	for n, name := range names[:failsOfIdle] {
		if got := rightful(last); got != "stuck" {
			t.Fatalf("left out for all after %d failures", n)
		}
		wait(name)
		if got := rightful(name); got != "me" {
			t.Errorf("%s belongs to %q after two TTLs", name, got)
		}
	}
	if got := rightful(last); got != "me" {
		t.Errorf("after %d failures another pool belongs to %q", failsOfIdle, got)
	}
	i.Claimed("old", "stuck", 7)
	if got := rightful(last); got != "me" {
		t.Error("forgiven for a claim of long ago")
	}
	i.Claimed(last, "stuck", 1)
	if got := rightful(last); got != "stuck" {
		t.Error("not forgiven though it claims")
	}
	if got := rightful(names[0]); got != "me" {
		t.Error("a pool that it failed for is handed back to it though it did not claim it")
	}
	if i.Live(nil, now.Add(20*testTTL)); i.Suspects("stuck") {
		t.Error("remembered long after it was gone")
	}
}

func TestOnePoolThatAnInstanceCannotClaimCostsItNoOther(t *testing.T) {
	t.Parallel()
	w := newTown(3, 0, 30)
	var pool string
	for p := range w.owners {
		if w.rightful("emitter-0", p) == "emitter-1" {
			pool = p
			break
		}
	}
	w.refuses["emitter-1"] = pool
	w.pass(10 * testTTL)
	if owner := w.owners[pool]; owner == "emitter-1" || owner == "" {
		t.Errorf("the pool belongs to %q", owner)
	}
	for p, owner := range w.owners {
		if want := Rightful(p, w.live()); p != pool && owner != want {
			t.Errorf("%s belongs to %q, want %q", p, owner, want)
		}
	}
}

func TestWhoCouldNotSeeGivesEverybodyTheirTimeAnew(t *testing.T) {
	t.Parallel()
	i := NewIdle("me", testTTL, func(string) map[string]uint64 { return nil })
	now := time.Now()
	others := []string{"other"}
	i.Waits("p", others, now)
	i.Blind()
	if left := i.Waits("p", others, now.Add(3*testTTL)); len(left) > 0 {
		t.Errorf("left out: %v", left)
	}
	if left := i.Waits("p", others, now.Add(5*testTTL)); !slices.Equal(left, others) {
		t.Errorf("left out: %v, want %v", left, others)
	}
}
