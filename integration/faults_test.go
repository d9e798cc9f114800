package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// asked is what became of one subscribe.
type asked struct {
	name   string
	answer *wire.SubscribeResponse // nil: unanswered
	err    error
}

// subscribeAll subscribes to names from eight goroutines, each once, and calls
// done after each.
func subscribeAll(ctx context.Context, c *client.Client, names []string, done func(asked)) {
	todo := make(chan string)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for name := range todo {
				call, cancel := context.WithTimeout(ctx, time.Second)
				answer, err := c.Subscribe(call, name, spec("to."+name))
				cancel()
				done(asked{name, answer, err})
			}
		})
	}
	for _, name := range names {
		todo <- name
	}
	close(todo)
	running.Wait()
}

// subscribeOver subscribes to names and kills the registry as soon as n of the
// records are there, when some of the answers are not. It returns what became
// of each.
func subscribeOver(e *harness.Env, registry *harness.Part, names []string, n int) map[string]asked {
	e.T.Helper()
	ctx := e.Context()
	kv, err := e.JS.KeyValue(ctx, wire.DefaultNamespace.BucketSubscriptions())
	if err != nil {
		e.T.Fatal(err)
	}
	w, err := kv.WatchAll(ctx, jetstream.UpdatesOnly())
	if err != nil {
		e.T.Fatal(err)
	}
	defer func() { _ = w.Stop() }() // the watch is of no more use

	var mu sync.Mutex
	outcome := map[string]asked{}
	var running sync.WaitGroup
	running.Go(func() {
		subscribeAll(ctx, e.Client, names, func(a asked) {
			mu.Lock()
			defer mu.Unlock()
			outcome[a.name] = a
		})
	})
	defer running.Wait()
	for range n {
		select {
		case <-w.Updates():
		case <-ctx.Done():
			e.T.Fatal("the records do not come")
		}
	}
	registry.Kill()
	running.Wait()
	return outcome
}

// records returns the subscriptions that there are, by name.
func records(e *harness.Env) map[string]wire.ListedSubscription {
	e.T.Helper()
	listed := map[string]wire.ListedSubscription{}
	for row, err := range e.Client.List(e.Context(), wire.ListRequest{}) {
		if err != nil {
			e.T.Fatal(err)
		}
		listed[row.Name] = row
	}
	return listed
}

func TestARegistryKilledBetweenWriteAndAnswerForgetsNothing(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Store(store, "orders.>")
	random := seeded(t)
	const (
		enough, most = 6, 50 // kills
		each         = 60    // subscribes beside one
	)
	var names []string
	var listed map[string]wire.ListedSubscription
	kills, unanswered, carriedOut := 0, 0, 0
	registry := e.Spawn(wire.ServiceRegistry)
	for ; kills < enough || carriedOut == 0; kills++ {
		if kills == most {
			t.Fatalf("none of %d kills came between a write and its answer", kills)
		}
		var now []string
		for i := range each {
			now = append(now, fmt.Sprintf("sub-%02d-%02d", kills, i))
		}
		names = append(names, now...)
		outcome := subscribeOver(e, registry, now, 1+random.IntN(each/2))
		registry = e.Spawn(wire.ServiceRegistry)
		listed = records(e)
		for _, name := range now {
			a := outcome[name]
			row, exists := listed[name]
			switch {
			case a.err != nil:
				unanswered++
				if exists {
					carriedOut++
				}
			case !exists:
				t.Errorf("%s was answered and is not there", name)
			case row.UID != a.answer.Subscription.UID || row.Revision != a.answer.Subscription.Revision:
				t.Errorf("%s is not what was answered", name)
			}
		}
	}
	t.Logf("%d kills, %d of %d subscribes unanswered, %d of those carried out", kills, unanswered, len(names), carriedOut)

	// The same again brings everybody to the same state, and changes nothing
	// that was there.
	subscribeAll(t.Context(), e.Client, names, func(a asked) {
		row, existed := listed[a.name]
		switch {
		case a.err != nil:
			t.Errorf("again: %v", a.err)
		case a.answer.Created == existed:
			t.Errorf("%s again: created %v, and it existed: %v", a.name, a.answer.Created, existed)
		case existed && (a.answer.Changed || a.answer.Subscription.UID != row.UID || a.answer.Subscription.Generation != 1):
			t.Errorf("%s again: changed %v, generation %d", a.name, a.answer.Changed, a.answer.Subscription.Generation)
		}
	})
	page, err := e.Client.ListPage(e.Context(), wire.ListRequest{Limit: 1})
	if err != nil || page.Total != len(names) {
		t.Errorf("in the end there are %d (%v), want %d", page.Total, err, len(names))
	}
}

