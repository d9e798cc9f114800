package registry

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestSubscribeCreatesWithEveryDefaultFilledIn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.publish("orders.1.placed", 3)
	got := e.subscribe("triage", body())
	if !got.Created || !got.Changed {
		t.Errorf("created, changed = %v, %v, want both", got.Created, got.Changed)
	}
	sub := got.Subscription
	if sub.Name != "triage" || sub.UID == "" || sub.Generation != 1 || sub.Revision == 0 || sub.Paused ||
		sub.CreatedAt.IsZero() || !sub.CreatedAt.Equal(sub.UpdatedAt) {
		t.Errorf("subscription = %+v", sub)
	}
	if sub.StartSequence != 4 {
		t.Errorf("start_sequence = %d, want 4: the one after the last", sub.StartSequence)
	}
	want := subscription.Default()
	want.Store, want.Deliver.Subject = "ORDERS", "work.orders"
	want.Selector.ByStream = wire.StringList{"orders.>"}
	if !subscription.Equal(&sub.Spec, &want) {
		t.Errorf("spec = %+v, want %+v", sub.Spec, want)
	}
	entry, err := e.bucket(ns.BucketSubscriptions()).Get(t.Context(), "triage")
	if err != nil {
		t.Fatalf("record: %v", err)
	}
	rec, err := subscription.DecodeRecord(subscription.EntryOf(entry), ns)
	if err != nil || rec.UID != sub.UID || entry.Revision() != sub.Revision || rec.StoreCreated.IsZero() {
		t.Errorf("record = %+v at %d, %v", rec, entry.Revision(), err)
	}
}

func TestTheSameSubscribeAgainChangesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	first := e.subscribe("triage", body(`"start":{"time":"2026-01-01T00:00:00Z"}`))
	for _, again := range []string{
		body(`"start":{"time":"2026-01-01T00:00:00Z"}`),
		body(`"start":{"time":"2026-01-01T01:00:00+01:00"}`, `"ack_wait":30000000000`, `"on_gap":"continue"`),
		`{"deliver":{"mode":"ack","subject":"work.orders"},"store":"ORDERS","selector":{"by_stream":["orders.>"]},"start":{"time":"2026-01-01T00:00:00.0Z"},"labels":{}}`,
	} {
		got := e.subscribe("triage", again)
		if got.Created || got.Changed || got.Subscription.Revision != first.Subscription.Revision || got.Subscription.Generation != 1 {
			t.Errorf("%s: %+v %+v, want nothing changed", again, got, got.Subscription)
		}
	}
}

func TestPatternsThatMeanTheSameAreNoChange(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	with := func(pattern, types string) string {
		return `{"store":"ORDERS","deliver":{"subject":"w"},"selector":{"by_event_payload":` + pattern + `,"by_event_type":` + types + `}}`
	}
	e.subscribe("p", with(`{"a":[1,{"prefix":"<x>"}],"b":true}`, `["x","y"]`))
	got := e.subscribe("p", with(`{ "b" : true , "a" : [ 1.0, {"prefix":"\u003cx>"} ] }`, `["y","x"]`))
	if got.Changed {
		t.Errorf("changed by another text of the same pattern")
	}
}

func TestChangesInPlaceKeepUIDAndStart(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	first := e.subscribe("triage", body())
	e.publish("orders.1.placed", 5)
	for i, change := range []string{
		`"ack_wait":"5s"`, `"labels":{"team":"x"}`, `"pool_size":{"min":1,"max":2}`, `"on_exhausted":"block"`,
		`"order_by":{"token":2}`, `"retry":{"max_attempts":0}`, `"expire_after":"1m"`, `"on_gap":"pause"`, `"breaker":{"failures":1}`,
	} {
		got := e.subscribe("triage", body(change)).Subscription
		if got.UID != first.Subscription.UID || got.StartSequence != first.Subscription.StartSequence ||
			got.Generation != uint64(i)+2 || !got.CreatedAt.Equal(first.Subscription.CreatedAt) {
			t.Errorf("%s: %+v", change, got)
		}
	}
	moved := e.subscribe("triage", `{"store":"ORDERS","selector":{"by_stream":"orders.>"},"deliver":{"subject":"elsewhere","mode":"publish"}}`)
	if !moved.Changed || moved.Subscription.UID != first.Subscription.UID || moved.Subscription.Spec.Deliver.Subject != "elsewhere" {
		t.Errorf("delivery change: %+v", moved.Subscription)
	}
}

