package names

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// aged is a bucket whose server says that it is later than it is.
type aged struct {
	bucket.KeyValue
	by time.Duration
	// forgets, where it is not nil, is called instead of Forget.
	forgets func(ctx context.Context, key string, revision uint64) error
}

func (a *aged) Status(ctx context.Context) (jetstream.KeyValueStatus, error) {
	st, err := a.KeyValue.Status(ctx)
	if bs, ok := st.(*jetstream.KeyValueBucketStatus); ok && err == nil {
		bs.StreamInfo().TimeStamp = bs.StreamInfo().TimeStamp.Add(a.by)
	}
	return st, err
}

func (a *aged) Forget(ctx context.Context, key string, revision uint64) error {
	if a.forgets != nil {
		return a.forgets(ctx, key, revision)
	}
	return a.KeyValue.Forget(ctx, key, revision)
}

// bed is Sluice's buckets, two hours later, and what is purged from them after one.
type bed struct {
	t                     *testing.T
	records, pools, state *aged
	reconciled            uint64
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b, err := bus.Ensure(t.Context(), natstest.Start(t).JetStream(), bus.Layout{}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	const later = 2 * time.Hour
	return &bed{
		t: t, reconciled: math.MaxUint64,
		records: &aged{KeyValue: b.Subscriptions, by: later},
		pools:   &aged{KeyValue: b.Pools, by: later},
		state:   &aged{KeyValue: b.Health, by: later},
	}
}

func (b *bed) purger() *Purger {
	return New(Config{
		Subscriptions: b.records, Pools: b.pools, Health: b.state, Retention: time.Hour,
		Reconciled: func(context.Context) (uint64, error) { return b.reconciled, nil },
	})
}

// twice makes two passes, far enough from each other to purge what is due.
func (b *bed) twice(p *Purger) error {
	if _, err := p.pass(b.t.Context()); err != nil {
		return err
	}
	for key, m := range p.bare {
		m.since = m.since.Add(-p.rest())
		p.bare[key] = m
	}
	_, err := p.pass(b.t.Context())
	return err
}

func put(t *testing.T, kv bucket.KeyValue, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := kv.PutString(t.Context(), key, "v"); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, kv bucket.KeyValue, keys ...string) {
	t.Helper()
	for _, key := range keys {
		put(t, kv, key, key)
		if err := kv.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// has says what a bucket has of a key: how many entries, and whether it lives.
func has(t *testing.T, kv bucket.KeyValue, key string) string {
	t.Helper()
	h, err := kv.History(t.Context(), key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "nothing"
	}
	if err != nil {
		t.Fatal(err)
	}
	if h[len(h)-1].Operation() == jetstream.KeyValuePut {
		return fmt.Sprintf("%d, lives", len(h))
	}
	return fmt.Sprintf("%d, deleted", len(h))
}

func (b *bed) check(what string, kv bucket.KeyValue, want map[string]string) {
	b.t.Helper()
	got := map[string]string{}
	for key := range want {
		got[key] = has(b.t, kv, key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestOnlyNamesThatAreOverAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	remove(t, b.records, "over", "pooled", "watched", "troubled", "anew", "barrier.replayer")
	put(t, b.records, "anew", "lives")
	remove(t, b.pools, "over", "lives", "anew")
	put(t, b.pools, "pooled")
	remove(t, b.state, "subscription.over", "issue.stalled_pools.over", "cleanup")
	put(t, b.state, "subscription.watched", "issue.corrupt_records.troubled", "report")
	b.reconciled = lastOf(t, b.records)
	remove(t, b.records, "late")

	if err := b.twice(b.purger()); err != nil {
		t.Fatal(err)
	}
	b.check("records", b.records, map[string]string{
		"over": "nothing", "pooled": "3, deleted", "watched": "3, deleted", "troubled": "3, deleted",
		"anew": "4, lives", "lives": "1, lives", "late": "3, deleted", "barrier.replayer": "3, deleted",
	})
	b.check("pools", b.pools, map[string]string{"over": "nothing", "lives": "nothing", "anew": "nothing", "pooled": "1, lives"})
	b.check("health", b.state, map[string]string{
		"subscription.over": "nothing", "issue.stalled_pools.over": "nothing", "cleanup": "1, deleted",
		"subscription.watched": "1, lives", "issue.corrupt_records.troubled": "1, lives", "report": "1, lives",
	})
}

func lastOf(t *testing.T, kv bucket.KeyValue) uint64 {
	t.Helper()
	st, err := kv.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.(*jetstream.KeyValueBucketStatus).StreamInfo().State.LastSeq
}

func TestNothingIsForgottenBeforeItsTime(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, a := range []*aged{b.records, b.pools, b.state} {
		a.by = 50 * time.Minute
	}
	remove(t, b.records, "a")
	remove(t, b.pools, "a")
	remove(t, b.state, "subscription.a")
	if err := b.twice(b.purger()); err != nil {
		t.Fatal(err)
	}
	b.check("records", b.records, map[string]string{"a": "3, deleted"})
	b.check("pools", b.pools, map[string]string{"a": "1, deleted"})
	b.check("health", b.state, map[string]string{"subscription.a": "1, deleted"})
}

// A crash of the server may undo a part of what it purged last. The tombstone
// must be there as long as that could be the purge of a record.
func TestTheTombstoneOutlivesTheHistory(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	remove(t, b.records, "a")
	p := b.purger()
	for range 2 {
		if left, err := p.pass(t.Context()); err != nil || !left {
			t.Fatalf("pass = %v, %v, want it to leave something", left, err)
		}
		b.check("too early", b.records, map[string]string{"a": "1, deleted"})
	}
	if err := b.twice(p); err != nil {
		t.Fatal(err)
	}
	b.check("in time", b.records, map[string]string{"a": "nothing"})
}

func TestANameThatIsMadeAnewMeanwhileSurvives(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	remove(t, b.records, "a")
	remove(t, b.pools, "a")
	again := func(kv bucket.KeyValue) func(context.Context, string, uint64) error {
		return func(ctx context.Context, key string, revision uint64) error {
			put(t, kv, key)
			return kv.Forget(ctx, key, revision)
		}
	}
	b.records.forgets, b.pools.forgets = again(b.records.KeyValue), again(b.pools.KeyValue)
	if err := b.twice(b.purger()); err != nil {
		t.Fatal(err)
	}
	b.check("records", b.records, map[string]string{"a": "2, lives"}) // the tombstone is no longer the last
	b.check("pools", b.pools, map[string]string{"a": "1, lives"})
}

var errKilled = errors.New("killed")

// TestAPurgerMayDieBetweenAnyTwoRequests ends purgers before and after each of
// their requests: what lived lives, what was deleted stays so, and the next one
// finishes.
func TestAPurgerMayDieBetweenAnyTwoRequests(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	put(t, b.records, "lives")
	put(t, b.pools, "lives")
	gone := []string{"a", "b"}
	for request := range 24 {
		remove(t, b.records, gone...)
		remove(t, b.pools, gone...)
		remove(t, b.state, "subscription.a", "subscription.b")
		var sent atomic.Int64
		for _, a := range []*aged{b.records, b.pools, b.state} {
			a.forgets = func(ctx context.Context, key string, revision uint64) error {
				n := sent.Add(1)
				if n == int64(request/2) && request%2 == 0 {
					return errKilled
				}
				err := a.KeyValue.Forget(ctx, key, revision)
				if n == int64(request/2) {
					return errKilled
				}
				return err
			}
		}
		if err := b.twice(b.purger()); err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		for _, name := range gone {
			for _, kv := range []*aged{b.records, b.pools} {
				if _, err := kv.Get(t.Context(), name); !errors.Is(err, jetstream.ErrKeyNotFound) {
					t.Fatalf("after request %d of bucket %s: Get(%s) = %v", request, kv.Bucket(), name, err)
				}
			}
		}
		b.records.forgets, b.pools.forgets, b.state.forgets = nil, nil, nil
		if err := b.twice(b.purger()); err != nil {
			t.Fatal(err)
		}
		nothing := map[string]string{"a": "nothing", "b": "nothing", "lives": "1, lives"}
		b.check(fmt.Sprintf("records after a death at request %d", request), b.records, nothing)
		b.check(fmt.Sprintf("pools after a death at request %d", request), b.pools, nothing)
		b.check("health", b.state, map[string]string{"subscription.a": "nothing", "subscription.b": "nothing"})
	}
}

func TestAPurgerWithoutRetentionDoesNothing(t *testing.T) {
	t.Parallel()
	p := New(Config{})
	p.Run(t.Context()) // returns
	if p.cfg.Retention != 0 {
		t.Error("a retention was made up")
	}
}
