package hostile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// object is an entry as JSON has it.
type object = map[string]any

// set returns the harm of putting a value at a path of members.
func set(value any, path ...string) func(object) {
	return func(o object) {
		for _, name := range path[:len(path)-1] {
			next, ok := o[name].(object)
			if !ok {
				next = object{}
				o[name] = next
			}
			o = next
		}
		o[path[len(path)-1]] = value
	}
}

// entry is an entry that can be read and cannot be true, made from a good one.
type entry struct {
	what string
	harm func(object)
}

// Numbers and times that nothing can have.
const (
	most       = uint64(math.MaxUint64)
	longAgo    = "1907-01-01T00:00:00Z"
	never      = "0001-01-01T00:00:00Z"
	muchLater  = "2326-01-01T00:00:00Z"
	endOfTimes = "9999-12-31T23:59:59Z"
)

// pools are entries of the pools bucket.
func pools() []entry {
	return []entry{
		{"a floor at the end of numbers", set(most, "checkpoint", "floor")},
		{"ranges at the end of numbers", set([]any{[]any{most - 1, most}}, "checkpoint", "ranges")},
		{"ranges that go back", set([]any{[]any{90, 91}, []any{80, 81}}, "checkpoint", "ranges")},
		{"a floor below nothing", set(-1, "checkpoint", "floor")},
		{"an owner that is a wildcard", set("*", "owner")},
		{"an owner that is many tokens", set("emitter.>", "owner")},
		{"an owner of a kilobyte", set(strings.Repeat("e", 1<<10), "owner")},
		{"an epoch from the future", set(uint64(1)<<52, "epoch")},
		{"an epoch at the end of numbers", set(most, "epoch")},
		{"a revision from the future", set(uint64(1)<<52, "observed_revision")},
		{"a generation from the future", set(most, "observed_generation")},
		{"a beginning ahead of its floor", set(uint64(1)<<40, "begin")},
		{"a loss at the end of numbers", set(most, "lost_from")},
		{"a schema below nothing", set(-7, "schema")},
		{"a state that is no word", set("<script>", "state")},
		{"a state of a kilobyte", set(strings.Repeat("s", 1<<10), "state")},
		{"a reason of 100 kB", set(strings.Repeat("r", 100<<10), "reason")},
		{"a gap that goes back", set(object{"from": 9, "to": 3}, "gap")},
		{"a gap with more events than numbers", set(object{"from": 1, "to": 3, "count": 1 << 40}, "gap")},
		{"a gap at the end of times", set(object{"from": 1, "to": 3, "at": endOfTimes}, "gap")},
		{"holes at the end of numbers", set(object{"to": most}, "holes")},
		{"holes beyond their end", set(object{"to": 5, "ranges": []any{[]any{1, 1 << 50}}}, "holes")},
		{"holes that overlap", set(object{"to": 50, "ranges": []any{[]any{1, 9}, []any{5, 12}}}, "holes")},
		{"holes without end", set(object{"to": 1 << 20, "ranges": ranges(5000)}, "holes")},
		{"a claim before there were computers", set(longAgo, "claimed_at")},
		{"a claim in 300 years", set(muchLater, "claimed_at")},
		{"a change at the end of times", set(endOfTimes, "updated_at")},
		{"a change that never was", set(never, "updated_at")},
	}
}

func ranges(n int) (rs []any) {
	for i := range n {
		rs = append(rs, []any{3*i + 1, 3*i + 2})
	}
	return rs
}

// records are entries of the subscriptions bucket.
func records() []entry {
	return []entry{
		{"a generation at the end of numbers", set(most, "generation")},
		{"a start at the end of numbers", set(most, "start_sequence")},
		{"a store of another world", set(endOfTimes, "store_created")},
		{"made before there were computers", set(longAgo, "created_at")},
		{"never made", set(never, "created_at")},
		{"a change in 300 years", set(muchLater, "updated_at")},
		{"a schema below nothing", set(-7, "schema")},
		{"another's name", set("other", "name")},
		{"no uid", set("", "uid")},
		{"a store that is no name", set("a.b", "spec", "store")},
		{"the store of parked events", set("SLUICE_PARKED", "spec", "store")},
		{"no selector", set(object{}, "spec", "selector")},
		{"a filter that is no subject", set("a..b", "spec", "selector", "by_stream")},
		{"a pattern that is none", set(object{"a": object{"b": []any{}}}, "spec", "selector", "by_event_pattern")},
		{"a delivery to JetStream", set("$JS.API.STREAM.DELETE.EVENTS", "spec", "deliver", "subject")},
		{"a delivery to a wildcard", set(">", "spec", "deliver", "subject")},
		{"a delivery to Sluice", set("sluice.v1.api.unsubscribe.x", "spec", "deliver", "subject")},
		{"an ack_wait of 300 years", set("2629800h", "spec", "ack_wait")},
		{"an end before the beginning", set("-1h", "spec", "expire_after")},
		{"a pool of less than nothing", set(-1, "spec", "pool_size", "max")},
		{"a word that is none", set("explode", "spec", "on_gap")},
	}
}

