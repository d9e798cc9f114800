package harness

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/wire"
)

// IdleEmitter pretends until the test ends that an emitter lives: it holds a
// session and answers its peers, but claims nothing.
func (e *Env) IdleEmitter() {
	e.T.Helper()
	const ttl = 5 * time.Second // as New has it
	kv, err := e.JS.KeyValue(e.Context(), wire.DefaultNamespace.BucketSessions())
	if err != nil {
		e.T.Fatalf("sessions: %v", err)
	}
	s, err := lease.NewSession(e.NC, kv, lease.SessionConfig{
		Namespace: wire.DefaultNamespace, Service: wire.ServiceEmitter, Instance: "emitter-idle", TTL: ttl,
	}, zerolog.Nop())
	if err != nil {
		e.T.Fatalf("idle emitter: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.T.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			e.T.Errorf("idle emitter: %v", err)
		}
	}()
	e.T.Cleanup(func() {
		cancel()
		<-done
	})
	e.Await("the session of the idle emitter", func() error {
		if !s.Valid() {
			return errors.New("it is not valid")
		}
		return nil
	})
}
