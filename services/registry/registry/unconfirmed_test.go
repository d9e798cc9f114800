package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// shaky is a bucket whose writes are not always confirmed.
type shaky struct {
	jetstream.KeyValue
	lose  atomic.Int32 // so many next writes happen, but nobody hears of it
	drop  atomic.Int32 // so many next writes do not happen, and nobody hears of it
	blind atomic.Bool  // reads fail too, once a write was lost
	lost  atomic.Bool

	onLost  func() // called when a write is lost or dropped, before its caller hears
	onceGet func() // called once, before an entry is read
}

func (k *shaky) unheard() error {
	k.lost.Store(true)
	if k.onLost != nil {
		k.onLost()
	}
	return context.DeadlineExceeded
}

func (k *shaky) fate(write func() error) error {
	if k.drop.Add(-1) >= 0 {
		return k.unheard()
	}
	err := write()
	if k.lose.Add(-1) >= 0 {
		return k.unheard()
	}
	return err
}

func (k *shaky) Update(ctx context.Context, key string, value []byte, rev uint64) (next uint64, err error) {
	err = k.fate(func() error {
		var err error
		next, err = k.KeyValue.Update(ctx, key, value, rev)
		return err
	})
	return next, err
}

func (k *shaky) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	return k.fate(func() error { return k.KeyValue.Delete(ctx, key, opts...) })
}

func (k *shaky) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	if k.blind.Load() && k.lost.Load() {
		return nil, context.DeadlineExceeded
	}
	if f := k.onceGet; f != nil {
		k.onceGet = nil
		f()
	}
	return k.KeyValue.Get(ctx, key)
}

func newShaky(t *testing.T) (*env, *shaky, *shaky) {
	e := newEnvWithoutRegistry(t)
	reg, _ := e.start(defaultConfig)
	natstest.Await(t, "the stores", func() error {
		if reg.opened.Load() == nil {
			return fmt.Errorf("not open")
		}
		return nil
	})
	records, pools := &shaky{KeyValue: e.bucket(ns.BucketSubscriptions())}, &shaky{KeyValue: e.bucket(ns.BucketPools())}
	st := *reg.opened.Load()
	st.subs, st.pools = gated{records, reg.gate}, gated{pools, reg.gate}
	reg.opened.Store(&st)
	return e, records, pools
}

func TestAWriteThatIsNotConfirmedIsLookedForAndThenAnswered(t *testing.T) {
	t.Parallel()
	e, records, pools := newShaky(t)
	for _, how := range []*atomic.Int32{&records.lose, &records.drop} {
		how.Store(1)
		got := e.subscribe("w", body())
		if !got.Created || !got.Changed || got.Subscription.Generation != 1 {
			t.Errorf("create: %+v", got)
		}
		how.Store(1)
		if got := e.subscribe("w", body(`"ack_wait":"2s"`)); got.Created || !got.Changed || got.Subscription.Generation != 2 {
			t.Errorf("change: %+v", got)
		}
		how.Store(1)
		if got := ok[wire.SubscriptionResponse](e, wire.VerbPause, "w", "").Subscription; !got.Paused || got.Generation != 3 {
			t.Errorf("pause: %+v", got)
		}
		how.Store(1)
		ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "w", "")
		_ = e.refused(wire.VerbGet, "w", "", wire.CodeNoSubscription)
	}
	e.subscribe("w", body())
	for _, how := range []*atomic.Int32{&pools.lose, &pools.drop} {
		how.Store(1)
		if got := ok[wire.SeekResponse](e, wire.VerbSeek, "w", `{"to":{"sequence":5}}`); got.ToSequence != 5 {
			t.Errorf("seek: %+v", got)
		}
	}
}

func TestAWriteOfUnknownOutcomeIsCalledSo(t *testing.T) {
	t.Parallel()
	for _, v := range everyVerb {
		if v.verb == wire.VerbGet || v.verb == wire.VerbExplain || v.verb == wire.VerbList || v.verb == wire.VerbResume || v.name == "new" {
			continue // they write nothing here, or what another case writes
		}
		t.Run(v.verb, func(t *testing.T) {
			t.Parallel()
			e, records, pools := newShaky(t)
			e.subscribe("a", body())
			for _, kv := range []*shaky{records, pools} {
				kv.blind.Store(true)
				kv.drop.Store(1)
			}
			if bad := e.refused(v.verb, v.name, v.body, wire.CodeUnavailable); bad.Outcome != wire.OutcomeUnknown {
				t.Errorf("outcome = %q, want %q", bad.Outcome, wire.OutcomeUnknown)
			}
		})
	}
}

