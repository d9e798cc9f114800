package bucket_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
)

// tombstone writes key a few times, deletes it, and returns the last revision.
func tombstone(t *testing.T, kv bucket.KeyValue, key string) uint64 {
	t.Helper()
	for i := range 3 {
		if _, err := kv.PutString(t.Context(), key, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	var gone *bucket.DeletedError
	if _, err := kv.Get(t.Context(), key); !errors.As(err, &gone) {
		t.Fatalf("Get = %v, want a tombstone", err)
	}
	return gone.Revision
}

func TestWhatIsForgottenLeavesNothing(t *testing.T) {
	t.Parallel()
	_, kv := open(t)
	rev := tombstone(t, kv, "k")
	neighbour := tombstone(t, kv, "k.x")
	if err := kv.Forget(t.Context(), "k", rev-1); err != nil {
		t.Fatal(err)
	}
	if h, err := kv.History(t.Context(), "k"); err != nil || len(h) != 1 || h[0].Revision() != rev {
		t.Fatalf("with its history forgotten the key has %v (%v), want the tombstone", h, err)
	}
	for range 2 { // as after a kill between the purge and its answer
		if err := kv.Forget(t.Context(), "k", rev); err != nil {
			t.Fatal(err)
		}
	}
	_, err := kv.Get(t.Context(), "k")
	var gone *bucket.DeletedError
	if !errors.Is(err, jetstream.ErrKeyNotFound) || errors.As(err, &gone) {
		t.Errorf("Get = %v, want no trace", err)
	}
	if h, err := kv.History(t.Context(), "k.x"); err != nil || len(h) != 4 || h[3].Revision() != neighbour {
		t.Errorf("the neighbour has %v (%v)", h, err)
	}
}

// Whoever forgets has seen a tombstone that may have been written over since.
func TestWhatIsWrittenMeanwhileIsNotForgotten(t *testing.T) {
	t.Parallel()
	_, kv := open(t)
	rev := tombstone(t, kv, "k")
	again, err := kv.Update(t.Context(), "k", []byte("anew"), rev)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Forget(t.Context(), "k", rev); err != nil {
		t.Fatal(err)
	}
	if h, err := kv.History(t.Context(), "k"); err != nil || len(h) != 1 || h[0].Revision() != again || string(h[0].Value()) != "anew" {
		t.Errorf("the key has %v (%v), want what was written over the tombstone", h, err)
	}
}

// A purge without a bound, or of no key, would wipe the bucket.
func TestNothingIsForgottenWithoutARevisionOrAKey(t *testing.T) {
	t.Parallel()
	js, kv := open(t)
	tombstone(t, kv, "k")
	if err := kv.Forget(t.Context(), "k", 0); err == nil {
		t.Error("a purge up to revision 0 was sent")
	}
	for _, key := range []string{"", ">", "*", "k.>"} {
		if err := kv.Forget(t.Context(), key, 100); !errors.Is(err, jetstream.ErrInvalidKey) {
			t.Errorf("Forget(%q) = %v, want %v", key, err, jetstream.ErrInvalidKey)
		}
	}
	s, err := js.Stream(t.Context(), "KV_b")
	if err != nil || s.CachedInfo().State.Msgs != 4 {
		t.Errorf("%+v, %v: something was forgotten", s, err)
	}
}
