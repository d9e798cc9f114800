package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

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