func TestAMonitorAndAReplayerKilledAtWorkAreMadeUpFor(t *testing.T) {
	t.Parallel()
	e := harness.New(t, harness.Vars("SLUICE_HEALTH_INTERVAL", "200ms", "SLUICE_RECONCILE_SETTLE", "20ms",
		"SLUICE_RECONCILE_RETRY", "500ms", "SLUICE_SESSION_TTL", "1s", "SLUICE_CLEANUP_RETRY_DELAY", "200ms"))
	e.Store(store, "orders.>")
	random := seeded(t)
	e.Start(wire.ServiceRegistry)
	e.Start(wire.ServiceEmitter)
	steady := e.Record("to.steady", harness.Ack)
	e.Subscribe("steady", spec("to.steady"))
	const n = 2000
	wait := publishAt(e, 200, orders(n, 10))

	roles := []string{wire.ServiceHealthmon, wire.ServiceReplayer}
	running := map[string]*harness.Part{}
	leases := map[string]uint64{}
	for _, role := range roles {
		running[role] = e.Spawn(role)
	}
	for i := range 4 {
		// Work for both: orphans to remove, transitions to reconcile.
		orphan(t, e, fmt.Sprintf("orphan-%d", i))
		churn(e, random, i)
		for _, role := range roles {
			lease := e.AwaitLease(role, leases[role])
			leases[role] = lease.Epoch
			pause(t.Context(), random, 150*time.Millisecond)
			running[role].Kill()
			running[role] = e.Spawn(role)
		}
	}
	for i := range 4 {
		e.AwaitNoPool(fmt.Sprintf("orphan-%d", i))
	}
	wait()
	e.AwaitFloor("steady", n)
	steady.RequireExactly("meanwhile", upTo(1, n))
	steady.RequireOrder("meanwhile", harness.Delivery.Stream)
	for _, role := range roles {
		if lease := e.AwaitLease(role, leases[role]); lease.Epoch <= leases[role] {
			t.Errorf("the epoch of %s went from %d to %d", role, leases[role], lease.Epoch)
		}
	}

	last := e.Subscribe("last", spec("to.steady"))
	e.Await("the replayer to have reconciled everything", func() error {
		position, err := e.Reconciled()
		if err == nil && position <= last.Revision {
			err = fmt.Errorf("reconciled up to revision %d, want beyond %d", position, last.Revision)
		}
		return err
	})
	e.Await("a report without orphaned, missing or stalled pools", func() error {
		report, err := e.Client.CheckHealth(e.Context())
		if err != nil {
			return err
		}
		i := report.Issues
		if bad := len(i.Orphaned) + len(i.Missing) + len(i.Stalled) + len(i.Unobserved); bad > 0 {
			return fmt.Errorf("the report is %+v", i)
		}
		return nil
	})
}

// orphan puts a pool entry of a subscription that never was.
func orphan(t *testing.T, e *harness.Env, name string) {
	t.Helper()
	p := wire.Pool{
		Schema: wire.SchemaVersion, Name: name, UID: "nobody", Epoch: 1,
		State: wire.PoolReleased, UpdatedAt: time.Now().UTC(), ClaimedAt: time.Now().UTC(),
	}
	e.PutPool(p)
}

// churn creates, changes and removes some subscriptions.
func churn(e *harness.Env, random *rand.Rand, round int) {
	e.T.Helper()
	for i := range 10 {
		name := fmt.Sprintf("churn-%d", i)
		s := spec("to.steady.nobody")
		s.Labels = map[string]string{"round": fmt.Sprint(round)}
		e.Subscribe(name, s)
		if random.IntN(2) == 0 {
			if _, err := e.Client.Unsubscribe(e.Context(), name); err != nil {
				e.T.Fatal(err)
			}
		}
	}
}

func TestAServerThatIsKilledAndComesBackLosesNothing(t *testing.T) {
	t.Parallel()
	server := harness.StartNATS(t)
	e := harness.New(t, harness.OnServer(server), harness.Vars("SLUICE_SESSION_TTL", "2s"))
	e.Store(store, "orders.>")
	e.StartAll()
	e.Start(wire.ServiceEmitter)
	random := seeded(t)
	const pools, n = 4, 1500
	var rs []*harness.Recorder
	for i := range pools {
		name := fmt.Sprintf("sub-%d", i)
		rs = append(rs, e.Record("to."+name, harness.Ack))
		s := spec("to." + name)
		s.AckWait, s.Retry.MaxAttempts, s.Breaker.Failures = time.Second, new(0), 1000
		e.Subscribe(name, s)
	}
	wait := publishSurely(e, orders(n, 10))

	for i := range 3 {
		rs[0].AwaitCount((i + 1) * n / 5)
		pause(t.Context(), random, 100*time.Millisecond)
		server.Restart()
	}
	wait()
	for i, r := range rs {
		name := fmt.Sprintf("sub-%d", i)
		r.AwaitAll(upTo(1, n))
		e.AwaitFloor(name, n)
		repeats := r.RequireSet(name, upTo(1, n))
		r.RequireOrder(name, harness.Delivery.Stream)
		t.Logf("%s: %d repeats", name, repeats)
	}
	// And everybody is at work again, without a restart.
	r := e.Record("to.after", harness.Ack)
	e.Subscribe("after", spec("to.after"))
	e.AwaitFloor("after", n)
	r.RequireExactly("a subscription made afterwards", upTo(1, n))
	e.Await("the monitor", func() error {
		_, err := e.Client.CheckHealth(e.Context())
		return err
	})
}

// publishSurely stores msgs in order from a goroutine, each tried until it is
// known to be stored, once; the function returned waits for the last.
func publishSurely(e *harness.Env, msgs []*nats.Msg) (wait func()) {
	var running sync.WaitGroup
	js := harness.JetStream(e.T, e.Conn())
	ctx := e.T.Context()
	running.Go(func() {
		for i, msg := range msgs {
			for ctx.Err() == nil {
				call, cancel := context.WithTimeout(ctx, time.Second)
				_, err := js.PublishMsg(call, msg, jetstream.WithMsgID(fmt.Sprint(i)))
				cancel()
				if err == nil {
					break
				}
			}
		}
	})
	e.T.Cleanup(running.Wait)
	return running.Wait
}
