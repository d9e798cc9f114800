package registry

import (
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// A name that was used once costs memory for as long as the bucket remembers it.
func TestTheViewForgetsWhatTheBucketHasForgotten(t *testing.T) {
	t.Parallel()
	b, err := bus.Ensure(t.Context(), natstest.Start(t).JetStream(), bus.Layout{}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	v := newView(wire.DefaultNamespace)
	var m *mirror.Mirror
	m = mirror.New(b.Subscriptions, mirror.Options{
		Resync: 20 * time.Millisecond, OnChange: func(key string) { v.follow(m, key) }, OnForget: v.forget,
	})
	done := make(chan error, 1)
	go func() { done <- m.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	for _, name := range []string{"over", "deleted", "live"} {
		if _, err := b.Subscriptions.PutString(t.Context(), name, "{}"); err != nil {
			t.Fatal(err)
		}
	}
	known := func() map[string]viewed {
		v.mu.Lock()
		defer v.mu.Unlock()
		all := map[string]viewed{}
		for name, e := range v.entries {
			all[name] = *e
		}
		return all
	}
	natstest.Await(t, "the names", func() error {
		if len(known()) != 3 {
			return errors.New("not yet")
		}
		return nil
	})
	for _, name := range []string{"over", "deleted"} {
		if err := b.Subscriptions.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Subscriptions.Forget(t.Context(), "over", 1<<60); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the view to forget", func() error {
		all := known()
		if _, ok := all["over"]; ok || !all["deleted"].gone || all["live"].gone {
			return errors.New("not yet")
		}
		return nil
	})
}
