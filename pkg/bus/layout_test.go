package bus_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
)

// streams are all that Ensure makes.
var streams = []string{
	"KV_sluice_subscriptions", "KV_sluice_pools", "KV_sluice_sessions", "KV_sluice_health", "KV_sluice_replays",
	"SLUICE_ADVISORIES", "SLUICE_PARKED", "SLUICE_QUARANTINE",
}

func ensure(t *testing.T, js jetstream.JetStream, l bus.Layout) *bus.Buckets {
	t.Helper()
	b, err := bus.Ensure(t.Context(), js, l, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func config(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

func TestEnsure_RevisionsGoOnRisingInABucketThatIsMadeAgain(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	put := func() uint64 {
		t.Helper()
		b := ensure(t, js, bus.Layout{})
		rev, err := b.Pools.Update(t.Context(), "a", []byte("v"), 0)
		if err == nil {
			rev, err = b.Pools.Update(t.Context(), "a", []byte("w"), rev)
		}
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	before := put()
	if err := js.DeleteStream(t.Context(), "KV_sluice_pools"); err != nil {
		t.Fatal(err)
	}
	if after := put(); after <= before || after >= 1<<53 {
		t.Errorf("the last revision is %d, before the bucket was deleted it was %d", after, before)
	}
}

func TestEnsure_NothingAllowsRollup(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	// As an earlier version made it, and the nats CLI does.
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "sluice_pools"}); err != nil {
		t.Fatal(err)
	}
	b := ensure(t, js, bus.Layout{})
	for _, key := range []string{"a", "b"} {
		if _, err := b.Pools.Create(t.Context(), key, []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	for _, scope := range []string{"all", "sub"} {
		m := &nats.Msg{Subject: "$KV.sluice_pools.a", Header: nats.Header{"Nats-Rollup": {scope}}}
		if _, err := js.PublishMsg(t.Context(), m); err == nil {
			t.Errorf("a rollup of %q was taken", scope)
		}
	}
	keys, err := b.Pools.Keys(t.Context())
	if slices.Sort(keys); err != nil || !slices.Equal(keys, []string{"a", "b"}) {
		t.Errorf("keys %v (%v), want a and b", keys, err)
	}
	for _, name := range streams {
		if config(t, js, name).AllowRollup {
			t.Errorf("%s allows rollup", name)
		}
	}
	// What Sluice uses of KV does without.
	if err := b.Pools.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if _, err := b.Pools.Create(t.Context(), "a", []byte("v")); err != nil {
		t.Error(err)
	}
}

func TestEnsure_EverythingHasABoundAndAnOperatorsOwnStays(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	own := jetstream.StreamConfig{Name: "SLUICE_PARKED", Subjects: []string{"sluice.v1.parked.*"}}
	set := func(c jetstream.StreamConfig, maxBytes int64) jetstream.StreamConfig {
		c.MaxBytes = maxBytes
		return c
	}
	for _, tt := range []struct {
		name    string
		exists  *jetstream.StreamConfig // before Sluice comes
		holds   int                     // bytes, likewise
		first   int64                   // Sluice's bound at its first start; 0: only one start
		byHand  int64                   // set by the operator then; 0: nothing
		bound   int64
		want    int64
		discard jetstream.DiscardPolicy
	}{
		{name: "a new one", bound: 2 * mib, want: 2 * mib, discard: jetstream.DiscardNew},
		{name: "one of an earlier version", exists: &own, bound: 2 * mib, want: 2 * mib, discard: jetstream.DiscardNew},
		{name: "one that holds more", exists: &own, holds: 3 * mib, bound: 2 * mib, want: -1, discard: jetstream.DiscardOld},
		{name: "raised", first: 2 * mib, bound: 3 * mib, want: 3 * mib, discard: jetstream.DiscardNew},
		{name: "lowered", first: 3 * mib, bound: 2 * mib, want: 3 * mib, discard: jetstream.DiscardNew},
		{name: "an operator's larger one", first: 2 * mib, byHand: 9 * mib, bound: 3 * mib, want: 9 * mib, discard: jetstream.DiscardNew},
		{name: "an operator's smaller one", first: 2 * mib, byHand: mib, bound: 3 * mib, want: mib, discard: jetstream.DiscardNew},
		{name: "an operator's none", first: 2 * mib, byHand: -1, bound: 3 * mib, want: -1, discard: jetstream.DiscardNew},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			js := natstest.Start(t).JetStream()
			if tt.exists != nil {
				if _, err := js.CreateStream(t.Context(), set(*tt.exists, -1)); err != nil {
					t.Fatal(err)
				}
			}
			for n := 0; n < tt.holds; n += mib / 2 {
				if _, err := js.Publish(t.Context(), "sluice.v1.parked.x", make([]byte, mib/2)); err != nil {
					t.Fatal(err)
				}
			}
			if tt.first != 0 {
				ensure(t, js, bus.Layout{Bounds: bus.Bounds{Parked: tt.first}})
			}
			if tt.byHand != 0 {
				if _, err := js.UpdateStream(t.Context(), set(config(t, js, "SLUICE_PARKED"), tt.byHand)); err != nil {
					t.Fatal(err)
				}
			}
			ensure(t, js, bus.Layout{Bounds: bus.Bounds{Parked: tt.bound}})
			if c := config(t, js, "SLUICE_PARKED"); c.MaxBytes != tt.want || c.Discard != tt.discard {
				t.Errorf("the bound is %d, at it %s; want %d, %s", c.MaxBytes, c.Discard, tt.want, tt.discard)
			}
			for _, name := range streams {
				if c := config(t, js, name); name != "SLUICE_PARKED" && c.MaxBytes <= 0 {
					t.Errorf("%s has no bound", name)
				}
			}
		})
	}
}

// How much the defaults set aside is in docs/operations.md and
// docs/configuration.md.
func TestEnsure_SetsAsideWhatTheDocumentsSay(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	ensure(t, js, bus.Layout{})
	var sum int64
	for _, name := range streams {
		sum += config(t, js, name).MaxBytes
	}
	if want := int64(2880 << 20); sum != want {
		t.Errorf("%d MiB are set aside, want %d", sum>>20, want>>20)
	}
}

func TestEnsure_SaysThatStorageIsFull(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t, func(o *server.Options) { o.JetStreamMaxStore = 100 << 20 }).JetStream()
	var log logBuffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = bus.Ensure(ctx, js, bus.Layout{}, zerolog.New(&log))
	}()
	natstest.Await(t, "word of it in the log", func() error { return log.contains("storage is full: the server's disk is full") })
	cancel()
	<-done
}