// What a registry only remembers is no proof that its write came through.
func TestAWriteBackThatIsNotConfirmedIsLookedForToo(t *testing.T) {
	t.Parallel()
	e, records, _ := newShaky(t)
	for _, name := range []string{"again", "unknown"} {
		e.subscribe(name, body())
	}
	st, err := e.js.Stream(t.Context(), "KV_"+ns.BucketSubscriptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, how := range []*atomic.Int32{&records.lose, &records.drop} {
		how.Store(1)
		got := e.subscribe("again", body())
		if _, rev, err := subscription.NewStore(records, ns).Get(t.Context(), "again"); err != nil || got.Subscription.Revision != rev {
			t.Errorf("answered revision %d, and there is %d: %v", got.Subscription.Revision, rev, err)
		}
		if err := st.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	records.blind.Store(true)
	for _, how := range []*atomic.Int32{&records.lose, &records.drop} {
		records.lost.Store(false)
		how.Store(1)
		if bad := e.refused(wire.VerbUnsubscribe, "unknown", "{}", wire.CodeUnavailable); bad.Outcome != wire.OutcomeUnknown {
			t.Errorf("outcome = %q, want %q", bad.Outcome, wire.OutcomeUnknown)
		}
		if err := st.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// beside is what another registry does to the records meanwhile.
type beside struct {
	tb      testing.TB
	records *subscription.Store
}

func (e *env) beside() beside {
	return beside{e.tb, subscription.NewStore(e.bucket(ns.BucketSubscriptions()), ns)}
}

// create creates name, which does not exist, as a copy of rec with another uid.
func (b beside) create(rec *wire.Record, uid string) {
	now := time.Now().UTC()
	_, err := b.records.Create(context.Background(), subscription.NewRecord(rec.Name, uid, rec.Spec, subscription.Start{Sequence: 1, StoreCreated: rec.StoreCreated}, now))
	if err != nil {
		b.tb.Errorf("create %s anew: %v", rec.Name, err)
	}
}

// change writes name's record over itself, with another uid where one is given.
func (b beside) change(name, uid string) {
	rec, rev, err := b.records.Get(context.Background(), name)
	if err == nil {
		rec.UID, rec.Generation = cmp.Or(uid, rec.UID), rec.Generation+1
		_, err = b.records.Update(context.Background(), rec, rev)
	}
	if err != nil {
		b.tb.Errorf("change %s: %v", name, err)
	}
}

func TestAnUnconfirmedUnsubscribeIsNotTakenForOneOfWhatCameAfterIt(t *testing.T) {
	t.Parallel()
	e, records, _ := newShaky(t)
	other := e.beside()
	for _, tt := range []struct {
		name        string
		conditional bool
		fate        *atomic.Int32
		meanwhile   func(was *wire.Record)
		refused     wire.ErrCode // 0: it succeeds
		left        string       // uid of what there is afterwards
	}{
		{"created anew", false, &records.lose, func(was *wire.Record) { other.create(was, "anew") }, 0, "anew"},
		{"created anew, with if_revision", true, &records.lose, func(was *wire.Record) { other.create(was, "anew") }, 0, "anew"},
		{"created anew and restarted", true, &records.lose, func(was *wire.Record) {
			other.create(was, "anew")
			other.change(was.Name, "restarted")
		}, 0, "restarted"},
		{"changed first", false, &records.drop, func(was *wire.Record) { other.change(was.Name, "") }, 0, ""},
		{"changed first, with if_revision", true, &records.drop, func(was *wire.Record) { other.change(was.Name, "") }, wire.CodeConflict, "same"},
		{"restarted first", false, &records.drop, func(was *wire.Record) { other.change(was.Name, "restarted") }, 0, ""},
		{"restarted first, with if_revision", true, &records.drop, func(was *wire.Record) { other.change(was.Name, "restarted") }, wire.CodeConflict, "restarted"},
	} {
		created := e.subscribe("w", body()).Subscription
		was, rev, err := other.records.Get(t.Context(), "w")
		if err != nil {
			t.Fatal(err)
		}
		records.onLost = func() { tt.meanwhile(was) }
		tt.fate.Store(1)
		request := ""
		if tt.conditional {
			request = fmt.Sprintf(`{"if_revision":%d}`, rev)
		}
		if tt.refused != 0 {
			_ = e.refused(wire.VerbUnsubscribe, "w", request, tt.refused)
		} else if !ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "w", request).Deleted {
			t.Errorf("%s: not deleted", tt.name)
		}
		switch left, _, err := other.records.Get(t.Context(), "w"); {
		case err != nil && (tt.left != "" || !errors.Is(err, subscription.ErrNotFound)):
			t.Errorf("%s: %v", tt.name, err)
		case err == nil && left.UID != tt.left && (tt.left != "same" || left.UID != created.UID):
			t.Errorf("%s: %s is left, want %q", tt.name, left.UID, tt.left)
		}
		records.onLost = nil
		if tt.left != "" {
			ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "w", "")
		}
	}
}

// Where others wrote after a write that was not confirmed, nobody can tell any more
// whether it was made.
func TestAWriteThatOthersWroteOverIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	e, records, pools := newShaky(t)
	other := e.beside()
	changed := func() { other.change("w", "") }
	unreadable := func() {
		if _, err := records.KeyValue.Put(context.Background(), "w", []byte("{")); err != nil {
			t.Error(err)
		}
	}
	for _, tt := range []struct {
		name, verb, body string
		meanwhile        func()
	}{
		{"a conditional change", wire.VerbSubscribe, body(`"ack_wait":"2s"`), changed},
		{"a removal of what cannot be read now", wire.VerbUnsubscribe, "{}", unreadable},
	} {
		rev := e.subscribe("w", body()).Subscription.Revision
		records.onLost = tt.meanwhile
		records.drop.Store(1)
		request := fmt.Sprintf(`{"if_revision":%d,`, rev) + strings.TrimPrefix(tt.body, "{")
		if tt.verb == wire.VerbUnsubscribe {
			request = tt.body
		}
		if bad := e.refused(tt.verb, "w", request, wire.CodeUnavailable); bad.Outcome != wire.OutcomeUnknown {
			t.Errorf("%s: outcome %q, want %q", tt.name, bad.Outcome, wire.OutcomeUnknown)
		}
		records.onLost = nil
	}

	uid := e.subscribe("sought", body()).Subscription.UID
	pools.onLost = func() {
		_, err := subscription.NewPools(pools.KeyValue).Write(context.Background(), &wire.Pool{
			Schema: wire.SchemaVersion, Name: "sought", UID: uid, Owner: "emitter-1", Epoch: 1,
			State: wire.PoolLive, ClaimedAt: time.Now().UTC(), UpdatedAt: time.Now().UTC(),
		}, 0)
		if err != nil {
			t.Error(err)
		}
	}
	pools.drop.Store(1)
	bad := e.refused(wire.VerbSeek, "sought", `{"to":{"sequence":5}}`, wire.CodeUnavailable)
	if bad.Outcome != wire.OutcomeUnknown {
		t.Errorf("a seek: outcome %q, want %q", bad.Outcome, wire.OutcomeUnknown)
	}
}

func TestSeekLeavesThePoolOfASubscriptionRestartedMeanwhile(t *testing.T) {
	t.Parallel()
	e, _, pools := newShaky(t)
	e.publish("orders.1", 20)
	other := e.beside()
	e.subscribe("w", body())
	// Between the seek's look at the record and its look at the pool another
	// registry restarts the name, and an emitter claims it and goes on.
	pools.onceGet = func() {
		other.change("w", "restarted")
		_, err := subscription.NewPools(pools.KeyValue).Write(context.Background(), &wire.Pool{
			Schema: wire.SchemaVersion, Name: "w", UID: "restarted", Owner: "emitter-1", Epoch: 1,
			Checkpoint: wire.Checkpoint{Floor: 12}, State: wire.PoolLive, ClaimedAt: time.Now().UTC(), UpdatedAt: time.Now().UTC(),
		}, 0)
		if err != nil {
			t.Errorf("claim: %v", err)
		}
	}
	got := ok[wire.SeekResponse](e, wire.VerbSeek, "w", `{"to":{"sequence":5}}`)
	if got.FromSequence != 13 || got.ToSequence != 5 {
		t.Errorf("moved from %d to %d, want from 13 to 5", got.FromSequence, got.ToSequence)
	}
	pool, _, err := subscription.NewPools(pools.KeyValue).Get(t.Context(), "w")
	if err != nil || pool.UID != "restarted" || pool.Checkpoint.Floor != 4 || pool.Epoch < 2 {
		t.Errorf("the pool is %+v (%v), want that of the restarted one with floor 4", pool, err)
	}
}
