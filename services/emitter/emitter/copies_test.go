package emitter

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Ten thousand checkpoints must not have every emitter look at ten thousand pools.
func TestCopies_OnlyAnotherClaimHasAPoolLookedAt(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		kv, queue := buckettest.New(0), newWorkQueue()
		copies := newCopies(buckettest.New(0), kv, queue, mirror.Options{Resync: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- copies.pools.Run(ctx) }()
		var rev uint64
		write := func(what string, value []byte, look bool) {
			t.Helper()
			var err error
			if rev, err = kv.Update(t.Context(), "s", value, rev); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := queue.all(); (len(got) == 1) != look || copies.pools.Last() != rev {
				t.Errorf("%s has %q looked at, want it %v", what, got, look)
			}
			queue.done("s")
		}
		entry := wire.Pool{Schema: 1, Name: "s", UID: "u", Owner: "a", Epoch: 1, State: wire.PoolCatchingUp}
		for _, step := range []struct {
			name   string
			change func(*wire.Pool)
			look   bool
		}{
			{"a claim", func(*wire.Pool) {}, true},
			{"a checkpoint", func(p *wire.Pool) { p.Checkpoint.Floor, p.State, p.UpdatedAt = 7, wire.PoolLive, time.Now() }, false},
			{"a later one", func(p *wire.Pool) { p.Checkpoint.Ranges = [][2]uint64{{9, 9}} }, false},
			{"another epoch", func(p *wire.Pool) { p.Epoch = 2 }, true},
			{"another owner", func(p *wire.Pool) { p.Owner = "b" }, true},
			{"a release", func(p *wire.Pool) { p.Owner = "" }, true},
			{"another generation", func(p *wire.Pool) { p.ObservedGeneration = 5 }, true},
			{"another subscription", func(p *wire.Pool) { p.UID = "v" }, true},
		} {
			step.change(&entry)
			value, err := wire.Marshal(&entry)
			if err != nil {
				t.Fatal(err)
			}
			write(step.name, value, step.look)
		}
		for _, value := range []string{`{}`, `{"checkpoint":{},"owner":"a"}`, `{"checkpoint":{},"owner":"b"}`, ``} {
			write(value, []byte(value), true)
		}
		if err := kv.Delete(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(queue.all()) != 1 {
			t.Error("a deletion has nobody look")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
