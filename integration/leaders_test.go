package integration

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestAKilledLeaderIsReplacedLongBeforeItsLeaseExpires(t *testing.T) {
	t.Parallel()
	for _, role := range []string{wire.ServiceHealthmon, wire.ServiceReplayer} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			e := harness.New(t, harness.Vars("SLUICE_SESSION_TTL", "60s"))
			e.Store(store, "orders.>")
			first := e.Spawn(role)
			lease := e.AwaitLease(role, 0)
			e.Spawn(role)
			first.Kill()
			killed := time.Now()
			if next := e.AwaitLease(role, lease.Epoch); next.Instance == lease.Instance {
				t.Errorf("%s leads under a new epoch", next.Instance)
			}
			t.Logf("replaced after %v", time.Since(killed))
		})
	}
}
