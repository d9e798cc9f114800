package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) (jetstream.JetStream, bucket.KeyValue) {
	t.Helper()
	js := natstest.Start(t).JetStream()
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", History: 8}); err != nil {
		t.Fatal(err)
	}
	kv, err := bucket.Open(t.Context(), js, "b", feed.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	return js, kv
}

// An entry with the headers by which server and client libraries talk is an
// entry like any other, with a value or without.
func TestWhatAnEntrySaysNeverSteersItsReader(t *testing.T) {
	t.Parallel()
	js, kv := open(t)
	for _, h := range []nats.Header{
		{"Status": {"503"}},
		{"Status": {"404"}, "Description": {"Message Not Found"}},
		{"Status": {"408"}},
		{"Status": {"409"}, "Description": {"Consumer Deleted"}},
		{"Status": {"100"}},
		{"Status": {"shipped"}},
		{"Nats-Pin-Id": {"x"}},
		{"Nats-Last-Consumer": {"9"}},
		{"Nats-Pending-Messages": {"9"}},
		{"Nats-Sequence": {"99"}, "Nats-Subject": {"other"}, "Nats-Time-Stamp": {"never"}},
		{"KV-Operation": {"other"}},
		{"Nats-Marker-Reason": {"other"}},
	} {
		for _, value := range []string{"", "value"} {
			ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "$KV.b.k", Header: h, Data: []byte(value)})
			if err != nil {
				t.Fatal(err)
			}
			e, err := kv.Get(t.Context(), "k")
			if err != nil || string(e.Value()) != value || e.Revision() != ack.Sequence || e.Operation() != jetstream.KeyValuePut {
				t.Errorf("Get of %q with %v = %v, %v", value, h, e, err)
			}
			all, err := kv.History(t.Context(), "k")
			if err != nil || len(all) == 0 || all[len(all)-1].Revision() != ack.Sequence {
				t.Errorf("History with %v = %v, %v", h, all, err)
			}
			if _, err := kv.Create(t.Context(), "k", nil); !errors.Is(err, jetstream.ErrKeyExists) {
				t.Errorf("Create over %v = %v, want %v", h, err, jetstream.ErrKeyExists)
			}
			gone, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "$KV.b.k", Header: nats.Header{"KV-Operation": {"DEL"}, "Status": {"503"}}})
			if err != nil {
				t.Fatal(err)
			}
			var deleted *bucket.DeletedError
			if _, err := kv.Get(t.Context(), "k"); !errors.As(err, &deleted) || deleted.Revision != gone.Sequence || !errors.Is(err, jetstream.ErrKeyNotFound) {
				t.Errorf("Get of a tombstone with a status = %v", err)
			}
			if _, err := kv.Create(t.Context(), "k", []byte("new")); err != nil {
				t.Errorf("Create over a tombstone with a status = %v", err)
			}
		}
	}
}

// It does what the client library's does where nobody lies.
func TestABucketIsReadAsTheClientLibraryReadsIt(t *testing.T) {
	t.Parallel()
	js, kv := open(t)
	plain, err := js.KeyValue(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	rev, err := kv.Create(ctx, "a.b", []byte("1"))
	steps := []func() error{
		func() error { rev, err = kv.Update(ctx, "a.b", []byte("2"), rev); return err },
		func() error { return kv.Delete(ctx, "a.b") },
		func() error { _, err := kv.Put(ctx, "a.b", []byte("3")); return err },
		func() error { return kv.Purge(ctx, "a.b") },
	}
	for i := 0; ; i++ {
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a.b", "none", "a", "a.*", ">", ".a", "a.", ""} {
			got, gotErr := kv.Get(ctx, key)
			want, wantErr := plain.Get(ctx, key)
			if !errors.Is(gotErr, wantErr) || wantErr == nil && (gotErr != nil || !same(got, want)) {
				t.Errorf("step %d: Get(%q) = %v, %v; want %v, %v", i, key, got, gotErr, want, wantErr)
			}
		}
		compareHistories(ctx, t, kv, plain)
		if i == len(steps) {
			return
		}
		err = steps[i]()
	}
}

func compareHistories(ctx context.Context, t *testing.T, kv, plain jetstream.KeyValue) {
	t.Helper()
	for _, key := range []string{"a.b", "none"} {
		got, gotErr := kv.History(ctx, key)
		want, wantErr := plain.History(ctx, key)
		if !errors.Is(gotErr, wantErr) || len(got) != len(want) {
			t.Errorf("History(%q) = %d, %v; want %d, %v", key, len(got), gotErr, len(want), wantErr)
			continue
		}
		for i := range got {
			if !same(got[i], want[i]) {
				t.Errorf("History(%q)[%d] = %v, want %v", key, i, got[i], want[i])
			}
		}
	}
}

func same(a, b jetstream.KeyValueEntry) bool {
	return a.Bucket() == b.Bucket() && a.Key() == b.Key() && string(a.Value()) == string(b.Value()) &&
		a.Revision() == b.Revision() && a.Operation() == b.Operation() && a.Created().Equal(b.Created())
}

func TestAWriteThatFindsNoRoomSaysSo(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", History: 8, MaxBytes: 1 << 10}); err != nil {
		t.Fatal(err)
	}
	kv, err := bucket.Open(t.Context(), js, "b", feed.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	rev, err := kv.Create(t.Context(), "k", make([]byte, 850))
	if err != nil {
		t.Fatal(err)
	}
	for what, write := range map[string]func() error{
		"create": func() error { _, err := kv.Create(t.Context(), "other", make([]byte, 100)); return err },
		"update": func() error { _, err := kv.Update(t.Context(), "k", make([]byte, 100), rev); return err },
		"delete": func() error { return kv.Delete(t.Context(), "k", jetstream.LastRevision(rev)) },
	} {
		var full *jsapi.FullError
		if err := write(); !errors.As(err, &full) || full.Plain() != "storage is full: the bucket b holds as much as it may" {
			t.Errorf("%s = %v, want that the bucket is full", what, err)
		}
	}
}

func TestTheLastEntryOfEachKeyIsListed(t *testing.T) {
	t.Parallel()
	_, kv := open(t)
	for _, key := range []string{"a.1", "a.2", "b.1", "a.1"} {
		if _, err := kv.PutString(t.Context(), key, "v"); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(t.Context(), "a.2"); err != nil {
		t.Fatal(err)
	}
	for keys, want := range map[string]string{
		"": "b.1@3 a.1@4 a.2@5!", "a.*": "a.1@4 a.2@5!", "none": "",
	} {
		var got []string
		err := kv.List(t.Context(), bucket.Following{Keys: keys, Entry: func(e jetstream.KeyValueEntry) {
			mark := ""
			if e.Operation() != jetstream.KeyValuePut {
				mark = "!"
			}
			got = append(got, fmt.Sprintf("%s@%d%s", e.Key(), e.Revision(), mark))
		}})
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("List(%q) = %q, %v, want %q", keys, got, err, want)
		}
	}
}
