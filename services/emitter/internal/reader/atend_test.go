package reader

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
)

// Claims ask while the store's loop opens the reader anew.
func TestStore_MayBeAskedForItsEndWhileItsReadersAreOpenedAnew(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = e.set.AtEnd(testStore, time.Time{}, 0)
			}
		}
	}()
	defer close(done)
	for i := range 10 {
		s := e.subscribe(fmt.Sprintf("s%d", i), fmt.Sprintf("e.%d.made", i), 0, false, nil)
		e.set.Attach(s.pool, s.rec, 0)
		natstest.Await(t, "live", func() error { return errors.Join(s.in("live", "")) })
	}
}