// harmed is the entry with the harm done to it.
func (x entry) harmed(e *harness.Env, good []byte) []byte {
	e.T.Helper()
	var o object
	dec := json.NewDecoder(bytes.NewReader(good))
	dec.UseNumber()
	if err := dec.Decode(&o); err != nil {
		e.T.Fatal(err)
	}
	x.harm(o)
	bad, err := json.Marshal(o)
	if err != nil {
		e.T.Fatal(err)
	}
	return bad
}

// bucket is one of Sluice's buckets, as a stranger sees it.
type bucketOf struct {
	e  *harness.Env
	kv jetstream.KeyValue
}

func openBucket(e *harness.Env, name string) bucketOf {
	e.T.Helper()
	kv, err := e.JS.KeyValue(e.Context(), name)
	if err != nil {
		e.T.Fatal(err)
	}
	return bucketOf{e, kv}
}

func (b bucketOf) get(key string) jetstream.KeyValueEntry {
	b.e.T.Helper()
	v, err := b.kv.Get(b.e.Context(), key)
	if err != nil {
		b.e.T.Fatalf("read %s: %v", key, err)
	}
	return v
}

func (b bucketOf) put(key string, value []byte) {
	b.e.T.Helper()
	if _, err := b.kv.Put(b.e.Context(), key, value); err != nil {
		b.e.T.Fatalf("write %s: %v", key, err)
	}
}

// all subscribes name to every event from the first on, and has them recorded.
func all(e *harness.Env, name string) *harness.Recorder {
	e.T.Helper()
	r := e.Record("to."+name, harness.Ack)
	e.Subscribe(name, client.Spec{
		Store: "EVENTS", Selector: client.Selector{ByStream: []string{wire.AllStreams}},
		Start: client.FromAll(), Deliver: client.Deliver{Subject: "to." + name},
	})
	return r
}

// Whoever may write a bucket may put there what can be read and cannot be true. It
// disturbs nobody else, the monitor says where it is, and once it is repaired the
// subscription has lost nothing.
func TestEntries_ThatCannotBeTrueAreCorruptAndDisturbNobody(t *testing.T) {
	t.Parallel()
	e := harness.New(t, harness.Vars("SLUICE_CLEANUP_ENABLED", "false"))
	e.Store("EVENTS", "events.>")
	for _, service := range []string{wire.ServiceRegistry, wire.ServiceHealthmon, wire.ServiceReplayer} {
		e.Start(service)
	}
	emitter := e.Start(wire.ServiceEmitter)
	neighbour := all(e, "neighbour")
	last := publishEvents(e, 5)
	e.AwaitFloor("neighbour", last)
	victims, wants := map[string]*harness.Recorder{}, map[string]string{} // by name: the bucket
	subscriptions, claims := openBucket(e, ns.BucketSubscriptions()), openBucket(e, ns.BucketPools())

	good := claims.get("neighbour").Value()
	for i, tt := range pools() { // each is there before its subscription is
		name := fmt.Sprint("pool-", i)
		named := entry{harm: set(name, "name")}
		claims.put(name, tt.harmed(e, named.harmed(e, good)))
		victims[name], wants[name] = all(e, name), "pools"
	}
	for i, tt := range records() {
		name := fmt.Sprint("record-", i)
		victims[name], wants[name] = all(e, name), "subscriptions"
		e.AwaitFloor(name, last)
		subscriptions.put(name, tt.harmed(e, subscriptions.get(name).Value()))
	}

	emitter.Stop()
	last = publishEvents(e, 5)
	e.Start(wire.ServiceEmitter)
	last = max(last, publishEvents(e, 5))
	neighbour.AwaitAll(upTo(1, last))
	all(e, "fresh").AwaitAll(upTo(1, last))

	issues := map[string]wire.Issue{}
	e.Await("a report", func() error {
		report, err := e.Client.CheckHealth(e.Context())
		if err != nil {
			return err
		}
		for _, i := range report.Issues.Corrupt {
			issues[i.Name] = i
		}
		return is(report.TotalSubscriptions, len(victims)+2)
	})
	for name, bucket := range wants {
		if i, ok := issues[name]; !ok || i.Kind != wire.IssueCorruptRecord || i.Evidence["bucket"] != bucket || i.Detail == "" {
			t.Errorf("%s: issue %+v, want a corrupt one of %s", what(name), i, bucket)
			continue
		}
		done, err := e.Client.Repair(e.Context(), wire.RepairRequest{Kind: wire.IssueCorruptRecord, Name: name})
		if err != nil || done.Outcome != "done" {
			t.Errorf("%s: repair %+v, %v", what(name), done, err)
		}
		delete(issues, name)
	}
	if len(issues) != 0 {
		t.Errorf("of nobody's making: %+v", issues)
	}
	last = publishEvents(e, 5)
	for name, r := range victims {
		if t.Failed() {
			break // it would wait for ever
		}
		t.Log(what(name))
		r.AwaitAll(upTo(1, last))
	}
	neighbour.RequireExactly("the neighbour", upTo(1, last))
}

