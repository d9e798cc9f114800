package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Pages are those of the sorted names, whatever came and went and whenever
// somebody looked.
func TestPagesAreThoseOfTheSortedNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v, want := newView(wire.DefaultNamespace), map[string]bool{}
		var rev uint64
		for i := range rapid.IntRange(1, 200).Draw(t, "steps") {
			name := fmt.Sprintf("n%02d", rapid.IntRange(0, 20).Draw(t, "name"))
			rev += 2
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				v.wrote(&wire.Record{Name: name}, rev)
				want[name] = true
			case 2:
				v.removed(name, rev)
				delete(want, name)
			case 3:
				v.removed(name, rev)
				v.forget(name)
				delete(want, name)
			case 4:
				v.forget(name) // only what is gone is forgotten
			case 5:
				offset, limit := rapid.IntRange(0, 12).Draw(t, "offset"), rapid.IntRange(1, 12).Draw(t, "limit")
				checkPage(t, v, want, offset, limit, i%2 == 0)
			}
		}
		checkPage(t, v, want, 0, 1000, false)
	})
}

// checkPage compares a page, of all names or of those that end in an even digit.
func checkPage(t *rapid.T, v *view, names map[string]bool, offset, limit int, even bool) {
	t.Helper()
	keep := func(r *wire.Record) bool { return (r.Name[2]-'0')%2 == 0 }
	var all []string
	for n := range names {
		if !even || keep(&wire.Record{Name: n}) {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	if !even {
		keep = nil
	}
	total, rows := v.page(offset, limit, keep)
	var got []string
	for _, r := range rows {
		got = append(got, r.record.Name)
	}
	begin := min(offset, len(all))
	want := all[begin:min(begin+limit, len(all))]
	if total != len(all) || !slices.Equal(got, want) {
		t.Fatalf("page %d+%d = %q of %d, want %q of %d", offset, limit, got, total, want, len(all))
	}
}

func TestAPageSortsNothingAnew(t *testing.T) {
	t.Parallel()
	v := newView(wire.DefaultNamespace)
	for i := range 2000 {
		v.wrote(&wire.Record{Name: fmt.Sprintf("n%d", (i*7919)%2000)}, uint64(i+1))
	}
	v.page(0, 10, nil)
	before := v.order.sorted
	v.wrote(&wire.Record{Name: "n7", Generation: 2}, 5000)
	if _, rows := v.page(0, 1000, nil); &before[0] != &v.order.sorted[0] || len(rows) != 1000 {
		t.Errorf("a page of %d rows after a change of a record was sorted anew", len(rows))
	}
}

// Names that are used once while nobody lists must not pile up.
func TestNamesThatComeAndGoWithoutAListTakeNoRoom(t *testing.T) {
	t.Parallel()
	v := newView(wire.DefaultNamespace)
	for i := range 100_000 {
		name := fmt.Sprintf("n%d", i)
		v.wrote(&wire.Record{Name: name}, uint64(2*i+1))
		v.removed(name, uint64(2*i+1))
		v.forget(name)
	}
	if n := len(v.order.sorted) + len(v.order.added); n > 4*slack || len(v.entries) > 0 {
		t.Errorf("%d names wait to be sorted, %d are known", n, len(v.entries))
	}
}

func TestANameThatComesBackBeforeAListIsListedOnce(t *testing.T) {
	t.Parallel()
	v := newView(wire.DefaultNamespace)
	rec := &wire.Record{Name: "a"}
	v.wrote(rec, 1)
	v.page(0, 10, nil)
	for rev := uint64(1); rev < 10; rev += 2 {
		v.removed("a", rev)
		v.wrote(rec, rev+2)
	}
	if total, rows := v.page(0, 10, nil); total != 1 || len(rows) != 1 || rows[0].revision != 11 {
		t.Errorf("%d in all, rows %+v, want one of revision 11", total, rows)
	}
}

func TestStatesOfABucketThatWasSetBackAreReadAnew(t *testing.T) {
	t.Parallel()
	s := newStates(nil, zerolog.Nop())
	made := time.Now()
	s.made, s.last, s.pools["a"] = made, 10, poolState{uid: "1"}
	info := &jetstream.StreamInfo{Created: made}
	info.State.LastSeq = 10
	if after, current := s.begin(info); after != 10 || !current || len(s.pools) != 1 {
		t.Errorf("unchanged: after %d, current %t, %d pools", after, current, len(s.pools))
	}
	info.State.LastSeq = 4
	if after, current := s.begin(info); after != 0 || current || len(s.pools) != 0 {
		t.Errorf("set back: after %d, current %t, %d pools, want all to be read", after, current, len(s.pools))
	}
}

// counted is a bucket that counts the entries it lists, and can stop after some.
type counted struct {
	bucket.KeyValue
	listed, most int // most 0: all
}

func (c *counted) List(ctx context.Context, f bucket.Following) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.listed = 0
	entry := f.Entry
	f.Entry = func(e jetstream.KeyValueEntry) {
		if c.most > 0 && c.listed == c.most {
			cancel()
			return
		}
		c.listed++
		entry(e)
	}
	return c.KeyValue.List(ctx, f)
}

type statesBed struct {
	t       *testing.T
	js      jetstream.JetStream
	buckets *bus.Buckets
	kv      *counted
	states  *states
}

func newStatesBed(t *testing.T) *statesBed {
	t.Helper()
	b := &statesBed{t: t, js: natstest.Start(t).JetStream()}
	b.ensure()
	b.kv = &counted{KeyValue: b.buckets.Pools}
	b.states = newStates(b.kv, zerolog.Nop())
	return b
}

func (b *statesBed) ensure() {
	b.t.Helper()
	buckets, err := bus.Ensure(b.t.Context(), b.js, bus.Layout{}, zerolog.Nop())
	if err != nil {
		b.t.Fatal(err)
	}
	b.buckets = buckets
}

func (b *statesBed) put(name string, state wire.PoolState) {
	b.t.Helper()
	now := time.Now().UTC()
	pools := subscription.NewPools(b.buckets.Pools)
	old, rev, err := pools.Get(b.t.Context(), name)
	if err != nil && !errors.Is(err, subscription.ErrNotFound) {
		b.t.Fatal(err)
	}
	epoch, err := pools.NextEpoch(b.t.Context(), old, rev)
	if err == nil {
		_, err = pools.Write(b.t.Context(), &wire.Pool{
			Schema: wire.SchemaVersion, Name: name, UID: "u", Owner: "emitter-1", Epoch: epoch, State: state,
			ObservedGeneration: 1, ClaimedAt: now, UpdatedAt: now,
		}, rev)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// check reads the states, and compares them and how many entries that took.
func (b *statesBed) check(when string, listed int, want map[string]wire.PoolState) {
	b.t.Helper()
	b.kv.listed = 0
	if err := b.states.refresh(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	got := map[string]wire.PoolState{}
	for name, p := range b.states.pools {
		got[name] = p.state
	}
	if diff := cmp.Diff(want, got); diff != "" || b.kv.listed != listed {
		b.t.Errorf("%s: %d entries were read, want %d (-want +got):\n%s", when, b.kv.listed, listed, diff)
	}
}

func TestAListByStateReadsWhatHasChangedSinceTheLast(t *testing.T) {
	t.Parallel()
	b := newStatesBed(t)
	b.check("without a pool", 0, map[string]wire.PoolState{})
	for _, name := range []string{"a", "b", "c"} {
		b.put(name, wire.PoolLive)
	}
	b.check("at first", 3, map[string]wire.PoolState{"a": wire.PoolLive, "b": wire.PoolLive, "c": wire.PoolLive})
	b.check("again", 0, map[string]wire.PoolState{"a": wire.PoolLive, "b": wire.PoolLive, "c": wire.PoolLive})
	b.put("a", wire.PoolBlocked)
	if err := b.buckets.Pools.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	b.check("after two changes", 2, map[string]wire.PoolState{"a": wire.PoolBlocked, "c": wire.PoolLive})
	b.states.expire(time.Now().Add(statesIdle))
	if len(b.states.pools) != 0 {
		t.Errorf("%d states are kept though nobody lists", len(b.states.pools))
	}
	b.check("after a while", 3, map[string]wire.PoolState{"a": wire.PoolBlocked, "c": wire.PoolLive})
	if err := b.js.DeleteStream(t.Context(), "KV_"+wire.DefaultNamespace.BucketPools()); err != nil {
		t.Fatal(err)
	}
	b.ensure()
	b.put("d", wire.PoolLive)
	b.check("of another bucket", 1, map[string]wire.PoolState{"d": wire.PoolLive})
}

// A list that has no time left leaves the rest to the next one, and proves that
// JetStream is there.
func TestAListThatIsSlowGoesOnWhereItEndedAndBlamesNobody(t *testing.T) {
	t.Parallel()
	b := newStatesBed(t)
	want := map[string]wire.PoolState{}
	for i := range 10 {
		name := fmt.Sprintf("p%d", i)
		b.put(name, wire.PoolLive)
		want[name] = wire.PoolLive
	}
	b.kv.most = 2
	s := &api{Service: &Service{gate: newGate(zerolog.Nop())}}
	for range gateFailures + 1 {
		var answer *wire.Error
		err := s.readStates(t.Context(), &stores{states: b.states})
		if !errors.As(err, &answer) || answer.ErrCode != wire.CodeUnavailable {
			t.Errorf("readStates = %v, want an answer that it is to be asked again", err)
		}
	}
	if s.gate.shut() {
		t.Error("JetStream is taken for away")
	}
	b.kv.most = 0
	b.check("with time", 10-2*(gateFailures+1), want)
}
