package replayer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
)

// nothingOf says what a bucket still has of a key, if anything.
func (e *env) nothingOf(kv bucket.KeyValue, key string) error {
	h, err := kv.History(e.t.Context(), key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	return fmt.Errorf("bucket %s has %d entries of %s (%w)", kv.Bucket(), len(h), key, err)
}

// A name that is over leaves nothing. One whose end no emitter has observed keeps
// its tombstone, whatever its age.
func TestNamesThatAreOverAreForgotten(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	common := e.common()
	common.NamesRetention = service.MinNamesRetention
	e.run(impatient(), service.Discard(common), nil)
	for _, name := range []string{"over", "open"} {
		e.create(name)
		e.mustObserve(name)
		if _, err := e.buckets.Health.PutString(t.Context(), "subscription."+name, "{}"); err != nil {
			t.Fatal(err)
		}
		e.remove(name)
		if err := e.buckets.Health.Delete(t.Context(), "subscription."+name); err != nil {
			t.Fatal(err)
		}
	}
	e.mustObserve("over")
	natstest.Await(t, "the end of a name", func() error {
		return errors.Join(e.nothingOf(e.buckets.Subscriptions, "over"), e.nothingOf(e.buckets.Pools, "over"),
			e.nothingOf(e.buckets.Health, "subscription.over"), e.nothingOf(e.buckets.Health, "subscription.open"))
	})
	h, err := e.buckets.Subscriptions.History(t.Context(), "open")
	if err != nil || len(h) != 2 {
		t.Errorf("of a name whose end is not observed the bucket has %v (%v)", h, err)
	}
	// It may come back under the same name, with a higher epoch.
	e.create("over")
	e.mustObserve("over")
	e.mustObserve("open")
	natstest.Await(t, "the end of the other name", func() error { return e.nothingOf(e.buckets.Subscriptions, "open") })
	if _, err := e.buckets.Subscriptions.Get(t.Context(), "over"); err != nil {
		t.Errorf("the name that came back: %v", err)
	}
}
