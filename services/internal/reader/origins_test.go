package reader

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

func delivers(to string) func(*pool.Config) {
	return func(cfg *pool.Config) { cfg.Record.Spec.Deliver.Subject = to }
}

func TestReader_DeliveriesAreHeldWhileTheStoreOrAnOriginCapturesThem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		to     string
		reason string
		before jetstream.StreamConfig // the changed stream; its name is the one that changes
		during jetstream.StreamConfig
	}{
		{
			"the store's subjects grow", "back.x", "the store itself captures back.x (back.>)",
			jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}},
			jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>", "back.>"}},
		},
		{
			"a source is added that captures it", "o.back", `"ORIGIN", from which events of the store come, captures o.back (o.>)`,
			jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}},
			jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}, Sources: []*jetstream.StreamSource{{Name: "ORIGIN"}}},
		},
		{
			"the subjects of a source's source grow", "far.x", `"FAR", from which events of the store come, captures far.x (far.>)`,
			jetstream.StreamConfig{Name: "FAR", Subjects: []string{"f"}},
			jetstream.StreamConfig{Name: "FAR", Subjects: []string{"f", "far.>"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			js := natstest.Start(t).JetStream()
			change := func(cfg jetstream.StreamConfig) {
				t.Helper()
				if _, err := js.CreateOrUpdateStream(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
			change(jetstream.StreamConfig{Name: "FAR", Subjects: []string{"f"}})
			change(jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"o.>"}})
			change(jetstream.StreamConfig{Name: "NEAR", Sources: []*jetstream.StreamSource{{Name: "FAR"}}})
			store := jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}}
			if tt.before.Name == "FAR" {
				store.Sources = []*jetstream.StreamSource{{Name: "NEAR"}}
			}
			change(store)
			tune := defaultTuning()
			tune.look, tune.trace, tune.rest = 20*time.Millisecond, 20*time.Millisecond, time.Hour
			e := newEnvOn(t, js, Config{JetStream: js, MaxReaders: 4, tune: tune})
			e.publish(50)
			captured, free := e.subscribe("captured", ">", 0, false, delivers(tt.to)), e.subscribe("free", ">", 0, false, nil)
			captured.attach()
			free.attach()
			natstest.Await(t, "what came before", func() error { return captured.got(0, 50) })

			change(tt.during)
			natstest.Await(t, "the hold", func() error { return captured.in(wire.PoolBlocked, tt.reason) })
			e.publish(50)
			natstest.Await(t, "the other subscription", func() error { return free.got(0, 100) })
			if err := captured.got(0, 50); err != nil {
				t.Error(err)
			}

			change(tt.before)
			natstest.Await(t, "what was held", func() error { return captured.got(0, 100) })
			natstest.Await(t, "the end of the hold", func() error { return captured.in(wire.PoolLive, "") })
		})
	}
}

// A pool is held before its first delivery: a record written by hand may name
// any subject.
func TestReader_NothingIsDeliveredThatTheStoreCapturesFromTheBeginning(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(20)
	s := e.subscribe("s", ">", 0, false, delivers("e.back"))
	s.attach()
	free := e.subscribe("free", ">", 0, false, nil)
	free.attach()
	natstest.Await(t, "the other subscription", func() error { return free.got(0, 20) })
	if err := s.in(wire.PoolBlocked, "the store itself captures e.back (e.>)"); err != nil {
		t.Error(err)
	}
	if err := s.got(0, 0); err != nil {
		t.Error(err)
	}
}
