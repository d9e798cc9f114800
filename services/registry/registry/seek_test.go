package registry

import (
	"testing"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestASeekSaysWhereItIsToBeginOnlyIfTheStoreHasNotReachedThat(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.publish("orders.1.placed", 10)
	e.subscribe("s", body())
	pools := subscription.NewPools(e.bucket(ns.BucketPools()))
	for _, tt := range []struct {
		to           string
		floor, begin uint64
	}{
		{`{"sequence":12}`, 11, 12},
		{`{"sequence":11}`, 10, 0}, // the next one to be stored
		{`"all"`, 0, 0},
	} {
		ok[wire.SeekResponse](e, wire.VerbSeek, "s", `{"to":`+tt.to+`}`)
		pool, rev, err := pools.Get(t.Context(), "s")
		if err != nil || pool.Checkpoint.Floor != tt.floor || pool.Begin != tt.begin || pool.LostFrom != 0 {
			t.Errorf("after a seek to %s: %+v, %v, want floor %d and begin %d", tt.to, pool, err, tt.floor, tt.begin)
		}
		pool.LostFrom = 3 // the next seek ends that
		if _, err := pools.Write(t.Context(), pool, rev); err != nil {
			t.Fatal(err)
		}
	}
}
