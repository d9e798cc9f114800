package bucket_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/jsapi"
)

// add adds one letter to what is there.
func add(letter string) bucket.Plan {
	return func(now bucket.Seen) (*bucket.Write, error) {
		return &bucket.Write{Value: []byte(valueOf(now) + letter)}, nil
	}
}

func valueOf(now bucket.Seen) string {
	if now.Entry == nil {
		return ""
	}
	return string(now.Entry.Value())
}

func TestChange_WritesOverWhateverIsThere(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(kv *buckettest.KV) error{
		"nothing":     func(*buckettest.KV) error { return nil },
		"an entry":    func(kv *buckettest.KV) error { _, err := kv.Create(t.Context(), "k", nil); return err },
		"a tombstone": func(kv *buckettest.KV) error { return kv.Delete(t.Context(), "k") },
	} {
		kv := buckettest.New(0)
		if err := before(kv); err != nil {
			t.Fatal(err)
		}
		rev, err := bucket.Change(t.Context(), kv, "k", add("a"))
		requireEntry(t, kv, "a", rev)
		if err != nil {
			t.Errorf("Change over %s = %v", name, err)
		}
	}
}

func requireEntry(t *testing.T, kv *buckettest.KV, want string, rev uint64) {
	t.Helper()
	e, err := kv.Get(t.Context(), "k")
	if err != nil || string(e.Value()) != want || e.Revision() != rev {
		t.Errorf("the entry is %v, %v, want %q at %d", e, err, want, rev)
	}
}

func TestChange_IsPlannedAnewAfterAConflict(t *testing.T) {
	t.Parallel()
	kv := buckettest.New(0)
	rivals := 3
	kv.Before = func(ctx context.Context, op, _ string) error {
		if op != "update" || rivals == 0 {
			return nil
		}
		rivals--
		before := kv.Before
		kv.Before = nil
		defer func() { kv.Before = before }()
		_, err := bucket.Change(ctx, kv, "k", add("r"))
		return err
	}
	rev, err := bucket.Change(t.Context(), kv, "k", add("a"))
	if err != nil {
		t.Fatal(err)
	}
	requireEntry(t, kv, "rrra", rev)
}

func TestChange_EndsWhereOthersAreFasterEachTime(t *testing.T) {
	t.Parallel()
	kv := buckettest.New(0)
	kv.Before = func(_ context.Context, op, _ string) error {
		if op == "update" {
			return jetstream.ErrKeyRevisionMismatch
		}
		return nil
	}
	_, err := bucket.Change(t.Context(), kv, "k", add("a"))
	if !errors.Is(err, bucket.ErrContended) || errors.Is(err, bucket.ErrUnanswered) {
		t.Errorf("Change = %v, want %v and nothing in doubt", err, bucket.ErrContended)
	}
}

func TestChange_OfNothingWritesNothing(t *testing.T) {
	t.Parallel()
	kv := buckettest.New(0)
	rev, err := kv.Create(t.Context(), "k", []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := bucket.Change(t.Context(), kv, "k", func(bucket.Seen) (*bucket.Write, error) { return nil, nil })
	if err != nil || got != rev {
		t.Errorf("Change = %d, %v, want %d", got, err, rev)
	}
	requireEntry(t, kv, "v", rev)
	refusal := errors.New("no")
	if _, err := bucket.Change(t.Context(), kv, "k", func(bucket.Seen) (*bucket.Write, error) { return nil, refusal }); err != refusal { //nolint:errorlint // as it is
		t.Errorf("Change = %v, want the plan's error", err)
	}
}

// unanswered has the first write time out, after it was made or before.
func unanswered(kv *buckettest.KV, made bool) {
	failed := false
	lose := func(_ context.Context, op, _ string) error {
		if failed || op == "get" {
			return nil
		}
		failed = true
		return context.DeadlineExceeded
	}
	if made {
		kv.After = lose
	} else {
		kv.Before = lose
	}
}

func TestChange_FindsOutWhatBecameOfAWriteWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for _, made := range []bool{true, false} {
		kv := buckettest.New(0)
		unanswered(kv, made)
		rev, err := bucket.Change(t.Context(), kv, "k", add("a"))
		if err != nil {
			t.Errorf("made %v: Change = %v", made, err)
		}
		requireEntry(t, kv, "a", rev)

		unanswered(kv, made)
		gone, err := bucket.Change(t.Context(), kv, "k", func(bucket.Seen) (*bucket.Write, error) { return &bucket.Write{Delete: true}, nil })
		if err != nil || gone != 0 {
			t.Errorf("made %v: Change to a tombstone = %d, %v", made, gone, err)
		}
		var deleted *bucket.DeletedError
		if _, err := kv.Get(t.Context(), "k"); !errors.As(err, &deleted) || deleted.Revision != rev+1 {
			t.Errorf("made %v: Get = %v, want one tombstone", made, err)
		}
	}
}

