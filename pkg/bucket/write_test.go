package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
)

func TestManyWritesAreEachACompareAndSwap(t *testing.T) {
	t.Parallel()
	_, kv := open(t)
	first, err := kv.Update(t.Context(), "there", []byte("v"), 0)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := kv.Update(t.Context(), "gone", []byte("v"), 0)
	if err != nil {
		t.Fatal(err)
	}
	writes := []bucket.Write{
		{Key: "there", Value: []byte("w"), Revision: first},
		{Key: "gone", Delete: true, Revision: gone},
		{Key: "not there", Value: []byte("w")},
		{Key: "conflict", Value: []byte("w"), Revision: 77},
		{Key: "conflict2", Delete: true, Revision: 77},
	}
	for i := range 3 * bucket.Window {
		writes = append(writes, bucket.Write{Key: fmt.Sprint("new.", i), Value: fmt.Append(nil, i)})
	}
	told := map[string]error{}
	revisions := map[string]uint64{}
	if err := kv.WriteAll(t.Context(), slices.Values(writes), func(w bucket.Write, rev uint64, err error) error {
		told[w.Key], revisions[w.Key] = err, rev
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]error{
		"there": nil, "gone": nil, "not there": jetstream.ErrInvalidKey,
		"conflict": jetstream.ErrKeyRevisionMismatch, "conflict2": jetstream.ErrKeyRevisionMismatch,
	} {
		if got, ok := told[key]; !ok || !errors.Is(got, want) {
			t.Errorf("%s: told %v, want %v", key, got, want)
		}
	}
	var deleted *bucket.DeletedError
	if _, err := kv.Get(t.Context(), "gone"); !errors.As(err, &deleted) || deleted.Revision != revisions["gone"] {
		t.Errorf("Get(gone) = %v, want deleted at revision %d", err, revisions["gone"])
	}
	for i := range 3 * bucket.Window {
		key := fmt.Sprint("new.", i)
		e, err := kv.Get(t.Context(), key)
		if err != nil || string(e.Value()) != fmt.Sprint(i) || e.Revision() != revisions[key] || told[key] != nil {
			t.Fatalf("Get(%s) = %v, %v, told %d, %v", key, e, err, revisions[key], told[key])
		}
	}
	if e, err := kv.Get(t.Context(), "there"); err != nil || string(e.Value()) != "w" || e.Revision() != revisions["there"] {
		t.Errorf("Get(there) = %v, %v", e, err)
	}
}

func TestManyWritesEndWithTheFirstErrorThatIsTold(t *testing.T) {
	t.Parallel()
	_, kv := open(t)
	enough := errors.New("enough")
	begun, told := 0, 0
	err := kv.WriteAll(t.Context(), forever(&begun), func(bucket.Write, uint64, error) error {
		told++
		return enough
	})
	if !errors.Is(err, enough) || told == 0 || begun > 2*bucket.Window+1 || told > begun {
		t.Errorf("WriteAll = %v after %d writes, %d told, want %v soon", err, begun, told, enough)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = kv.WriteAll(ctx, forever(&begun), func(_ bucket.Write, _ uint64, err error) error {
		if err != nil && !errors.Is(err, bucket.ErrUnanswered) {
			t.Errorf("told %v", err)
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("WriteAll with an ended context = %v, want %v", err, context.Canceled)
	}
}

// forever are writes without end, of which it counts those that were asked for.
func forever(n *int) iter.Seq[bucket.Write] {
	return func(yield func(bucket.Write) bool) {
		for yield(bucket.Write{Key: fmt.Sprint("k", *n)}) {
			*n++
		}
	}
}

// At no time are more under way than the window, and nothing that did not come from
// the bucket counts as an answer.
func TestManyWritesAreUnderWayAtOnceButNotMoreThanTheWindow(t *testing.T) {
	t.Parallel()
	js, kv := open(t)
	if err := js.DeleteStream(t.Context(), "KV_b"); err != nil {
		t.Fatal(err)
	}
	var asked []*nats.Msg // by a server that answers once the window is full
	_, err := js.Conn().Subscribe("$KV.b.>", func(m *nats.Msg) {
		if asked = append(asked, m); len(asked) < bucket.Window {
			return
		}
		for i, m := range asked {
			_ = m.Respond(fmt.Appendf(nil, `{"stream":"KV_b","seq":%d}`, 1000+i))
			_ = m.Respond([]byte(`{"stream":"KV_b","seq":1}`)) // once is enough
		}
		asked = nil
	})
	if err != nil {
		t.Fatal(err)
	}
	begun, most, open := 0, 0, 0
	writes := func(yield func(bucket.Write) bool) {
		for range 4 * bucket.Window {
			begun++
			open++
			most = max(most, open)
			if !yield(bucket.Write{Key: fmt.Sprint("k", begun)}) {
				return
			}
		}
	}
	start := time.Now()
	err = kv.WriteAll(t.Context(), writes, func(w bucket.Write, rev uint64, err error) error {
		open--
		if err == nil && rev < 1000 {
			t.Errorf("%s was written at %d", w.Key, rev)
		}
		return err
	})
	if err != nil || begun != 4*bucket.Window || most > bucket.Window+1 {
		t.Errorf("WriteAll = %v after %s: %d begun, %d at once", err, time.Since(start), begun, most)
	}
}

func TestOfAWriteThatIsNotAnsweredNothingIsKnown(t *testing.T) {
	t.Parallel()
	js, kv := open(t)
	if err := js.DeleteStream(t.Context(), "KV_b"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Conn().Subscribe("$KV.b.silent", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	told := map[string]error{}
	err := kv.WriteAll(t.Context(), slices.Values([]bucket.Write{{Key: "silent"}, {Key: "nobody"}}),
		func(w bucket.Write, _ uint64, err error) error { told[w.Key] = err; return nil })
	if err != nil || !errors.Is(told["silent"], bucket.ErrUnanswered) || !errors.Is(told["nobody"], jetstream.ErrNoStreamResponse) {
		t.Errorf("WriteAll = %v, told %v", err, told)
	}
}
