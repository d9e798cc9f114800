package healthmon

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// hears is an idle pool whose owner heard a subscriber at the given time.
func hears(owner, name string, at time.Time) wire.PoolStatus {
	st := idle(owner, 0)(name)
	st.HeardAt = &at
	return st
}

func TestAnEphemeralSubscriptionWhoseSubscriberAnswersNowAndThenIsKept(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var gone atomic.Bool
	var last time.Time
	e.emitter("emitter-1", func(name string) wire.PoolStatus {
		if !gone.Load() {
			last = time.Now()
		}
		return hears("emitter-1", name, last)
	})
	e.subscribe("passing", "GITHUB", ephemeral(time.Second))
	e.pool("passing", "uid-passing", "emitter-1", 0)
	e.leader(e.start(quick()))
	kept := time.Now().Add(3 * time.Second)
	natstest.Await(t, "three times expire_after", func() error {
		if _, _, err := e.records.Get(t.Context(), "passing"); err != nil {
			t.Fatalf("Get = %v, want it kept while its subscriber answers", err)
		}
		if time.Now().Before(kept) {
			return errors.New("not yet")
		}
		return nil
	})
	gone.Store(true)
	natstest.Await(t, "it to be removed", func() error {
		if _, _, err := e.records.Get(t.Context(), "passing"); !errors.Is(err, subscription.ErrNotFound) {
			return errors.New("Get = " + fmt.Sprint(err)) // which may be nil
		}
		return nil
	})
}

// The subscriber answers just before the removal, each time.
func TestTheOwnerIsAskedAnewJustBeforeASubscriptionIsRemoved(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	key := issueKey(check.Ref{Kind: wire.IssueStale, Name: "passing"})
	attempted := func() bool { // an attempt is kept before it is made
		entry, err := e.b.Health.Get(t.Context(), key)
		var h heldIssue
		return err == nil && json.Unmarshal(entry.Value(), &h) == nil && h.Repair.Attempts > 0
	}
	var last time.Time
	var was bool
	var saved atomic.Int32
	e.emitter("emitter-1", func(name string) wire.PoolStatus {
		now := attempted()
		if now {
			last = time.Now()
		}
		if now && !was {
			saved.Add(1)
		}
		was = now
		return hears("emitter-1", name, last)
	})
	e.subscribe("passing", "GITHUB", ephemeral(time.Second))
	e.pool("passing", "uid-passing", "emitter-1", 0)
	cfg := quick()
	cfg.CleanupMaxAttempts = 1 // an attempt is given back when the time starts anew
	e.leader(e.start(cfg))
	natstest.Await(t, "the subscription to be saved twice", func() error {
		if _, _, err := e.records.Get(t.Context(), "passing"); err != nil {
			t.Fatalf("Get = %v, want it kept: its subscriber has just answered", err)
		}
		if n := saved.Load(); n < 2 {
			return fmt.Errorf("saved %d times", n)
		}
		return nil
	})
}