func TestChange_TellsThePlanWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	kv := buckettest.New(0)
	kv.After = func(ctx context.Context, op, _ string) error {
		if op != "update" {
			return nil
		}
		kv.After = nil
		if _, err := bucket.Change(ctx, kv, "k", add("r")); err != nil {
			t.Error(err)
		}
		return context.DeadlineExceeded
	}
	seen := []string{}
	_, err := bucket.Change(t.Context(), kv, "k", func(now bucket.Seen) (*bucket.Write, error) {
		seen = append(seen, valueOf(now))
		if now.Sent != nil {
			if string(now.Sent.Value) != "a" || now.Sent.Revision != 0 || now.Revision != 2 {
				t.Errorf("in doubt is %+v, at revision %d", now.Sent, now.Revision)
			}
			return nil, nil
		}
		return add("a")(now)
	})
	if err != nil || len(seen) != 2 || seen[1] != "ar" {
		t.Errorf("the plan saw %q, %v", seen, err)
	}
}

func TestChange_SaysWhetherSomethingMayHaveBeenWritten(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err   error // of the write
		doubt bool
	}{
		"no room":       {&jsapi.FullError{Err: errors.New("full")}, false},
		"refused":       {&jetstream.APIError{Code: 400}, false},
		"nobody there":  {jetstream.ErrNoStreamResponse, false},
		"not sent":      {errors.Join(context.DeadlineExceeded, bucket.ErrNotSent), false},
		"no answer":     {context.DeadlineExceeded, true},
		"not available": {&jetstream.APIError{Code: 503}, true},
	} {
		kv := buckettest.New(0)
		written := false
		kv.Before = func(_ context.Context, op, _ string) error {
			switch {
			case op == "update":
				written = true
				return tt.err
			case written:
				return errors.New("no read either")
			}
			return nil
		}
		if _, err := bucket.Change(t.Context(), kv, "k", add("a")); err == nil || errors.Is(err, bucket.ErrUnanswered) != tt.doubt {
			t.Errorf("%s: Change = %v, want doubt %v", name, err, tt.doubt)
		}
	}
}

func TestChangeFrom_WritesWithoutARead(t *testing.T) {
	t.Parallel()
	kv := buckettest.New(0)
	rev, err := kv.Create(t.Context(), "k", []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	reads := 0
	kv.Before = func(_ context.Context, op, _ string) error {
		if op == "get" {
			reads++
		}
		return nil
	}
	for _, known := range []uint64{rev, rev} { // the second time it has moved on
		if _, err := bucket.ChangeFrom(t.Context(), kv, bucket.Seen{Key: "k", Revision: known}, add("a")); err != nil {
			t.Fatal(err)
		}
	}
	requireEntry(t, kv, "aa", rev+2)
	if reads != 2 { // one, and that of requireEntry
		t.Errorf("%d reads, want one after the conflict", reads-1)
	}
}
