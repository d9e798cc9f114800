package emitter

import (
	"context"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// A pool is taken away, in the name of an instance that does not live, as soon
// as the emitter has claimed it.
func TestAPoolThatIsTakenAgainAndAgainIsClaimedMoreAndMoreSlowly(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.emitter(time.Second)
	b.run(s, nil)
	b.subscribe("s")
	pools := subscription.NewPools(b.bucket(wire.DefaultNamespace.BucketPools()))
	b.owned([]string{"s"}, s.instance)

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	taken := 0
	for ctx.Err() == nil {
		p, rev, err := pools.Get(ctx, "s")
		if err != nil || p.Owner != s.instance {
			continue
		}
		p.Owner, p.Epoch = "ghost", rev+1
		if _, err := pools.Write(ctx, p, rev); err == nil {
			taken++
		}
	}
	if taken < 2 || taken > 6 {
		t.Errorf("claimed %d times in 3s", taken)
	}
}