func TestChangesOfStoreSelectorOrStartNeedRestart(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.store("OTHER", "other.>")
	first := e.subscribe("triage", body()).Subscription
	e.publish("orders.1.placed", 2)
	for _, tt := range []struct{ field, body string }{
		{"store", `{"store":"OTHER","selector":{"by_stream":"orders.>"},"deliver":{"subject":"work.orders"}}`},
		{"selector", `{"store":"ORDERS","selector":{"by_stream":"orders.1.>"},"deliver":{"subject":"work.orders"}}`},
		{"start", body(`"start":"all"`)},
	} {
		bad := e.refused(wire.VerbSubscribe, "triage", tt.body, wire.CodeNeedsRestart)
		if len(bad.Details) != 1 || bad.Details[0].Field != tt.field {
			t.Errorf("%s: details = %+v", tt.field, bad.Details)
		}
	}
	got := e.subscribe("triage", body(`"start":"all"`, `"restart":true`))
	if got.Created || !got.Changed || got.Subscription.UID == first.UID || got.Subscription.Generation != 2 || got.Subscription.StartSequence != 1 {
		t.Errorf("restart: %+v %+v", got, got.Subscription)
	}
	again := e.subscribe("triage", body(`"start":"all"`, `"restart":true`)).Subscription
	if again.UID == got.Subscription.UID || again.Generation != 3 {
		t.Errorf("restart of the same: %+v, want a new uid", again)
	}
}

func TestStartIsResolvedWhenTheRecordIsWritten(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.publish("orders.1.placed", 4)
	s, err := e.js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	third, err := s.GetMsg(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(2)); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		start string
		want  uint64
	}{
		{`"new"`, 5},
		{`"all"`, 4}, // 1 was purged, 2 and 3 are gone too
		{`{"sequence":1}`, 4},
		{`{"sequence":4}`, 4},
		{`{"sequence":99}`, 99},
		{`{"time":"2001-01-01T00:00:00Z"}`, 4},
		{`{"time":"0001-01-01T00:00:00Z"}`, 4},
		{`{"time":"` + third.Time.Format(time.RFC3339Nano) + `"}`, 4},
		{`{"time":"2999-01-01T00:00:00Z"}`, 5},
	} {
		if tt.start == `"all"` {
			if err := s.DeleteMsg(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
		}
		got := e.subscribe(fmt.Sprintf("s%d", i), body(`"start":`+tt.start)).Subscription
		if got.StartSequence != tt.want {
			t.Errorf("start %s: first sequence %d, want %d", tt.start, got.StartSequence, tt.want)
		}
	}
}

func TestIfRevisionMakesSubscribeConditional(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	_ = e.refused(wire.VerbSubscribe, "c", body(`"if_revision":7`), wire.CodeConflict)
	first := e.subscribe("c", body(`"if_revision":0`)).Subscription
	bad := e.refused(wire.VerbSubscribe, "c", body(`"if_revision":0`), wire.CodeConflict)
	if bad.Revision != first.Revision {
		t.Errorf("conflict names revision %d, want %d", bad.Revision, first.Revision)
	}
	rev := first.Revision
	next := e.subscribe("c", body(`"ack_wait":"1s"`, fmt.Sprintf(`"if_revision":%d`, rev))).Subscription
	bad = e.refused(wire.VerbSubscribe, "c", body(`"ack_wait":"2s"`, fmt.Sprintf(`"if_revision":%d`, rev)), wire.CodeConflict)
	if bad.Revision != next.Revision {
		t.Errorf("conflict names revision %d, want %d", bad.Revision, next.Revision)
	}
	bad = e.refused(wire.VerbUnsubscribe, "c", fmt.Sprintf(`{"if_revision":%d}`, rev), wire.CodeConflict)
	if bad.Revision != next.Revision {
		t.Errorf("conflict names revision %d, want %d", bad.Revision, next.Revision)
	}
	if !ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "c", fmt.Sprintf(`{"if_revision":%d}`, next.Revision)).Deleted {
		t.Error("not deleted")
	}
	recreated := e.subscribe("c", body(`"if_revision":0`))
	if !recreated.Created || recreated.Subscription.Generation != 1 || recreated.Subscription.UID == first.UID {
		t.Errorf("after a delete: %+v", recreated.Subscription)
	}
}

