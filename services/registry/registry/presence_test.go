package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestAReadyRegistryTakesRequests(t *testing.T) {
	t.Parallel()
	e := newEnvWithoutRegistry(t)
	common, err := service.ParseCommon(service.Env{"NATS_URL": e.url})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		d := service.Discard(common)
		s, err := New(defaultConfig, d)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		for ready := false; !ready; {
			changed := d.Health.Changed()
			if ready, _ = d.Health.Ready(); !ready {
				<-changed
			}
		}
		if _, err := e.nc.Request(ns.API(wire.VerbList), nil, 5*time.Second); err != nil {
			t.Errorf("a request as soon as it is ready: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestEveryRegistryHasASessionWhileItRuns(t *testing.T) {
	t.Parallel()
	e := newEnvWithoutRegistry(t)
	a, stopA := e.start(defaultConfig)
	b, _ := e.start(defaultConfig)
	sessions := e.bucket(ns.BucketSessions())
	for _, s := range []*Service{a, b} {
		natstest.Await(t, "the session of "+s.instance, func() error {
			entry, err := sessions.Get(t.Context(), wire.SessionKey(wire.ServiceRegistry, s.instance))
			if err != nil {
				return err
			}
			var got wire.Session
			if err := json.Unmarshal(entry.Value(), &got); err != nil {
				return err
			}
			if got.Service != wire.ServiceRegistry || got.Instance != s.instance || got.StartedAt.IsZero() || got.Version != wire.Version {
				return fmt.Errorf("it is %+v", got)
			}
			return nil
		})
	}
	stopA()
	if _, err := sessions.Get(t.Context(), wire.SessionKey(wire.ServiceRegistry, a.instance)); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the session of a registry that has ended: %v, want none", err)
	}
}
