package integration

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/integration/evaluator"
	"github.com/sluicehq/sluice/integration/events"
	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// seeded returns a random source and tells its seed, so that a failure can be
// looked at again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pause waits for a random time, which is when the next fault strikes.
func pause(ctx context.Context, r *rand.Rand, most time.Duration) {
	timer := time.NewTimer(time.Duration(r.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

const (
	kills     = 10
	killPools = 3
	inFlight  = 64   // pool_size.max of each
	loadRate  = 1000 // events a second
	// unwritten is how old what an owner finished may be without being in its
	// checkpoint, by the contract.
	unwritten = 250 * time.Millisecond
)

// killed is one kill.
type killed struct{ at time.Time }

func TestEmittersThatAreKilledLoseNothing(t *testing.T) {
	t.Parallel()
	const name = "EVENTS"
	e := harness.New(t, harness.OnServer(harness.StartNATS(t)))
	e.Store(name, events.Subjects()...)
	e.Start(wire.ServiceRegistry)
	random := seeded(t)
	emitters := map[string]*harness.Part{}
	for range 2 {
		p := e.Spawn(wire.ServiceEmitter)
		emitters[p.Instance] = p
	}

	rs := make([]*harness.Recorder, killPools)
	subs := make([]evaluator.Subscription, killPools)
	names := []string{"everything", "orders", "typed"}
	selectors := []client.Selector{
		{ByStream: []string{"$all"}},
		{ByStream: []string{"orders.>", "payments.>"}},
		{ByEventPattern: map[string]any{"headers": map[string]any{"x-region": []string{"eu", "us"}}}},
	}
	for i, sub := range names {
		rs[i] = e.Record("kill."+sub, harness.Ack)
		s := client.Spec{
			Store: name, Selector: selectors[i], Start: client.FromAll(), Deliver: client.Deliver{Subject: "kill." + sub},
			PoolSize: client.PoolSize{Min: 16, Max: inFlight}, AckWait: 5 * time.Second,
		}
		subs[i] = evaluator.Subscription{Spec: e.Subscribe(sub, s).Spec}
	}
	msgs := input(t, random.Uint64(), generated)
	wait := publishAt(e, loadRate, msgs)

	var log []killed
	for i := range kills {
		// Wherever the load is by now, some tenth further on.
		rs[0].AwaitCount((2*i + 1) * generated / (2*kills + 4))
		pause(t.Context(), random, 200*time.Millisecond)
		victim := e.AwaitOwned(names[i%killPools], slices.Collect(keysOf(emitters))...).Owner
		emitters[victim].Kill()
		log = append(log, killed{time.Now()})
		delete(emitters, victim)
		p := e.Spawn(wire.ServiceEmitter)
		emitters[p.Instance] = p
	}
	wait()

	all := stored(t, e, name)
	expected, err := evaluator.Deliveries(all, subs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, sub := range names {
		keys := make(map[uint64]string, len(expected[i]))
		var want []uint64
		for _, x := range expected[i] {
			keys[x.Sequence] = x.Key
			want = append(want, x.Sequence)
		}
		rs[i].AwaitAll(want)
		e.AwaitFloor(sub, want[len(want)-1])
		repeats := rs[i].RequireSet(sub, want)
		rs[i].RequireOrder(sub, func(d harness.Delivery) string { return keys[d.Sequence] })
		bound, takeovers := repeatBound(rs[i].Deliveries())
		t.Logf("%s: %d events, %d kills, %d changes of owner, %d repeats, at most %d allowed; longest silence after a kill %v",
			sub, len(want), len(log), takeovers, repeats, bound, longestSilence(rs[i].Deliveries(), log))
		if repeats > bound {
			t.Errorf("%s: %d repeats, more than the %d that were in flight or finished %v before an owner died",
				sub, repeats, bound, unwritten)
		}
	}
}

// repeatBound works out how many repeats the contract allows in what a
// subscriber got. When an owner dies, what it had in flight, pool_size.max at
// most, comes again, and so does what it finished in the 250 ms before that
// its checkpoint may lack. The subscriber acks at once, so what was finished in
// a quarter of a second was also delivered in it; and as the owner sent nothing
// after its death, the last quarter of a second before its death lies at or
// before that before its last delivery. Each rise of the epoch is one such
// change of owner; those that were handed over need no repeats at all.
func repeatBound(ds []harness.Delivery) (bound, takeovers int) {
	last := map[uint64]int{} // epoch → index of its last delivery
	var epochs []uint64
	for i, d := range ds {
		if _, known := last[d.Epoch]; !known {
			epochs = append(epochs, d.Epoch)
		}
		last[d.Epoch] = i
	}
	for _, epoch := range epochs[:max(0, len(epochs)-1)] {
		takeovers++
		bound += inFlight
		end := ds[last[epoch]]
		for i := last[epoch]; i >= 0 && end.At.Sub(ds[i].At) <= unwritten; i-- {
			if ds[i].Epoch == epoch {
				bound++
			}
		}
	}
	return bound, takeovers
}

// longestSilence returns the longest time from a kill to the next delivery.
func longestSilence(ds []harness.Delivery, log []killed) (longest time.Duration) {
	for _, k := range log {
		for _, d := range ds {
			if d.At.After(k.at) {
				longest = max(longest, d.At.Sub(k.at))
				break
			}
		}
	}
	return longest.Round(time.Millisecond)
}

func keysOf[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// publishAt stores msgs in order at a rate, from a goroutine; the function
// returned waits for the last.
func publishAt(e *harness.Env, perSecond int, msgs []*nats.Msg) (wait func()) {
	js, err := jetstream.New(e.Conn(), jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		e.T.Fatal(err)
	}
	ctx := e.T.Context()
	var running sync.WaitGroup
	running.Go(func() {
		limit := rate.NewLimiter(rate.Limit(perSecond), perSecond/10)
		for _, msg := range msgs {
			err := limit.Wait(ctx)
			if err == nil {
				_, err = js.PublishMsgAsync(msg, jetstream.WithStallWait(time.Minute))
			}
			if err != nil {
				e.T.Errorf("publish the load: %v", err)
				return
			}
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-ctx.Done():
		}
	})
	e.T.Cleanup(running.Wait)
	return running.Wait
}