func TestOfManyConditionalCreatesOneWins(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.start(defaultConfig) // two registries share the queue group
	const n = 64
	for _, round := range []string{"new", "after a tombstone"} {
		var created, refused atomic.Int32
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				msg, err := e.nc.Request(ns.API(wire.VerbSubscribe, "race"),
					[]byte(body(`"if_revision":0`, fmt.Sprintf(`"labels":{"i":"%d"}`, i))), 5*time.Second)
				if err != nil {
					t.Errorf("%s: %v", round, err)
					return
				}
				switch errCode(msg) {
				case 0:
					created.Add(1)
				case wire.CodeConflict:
					refused.Add(1)
				default:
					t.Errorf("%s: %s", round, msg.Data)
				}
			})
		}
		wg.Wait()
		if created.Load() != 1 || refused.Load() != n-1 {
			t.Errorf("%s: %d created, %d refused, want 1 and %d", round, created.Load(), refused.Load(), n-1)
		}
		ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "race", "")
	}
}

func TestConcurrentUnconditionalChangesAllHappen(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.start(defaultConfig)
	e.subscribe("busy", body())
	const n = 24
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			msg, err := e.nc.Request(ns.API(wire.VerbSubscribe, "busy"), []byte(body(fmt.Sprintf(`"labels":{"i":"%d"}`, i))), 5*time.Second)
			if err != nil || errCode(msg) != 0 {
				t.Errorf("change %d: %v %s", i, err, msg.Data)
			}
		})
	}
	wg.Wait()
	got := ok[wire.GetResponse](e, wire.VerbGet, "busy", "")
	if got.Subscription.Generation != n+1 {
		t.Errorf("generation = %d, want %d: each change counted once", got.Subscription.Generation, n+1)
	}
}

func TestPauseAndResumeAreIdempotent(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("p", body())
	for i, tt := range []struct {
		verb       string
		paused     bool
		generation uint64
	}{
		{wire.VerbResume, false, 1}, {wire.VerbPause, true, 2}, {wire.VerbPause, true, 2}, {wire.VerbResume, false, 3}, {wire.VerbResume, false, 3},
	} {
		got := ok[wire.SubscriptionResponse](e, tt.verb, "p", "").Subscription
		if got.Paused != tt.paused || got.Generation != tt.generation {
			t.Errorf("step %d %s: paused %v generation %d, want %v %d", i, tt.verb, got.Paused, got.Generation, tt.paused, tt.generation)
		}
	}
	ok[wire.SubscriptionResponse](e, wire.VerbPause, "p", "")
	if got := e.subscribe("p", body(`"ack_wait":"1s"`)).Subscription; !got.Paused {
		t.Error("a change resumed a paused subscription")
	}
}

