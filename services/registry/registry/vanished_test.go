package registry

import (
	"errors"
	"testing"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// A record that is gone without a tombstone, as after a purge of the bucket, is
// changed as it was last seen, so that its pool keeps its place.
func TestARecordThatVanishedIsWrittenBackByWhateverChangesIt(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	before := map[string]*wire.Subscription{}
	for _, name := range []string{"again", "other", "paused", "ended", "never"} {
		before[name] = e.subscribe(name, body()).Subscription
	}
	ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "never", "{}")
	st, err := e.js.Stream(t.Context(), "KV_"+ns.BucketSubscriptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	same := e.subscribe("again", body())
	if s := same.Subscription; same.Created || same.Changed || s.UID != before["again"].UID || s.Generation != 1 || s.Revision == 0 {
		t.Errorf("the same again: %+v, %+v", same, s)
	}
	other := e.subscribe("other", body(`"ack_wait":"1s"`))
	if s := other.Subscription; other.Created || !other.Changed || s.UID != before["other"].UID || s.Generation != 2 {
		t.Errorf("changed: %+v, %+v", other, s)
	}
	if s := ok[wire.SubscriptionResponse](e, wire.VerbPause, "paused", "").Subscription; !s.Paused || s.UID != before["paused"].UID {
		t.Errorf("paused: %+v", s)
	}
	if !ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "ended", "{}").Deleted {
		t.Error("not deleted")
	}
	_ = e.refused(wire.VerbUnsubscribe, "never", "{}", wire.CodeNoSubscription)
	records := subscription.NewStore(e.bucket(ns.BucketSubscriptions()), ns)
	for name, want := range map[string]error{"again": nil, "other": nil, "paused": nil, "ended": subscription.ErrNotFound, "never": subscription.ErrNotFound} {
		_, rev, err := records.Get(t.Context(), name)
		if !errors.Is(err, want) || name == "ended" && rev == 0 {
			t.Errorf("%s is there: %v, at revision %d", name, err, rev)
		}
	}
	if s := e.subscribe("never", body()); !s.Created || s.Subscription.UID == before["never"].UID {
		t.Errorf("what was deleted before: %+v", s.Subscription)
	}
}