// what is the case that a name stands for.
func what(name string) string {
	var i int
	if n, _ := fmt.Sscanf(name, "pool-%d", &i); n == 1 {
		return "a pool with " + pools()[i].what
	}
	_, _ = fmt.Sscanf(name, "record-%d", &i)
	return "a record with " + records()[i].what
}

// Who holds a pool writes back what somebody made of its entry, and goes on from
// its place.
func TestEntries_OfPoolsThatAreHeldAreWrittenBack(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Store("EVENTS", "events.>")
	e.StartAll()
	recorders := map[string]*harness.Recorder{}
	for i := range pools() {
		name := fmt.Sprint("pool-", i)
		recorders[name] = all(e, name)
	}
	last := publishEvents(e, 5)
	claims := openBucket(e, ns.BucketPools())
	harmed := map[string]uint64{}
	for i, tt := range pools() {
		name := fmt.Sprint("pool-", i)
		e.AwaitFloor(name, last)
		good := claims.get(name)
		claims.put(name, tt.harmed(e, good.Value()))
		harmed[name] = good.Revision() + 1
	}
	for name := range recorders {
		e.AwaitPool(name, what(name)+" written back", func(p *wire.Pool) error {
			if claims.get(name).Revision() <= harmed[name] {
				return errors.New("not yet")
			}
			return is(p.Checkpoint.Floor, last)
		})
	}
	last = publishEvents(e, 5)
	for name, r := range recorders {
		e.AwaitFloor(name, last)
		r.RequireExactly(what(name), upTo(1, last))
	}
}

// A place beyond the end of the store may be true: the store may have lost its
// end. Either way nothing is passed over, also when the store grows beyond it.
func TestEntries_ThatNameAPlaceBeyondTheStoreSkipNothing(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Store("EVENTS", "events.>")
	for _, service := range []string{wire.ServiceRegistry, wire.ServiceHealthmon} {
		e.Start(service)
	}
	emitter := e.Start(wire.ServiceEmitter)
	victim, neighbour := all(e, "victim"), all(e, "neighbour")
	last := publishEvents(e, 5)
	e.AwaitFloor("victim", last)
	e.AwaitFloor("neighbour", last)
	emitter.Stop()
	claims := openBucket(e, ns.BucketPools())
	claims.put("victim", entry{harm: set(last+50, "checkpoint", "floor")}.harmed(e, claims.get("victim").Value()))
	e.Start(wire.ServiceEmitter)
	e.AwaitPool("victim", "the store's end missed", func(p *wire.Pool) error { return is(p.State, wire.PoolStoreLost) })
	last = publishEvents(e, 100)
	neighbour.AwaitAll(upTo(1, last))
	e.Await("a report", func() error {
		report, err := e.Client.CheckHealth(e.Context())
		if err == nil && len(report.Issues.LostStores) != 1 {
			err = fmt.Errorf("lost stores: %+v", report.Issues.LostStores)
		}
		return err
	})
	if n := victim.Count(); n != 5 {
		t.Errorf("%d deliveries of a store whose end is lost, want the 5 before", n)
	}
	if _, err := e.Client.Seek(e.Context(), "victim", wire.SeekRequest{To: wire.Position{Kind: wire.PositionSequence, Sequence: 6}}); err != nil {
		t.Fatal(err)
	}
	victim.AwaitAll(upTo(1, last))
}

// An entry that names a later record than there is may only be ahead of what one
// sees, so nobody claims its pool; the monitor, which asks the server, removes it.
func TestEntries_OfARecordThatNeverWasKeepNoSubscriptionWaiting(t *testing.T) {
	t.Parallel()
	e := harness.New(t, harness.Vars("SLUICE_SESSION_TTL", "2s"))
	e.Store("EVENTS", "events.>")
	e.StartAll()
	neighbour := all(e, "neighbour")
	last := publishEvents(e, 5)
	e.AwaitFloor("neighbour", last)
	claims := openBucket(e, ns.BucketPools())
	harm := func(o object) {
		o["name"], o["uid"], o["owner"] = "victim", "another", ""
		o["observed_revision"] = time.Now().UnixMicro()
	}
	claims.put("victim", entry{harm: harm}.harmed(e, claims.get("neighbour").Value()))
	victim := all(e, "victim")
	victim.AwaitAll(upTo(1, last))
	neighbour.RequireExactly("the neighbour", upTo(1, last))
}