func TestGetShowsThePoolAndWhatItsOwnerSays(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	sub := e.subscribe("g", body()).Subscription
	got := ok[wire.GetResponse](e, wire.VerbGet, "g", "")
	if got.Pool != nil || got.Status != nil || got.Subscription.UID != sub.UID {
		t.Errorf("unclaimed: %+v", got)
	}
	pools := subscription.NewPools(e.bucket(ns.BucketPools()))
	pool := &wire.Pool{Schema: 1, Name: "g", UID: sub.UID, Owner: "emitter-1", Epoch: 1, State: wire.PoolLive, ClaimedAt: time.Now(), UpdatedAt: time.Now()}
	rev, err := pools.Write(t.Context(), pool, 0)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	got = ok[wire.GetResponse](e, wire.VerbGet, "g", "")
	if got.Pool == nil || got.Pool.Owner != "emitter-1" || got.Status != nil {
		t.Errorf("silent owner: %+v", got)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v with a silent owner", took)
	}
	_, err = e.nc.Subscribe(ns.EmitterPools("emitter-1"), func(m *nats.Msg) {
		var ask struct{ Names []string }
		if json.Unmarshal(m.Data, &ask) != nil || len(ask.Names) != 1 || ask.Names[0] != "g" {
			t.Errorf("owner was asked %s", m.Data)
		}
		_ = m.Respond([]byte(`{"pools":[{"name":"x","uid":"y"},{"name":"g","uid":"` + sub.UID + `","state":"live","in_flight":7}]}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the owner's word", func() error {
		if got := ok[wire.GetResponse](e, wire.VerbGet, "g", ""); got.Status == nil || got.Status.InFlight != 7 {
			return fmt.Errorf("status = %+v", got.Status)
		}
		return nil
	})
	pool.UID = "another"
	if _, err := pools.Write(t.Context(), pool, rev); err != nil {
		t.Fatal(err)
	}
	if got := ok[wire.GetResponse](e, wire.VerbGet, "g", ""); got.Pool != nil {
		t.Errorf("pool of another uid shown: %+v", got.Pool)
	}
}

func TestSeekMovesTheCheckpointUnderANewEpoch(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.publish("orders.1.placed", 10)
	sub := e.subscribe("s", body()).Subscription
	pools := subscription.NewPools(e.bucket(ns.BucketPools()))

	dry := ok[wire.SeekResponse](e, wire.VerbSeek, "s", `{"to":{"sequence":3},"dry_run":true}`)
	if dry.FromSequence != 11 || dry.ToSequence != 3 || dry.Events != 8 || !dry.DryRun {
		t.Errorf("dry run = %+v", dry)
	}
	if _, _, err := pools.Get(t.Context(), "s"); err == nil {
		t.Error("a dry run wrote the pool entry")
	}
	got := ok[wire.SeekResponse](e, wire.VerbSeek, "s", `{"to":{"sequence":3}}`)
	if got.FromSequence != 11 || got.ToSequence != 3 || got.Events != 8 || got.DryRun {
		t.Errorf("seek = %+v", got)
	}
	pool, rev, err := pools.Get(t.Context(), "s")
	if err != nil || pool.Owner != "" || pool.UID != sub.UID || pool.Checkpoint.Floor != 2 || pool.State != wire.PoolReleased || pool.Epoch == 0 {
		t.Fatalf("pool = %+v, %v", pool, err)
	}
	// An emitter claims it and gets somewhere.
	epoch := subscription.NextEpoch(pool, rev)
	pool.Owner, pool.Epoch, pool.Checkpoint = "emitter-1", epoch, wire.Checkpoint{Floor: 5, Ranges: [][2]uint64{{7, 8}}}
	pool.ObservedGeneration, pool.ObservedRevision, pool.ClaimedAt = 1, sub.Revision, time.Now()
	if _, err := pools.Write(t.Context(), pool, rev); err != nil {
		t.Fatal(err)
	}
	got = ok[wire.SeekResponse](e, wire.VerbSeek, "s", `{"to":"new"}`)
	if got.FromSequence != 6 || got.ToSequence != 11 || got.Events != 5 {
		t.Errorf("seek forwards = %+v", got)
	}
	pool, _, err = pools.Get(t.Context(), "s")
	if err != nil || pool.Owner != "" || pool.Epoch <= epoch || pool.Checkpoint.Floor != 10 || len(pool.Checkpoint.Ranges) > 0 ||
		pool.ObservedGeneration != 1 || pool.ObservedRevision != sub.Revision {
		t.Fatalf("pool = %+v, %v", pool, err)
	}
	for _, bad := range []string{`{}`, `{"to":null}`, `{"to":"old"}`, `{"to":{"sequence":0}}`, `{"to":"all","dry":true}`, `{"to":"all","dry_run":1}`} {
		_ = e.refused(wire.VerbSeek, "s", bad, wire.CodeBadField)
	}
	_ = e.refused(wire.VerbSeek, "s", ``, wire.CodeBadJSON)
}

func TestSeekOverATombstoneKeepsTheEpochGrowing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	sub := e.subscribe("s", body()).Subscription
	pools := subscription.NewPools(e.bucket(ns.BucketPools()))
	rev, err := pools.Write(t.Context(), &wire.Pool{Schema: 1, Name: "s", UID: sub.UID, Owner: "emitter-1", Epoch: 1, State: wire.PoolLive, ClaimedAt: time.Now(), UpdatedAt: time.Now()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := pools.Delete(t.Context(), "s", rev); err != nil {
		t.Fatal(err)
	}
	ok[wire.SeekResponse](e, wire.VerbSeek, "s", `{"to":"all"}`)
	pool, at, err := pools.Get(t.Context(), "s")
	if err != nil || pool.Epoch != rev+2 || pool.Epoch > at {
		t.Errorf("pool = %+v at %d, %v, want epoch %d, not above its revision", pool, at, err, rev+2)
	}
}

func TestListPagesAndFilters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.store("OTHER", "other.>")
	e.start(defaultConfig)
	const n = 30
	for i := range n {
		name := fmt.Sprintf("l%02d", i)
		b := body(fmt.Sprintf(`"labels":{"mod":"%d","all":"yes"}`, i%3))
		if i%2 == 1 {
			b = fmt.Sprintf(`{"store":"OTHER","selector":{"by_stream":"$all"},"deliver":{"subject":"w"},"labels":{"mod":"%d","all":"yes"}}`, i%3)
		}
		sub := e.subscribe(name, b).Subscription
		// Whichever registry answers, what was just subscribed is there.
		if got := ok[wire.ListResponse](e, wire.VerbList, "", ""); got.Total != i+1 || got.Subscriptions[i].UID != sub.UID {
			t.Fatalf("after %d subscribes: total %d", i+1, got.Total)
		}
	}
	ok[wire.SubscriptionResponse](e, wire.VerbPause, "l00", "")
	sub := ok[wire.GetResponse](e, wire.VerbGet, "l01", "").Subscription
	pools := subscription.NewPools(e.bucket(ns.BucketPools()))
	if _, err := pools.Write(t.Context(), &wire.Pool{Schema: 1, Name: "l01", UID: sub.UID, Owner: "emitter-1", Epoch: 1, State: wire.PoolWaiting, ClaimedAt: time.Now(), UpdatedAt: time.Now()}, 0); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ask                  string
		total, rows          int
		first, state         string
		wantLimit, wantOffst int
	}{
		{`{}`, n, n, "l00", "paused", 256, 0},
		{`{"limit":4}`, n, 4, "l00", "paused", 4, 0},
		{`{"limit":4,"offset":28}`, n, 2, "l28", "unclaimed", 4, 28},
		{`{"offset":99}`, n, 0, "", "", 256, 99},
		{`{"store":"OTHER"}`, n / 2, n / 2, "l01", "waiting", 256, 0},
		{`{"store":"NONE"}`, 0, 0, "", "", 256, 0},
		{`{"labels":{"mod":"1"}}`, n / 3, n / 3, "l01", "waiting", 256, 0},
		{`{"labels":{"mod":"1","all":"no"}}`, 0, 0, "", "", 256, 0},
		{`{"state":"waiting"}`, 1, 1, "l01", "waiting", 256, 0},
		{`{"state":"paused"}`, 1, 1, "l00", "paused", 256, 0},
		{`{"state":"unclaimed","limit":1}`, n - 2, 1, "l02", "unclaimed", 1, 0},
	} {
		got := ok[wire.ListResponse](e, wire.VerbList, "", tt.ask)
		if got.Total != tt.total || len(got.Subscriptions) != tt.rows || got.Limit != tt.wantLimit || got.Offset != tt.wantOffst {
			t.Errorf("%s: total %d, %d rows, offset %d, limit %d", tt.ask, got.Total, len(got.Subscriptions), got.Offset, got.Limit)
			continue
		}
		if tt.rows > 0 && (got.Subscriptions[0].Name != tt.first || got.Subscriptions[0].State != tt.state) {
			t.Errorf("%s: first %s %s, want %s %s", tt.ask, got.Subscriptions[0].Name, got.Subscriptions[0].State, tt.first, tt.state)
		}
	}
	for _, bad := range []string{`{"limit":0}`, `{"limit":1001}`, `{"offset":-1}`, `{"state":"odd"}`, `{"stores":"x"}`, `{"labels":{"a":1}}`, `{"limit":"1"}`, `{"store":null}`} {
		_ = e.refused(wire.VerbList, "", bad, wire.CodeBadField)
	}
	for i := range n {
		ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, fmt.Sprintf("l%02d", i), "")
		if got := ok[wire.ListResponse](e, wire.VerbList, "", ""); got.Total != n-i-1 {
			t.Fatalf("after %d unsubscribes: total %d", i+1, got.Total)
		}
	}
}

func TestAListThatNoMessageCarriesIsCut(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	pad := fmt.Sprintf(`{"x":["%s"]}`, string(make60k()))
	const n = 20 // 1.2 MB
	for i := range n {
		e.subscribe(fmt.Sprintf("big%02d", i), `{"store":"ORDERS","deliver":{"subject":"w"},"selector":{"by_event_payload":`+pad+`}}`)
	}
	seen := map[string]bool{}
	for offset := 0; offset < n; {
		got := ok[wire.ListResponse](e, wire.VerbList, "", fmt.Sprintf(`{"offset":%d}`, offset))
		if got.Total != n || len(got.Subscriptions) == 0 {
			t.Fatalf("page at %d: total %d, %d rows", offset, got.Total, len(got.Subscriptions))
		}
		if offset == 0 && (len(got.Subscriptions) == n || got.Limit != len(got.Subscriptions)) {
			t.Fatalf("first page: %d rows, limit %d: not cut", len(got.Subscriptions), got.Limit)
		}
		for _, s := range got.Subscriptions {
			seen[s.Name] = true
		}
		offset += len(got.Subscriptions)
	}
	if len(seen) != n {
		t.Errorf("saw %d, want %d", len(seen), n)
	}
}

func make60k() []byte {
	b := make([]byte, 60_000)
	for i := range b {
		b[i] = '<'
	}
	return b
}
