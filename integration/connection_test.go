package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// TestAPlannedRestartOfNATSOpensNoBreakerAndCostsNoAttempt: each event has one
// attempt, and far more are in flight than failures open a breaker.
func TestAPlannedRestartOfNATSOpensNoBreakerAndCostsNoAttempt(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	e := setup(t, harness.OnServer(server), harness.Vars("SLUICE_SESSION_TTL", "1m"))
	const n = 500
	r := e.Record("to.restart", harness.Silent)
	s := spec("to.restart")
	s.AckWait = 10 * time.Minute // longer than the test waits
	s.Retry.MaxAttempts, s.Breaker.Failures = new(1), 2
	s.PoolSize = client.PoolSize{Min: n, Max: n}
	e.Subscribe("restart", s)
	e.PublishAll(orders(n, n))
	r.AwaitCount(n)
	owner := e.AwaitPool("restart", "a pool", func(*wire.Pool) error { return nil })

	r.Behave(harness.Ack)
	began := time.Now()
	server.Restart()
	e.AwaitFloor("restart", n)
	t.Logf("all delivered again %v after the restart began", time.Since(began).Round(time.Millisecond))
	if repeats := r.RequireSet("the restart", upTo(1, n)); repeats < n {
		t.Errorf("%d deliveries were sent again, want all %d", repeats, n)
	}
	after := e.AwaitPool("restart", "its state", func(p *wire.Pool) error {
		if p.State != wire.PoolLive {
			return fmt.Errorf("it is %s: %s", p.State, p.Reason)
		}
		return nil
	})
	if after.Epoch != owner.Epoch {
		t.Errorf("the pool changed its owner (epoch %d, then %d): this shows nothing", owner.Epoch, after.Epoch)
	}
	if parked := e.Stored(wire.DefaultNamespace.StreamParked(), wire.DefaultNamespace.Parked("restart")); len(parked) > 0 {
		t.Errorf("%d events are parked after attempts that were lost", len(parked))
	}
	if opened := advisories(t, e, wire.AdvBreakerOpened, "restart"); len(opened) > 0 {
		t.Error("the breaker opened")
	}
	e.Await("the status", func() error {
		switch st := e.Get("restart").Status; {
		case st == nil:
			return errors.New("the owner does not answer")
		case st.Breaker != "closed" || st.InFlight != 0:
			return fmt.Errorf("breaker %s, in flight %d", st.Breaker, st.InFlight)
		}
		return nil
	})
}
