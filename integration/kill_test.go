package integration

import (
	"context"
	"encoding/json"
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
type killed struct {
	instance string
	at       time.Time
}

// claim is an owner of a pool, and when a watch showed it first.
type claim struct {
	owner string
	seen  time.Time
}

// watchClaims notes who owns each pool under which epoch, until the function
// returned is called, which returns it.
func watchClaims(e *harness.Env) (stop func() map[string]map[uint64]claim) {
	e.T.Helper()
	kv, err := e.JS.KeyValue(e.Context(), wire.DefaultNamespace.BucketPools())
	if err != nil {
		e.T.Fatal(err)
	}
	w, err := kv.WatchAll(e.T.Context(), jetstream.IgnoreDeletes())
	if err != nil {
		e.T.Fatal(err)
	}
	claims := map[string]map[uint64]claim{}
	var running sync.WaitGroup
	running.Go(func() {
		for entry := range w.Updates() {
			var p wire.Pool
			if entry == nil || json.Unmarshal(entry.Value(), &p) != nil || p.Owner == "" {
				continue // all listed, or nobody's
			}
			if claims[p.Name] == nil {
				claims[p.Name] = map[uint64]claim{}
			}
			if _, known := claims[p.Name][p.Epoch]; !known {
				claims[p.Name][p.Epoch] = claim{p.Owner, time.Now()}
			}
		}
	})
	return func() map[string]map[uint64]claim {
		if err := w.Stop(); err != nil {
			e.T.Errorf("stop the watch of the pools: %v", err)
		}
		running.Wait()
		return claims
	}
}

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
	stopClaims := watchClaims(e)
	msgs := input(t, random.Uint64(), generated)
	wait := publishAt(e, loadRate, msgs)

	var log []killed
	for i := range kills {
		// Wherever the load is by now, some tenth further on.
		rs[0].AwaitCount((2*i + 1) * generated / (2*kills + 4))
		pause(t.Context(), random, 200*time.Millisecond)
		victim := e.AwaitOwned(names[i%killPools], slices.Collect(keysOf(emitters))...).Owner
		log = append(log, killed{victim, time.Now()})
		emitters[victim].Kill()
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
		rs[i].AwaitAll(sequencesOf(expected[i]))
		e.AwaitFloor(sub, expected[i][len(expected[i])-1].Sequence)
	}
	claims := stopClaims()
	for i, sub := range names {
		keys := make(map[uint64]string, len(expected[i]))
		for _, x := range expected[i] {
			keys[x.Sequence] = x.Key
		}
		want := sequencesOf(expected[i])
		repeats := rs[i].RequireSet(sub, want)
		rs[i].RequireOrder(sub, func(d harness.Delivery) string { return keys[d.Sequence] })
		bound, owners, deaths := repeatBound(rs[i].Deliveries(), claims[sub], log)
		t.Logf("%s: %d events, %d kills, %d owners, of whom %d were killed, %d repeats, at most %d allowed; longest silence after a kill %v",
			sub, len(want), len(log), owners, deaths, repeats, bound, longestSilence(rs[i].Deliveries(), log))
		if repeats > bound {
			t.Errorf("%s: %d repeats, more than the %d that were in flight or finished %v before an owner died",
				sub, repeats, bound, unwritten)
		}
	}
}

func sequencesOf(expected []evaluator.Expected) (seqs []uint64) {
	for _, x := range expected {
		seqs = append(seqs, x.Sequence)
	}
	return seqs
}

// repeatBound works out how many repeats the contract allows in what a
// subscriber got. When an owner dies, what it had in flight, pool_size.max at
// most, comes again, and so does what it finished in the 250 ms before that
// its checkpoint may lack. The subscriber acks at once, so what was finished in
// a quarter of a second was also delivered in it; and as the owner sent nothing
// after its death, the last quarter of a second before its death lies at or
// before that before its last delivery. An owner that hands over allows none.
func repeatBound(ds []harness.Delivery, claims map[uint64]claim, log []killed) (bound, owners, deaths int) {
	last := map[uint64]int{} // epoch → index of its last delivery
	for i, d := range ds {
		last[d.Epoch] = i
	}
	for epoch, i := range last {
		owners++
		if !diedOwning(epoch, claims, log) {
			continue
		}
		deaths++
		bound += inFlight
		end := ds[i]
		for ; i >= 0 && end.At.Sub(ds[i].At) <= unwritten; i-- {
			if ds[i].Epoch == epoch {
				bound++
			}
		}
	}
	return bound, owners, deaths
}

// diedOwning reports whether the owner of an epoch was killed before anybody
// else had the pool.
func diedOwning(epoch uint64, claims map[uint64]claim, log []killed) bool {
	i := slices.IndexFunc(log, func(k killed) bool { return k.instance == claims[epoch].owner })
	if i < 0 {
		return false
	}
	for later, c := range claims {
		if later > epoch && c.seen.Before(log[i].at) {
			return false
		}
	}
	return true
}

func TestOnlyOwnersThatDiedAllowRepeats(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	var ds []harness.Delivery
	for i, epoch := range []uint64{1, 1, 4, 4, 4, 9} {
		ds = append(ds, harness.Delivery{Epoch: epoch, At: at(100 * i)})
	}
	claims := map[uint64]claim{1: {"a", at(0)}, 4: {"b", at(150)}, 9: {"c", at(450)}}
	for _, tt := range []struct {
		name          string
		log           []killed
		bound, deaths int
	}{
		{"hand-overs only", nil, 0, 0},
		{"killed after it had handed over", []killed{{"a", at(200)}}, 0, 0},
		{"killed as the owner", []killed{{"a", at(140)}}, inFlight + 2, 1},
		{"killed one after the other", []killed{{"a", at(140)}, {"b", at(440)}}, 2*inFlight + 5, 2},
	} {
		bound, owners, deaths := repeatBound(ds, claims, tt.log)
		if bound != tt.bound || owners != 3 || deaths != tt.deaths {
			t.Errorf("%s: %d repeats for %d deaths of %d owners, want %d for %d of 3", tt.name, bound, deaths, owners, tt.bound, tt.deaths)
		}
	}
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
