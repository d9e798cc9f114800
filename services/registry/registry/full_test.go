package registry

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// bound sets how many bytes a bucket may hold; 0 is what it holds now.
func (e *env) bound(bucket string, bytes int64) {
	e.tb.Helper()
	s, err := e.js.Stream(e.tb.Context(), "KV_"+bucket)
	if err != nil {
		e.tb.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if cfg.MaxBytes = bytes; bytes == 0 {
		cfg.MaxBytes = int64(s.CachedInfo().State.Bytes) + 1
	}
	if _, err := e.js.UpdateStream(e.tb.Context(), cfg); err != nil {
		e.tb.Fatalf("bound of %s: %v", bucket, err)
	}
}

// A bucket that is full says no to changes at once and plainly, and to nothing
// else.
func TestFull_ChangesAreRefusedInPlainWordsUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.publish("orders.1", 1)
	e.subscribe("a", body())
	for _, tt := range []struct {
		bucket           string
		verb, name, body string
	}{
		{ns.BucketSubscriptions(), wire.VerbSubscribe, "b", body()},
		{ns.BucketSubscriptions(), wire.VerbSubscribe, "a", body(`"ack_wait":"9s"`)},
		{ns.BucketSubscriptions(), wire.VerbPause, "a", ""},
		{ns.BucketSubscriptions(), wire.VerbUnsubscribe, "a", ""},
		{ns.BucketPools(), wire.VerbSeek, "a", `{"to":"all"}`},
	} {
		e.bound(tt.bucket, 0)
		for range 2 * gateFailures {
			var head wire.Head
			if err := json.Unmarshal(e.ask(tt.verb, tt.name, tt.body).Data, &head); err != nil || head.Error == nil {
				t.Fatalf("%s %s: %+v, %v", tt.verb, tt.name, head, err)
			}
			if bad := head.Error; bad.ErrCode != wire.CodeUnavailable || bad.Outcome != "" ||
				!strings.HasPrefix(bad.Description, "storage is full: the bucket "+tt.bucket) {
				t.Errorf("%s %s: %+v, want %d with what is full", tt.verb, tt.name, bad, wire.CodeUnavailable)
			}
		}
		if got := ok[wire.GetResponse](e, wire.VerbGet, "a", ""); got.Subscription == nil {
			t.Errorf("%s: what is there cannot be read", tt.verb)
		}
		e.bound(tt.bucket, 64<<20)
	}
	if got := e.subscribe("b", body()); !got.Created {
		t.Error("not created when there is room again")
	}
	ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "a", "")
}

// A bucket that is gone is for others to make: the probe only asks.
func TestGate_TheProbeMakesNoBucket(t *testing.T) {
	t.Parallel()
	e := &env{tb: t, js: natstest.Start(t).JetStream()}
	if _, err := e.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: ns.BucketSubscriptions()}); err != nil {
		t.Fatal(err)
	}
	s := api{Service: &Service{}}
	s.opened.Store(&stores{subs: gated{kv: e.bucket(ns.BucketSubscriptions())}})
	if err := s.probe(t.Context()); err != nil {
		t.Errorf("probe = %v", err)
	}
	if err := e.js.DeleteKeyValue(t.Context(), ns.BucketSubscriptions()); err != nil {
		t.Fatal(err)
	}
	if err := s.probe(t.Context()); !away(err) {
		t.Errorf("probe = %v, want that nothing can be written", err)
	}
	if _, err := e.js.KeyValue(t.Context(), ns.BucketSubscriptions()); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("the bucket: %v", err)
	}
}
