package integration

import (
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/wire"
)

// spread creates subscriptions with a recorder each and returns them.
func spread(e *harness.Env, n int) (names []string, rs []*harness.Recorder) {
	for i := range n {
		name := fmt.Sprintf("sub-%02d", i)
		names = append(names, name)
		rs = append(rs, e.Record("to."+name, harness.Ack))
		e.Subscribe(name, spec("to."+name))
	}
	return names, rs
}

// owners returns how many of the pools each instance owns, once all are owned
// by one of them and nothing is on its way any more.
func owners(e *harness.Env, names []string, instances ...string) map[string]int {
	e.T.Helper()
	count := map[string]int{}
	e.Await("every pool to be with its owner", func() error {
		clear(count)
		for _, name := range names {
			p, err := e.Pool(name)
			if err != nil {
				return err
			}
			count[p.Owner]++
		}
		n := 0
		for _, instance := range instances {
			if count[instance] == 0 {
				return fmt.Errorf("%s owns nothing: %v", instance, count)
			}
			n += count[instance]
		}
		if n != len(names) {
			return fmt.Errorf("%d of %d are owned by %v: %v", n, len(names), instances, count)
		}
		return nil
	})
	return count
}

func TestEmittersShareThePoolsAndHandThemOverWithoutARepeat(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Store(store, "orders.>")
	e.Start(wire.ServiceRegistry)
	a := e.Start(wire.ServiceEmitter)
	names, rs := spread(e, 16)
	owners(e, names, a.Instance)
	const n = 600
	wait := inBackground(e, n, 10)

	rs[0].AwaitCount(20)
	b := e.Start(wire.ServiceEmitter) // takes its share
	count := owners(e, names, a.Instance, b.Instance)
	t.Logf("of %d pools %d and %d", len(names), count[a.Instance], count[b.Instance])
	epochs := map[string]uint64{}
	for _, name := range names {
		epochs[name] = e.AwaitOwned(name).Epoch
	}

	rs[0].AwaitCount(200)
	a.Stop() // as SIGTERM does: hands its pools over
	for _, name := range names {
		if p := e.AwaitOwned(name, b.Instance); p.Epoch < epochs[name] {
			t.Errorf("the epoch of %s went from %d to %d", name, epochs[name], p.Epoch)
		}
	}
	wait()
	for i, name := range names {
		e.AwaitFloor(name, n)
		rs[i].RequireExactly(name, upTo(1, n))
		rs[i].RequireOrder(name, harness.Delivery.Stream)
	}
}

func TestAProcessThatGetsSIGTERMHandsOverWithoutARepeat(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Store(store, "orders.>")
	e.Start(wire.ServiceRegistry)
	a := e.Spawn(wire.ServiceEmitter)
	names, rs := spread(e, 4)
	owners(e, names, a.Instance)
	const n = 1500
	wait := inBackground(e, n, 10)
	rs[0].AwaitCount(50)
	b := e.Spawn(wire.ServiceEmitter)
	rs[0].AwaitCount(200)
	a.Stop()
	for _, name := range names {
		e.AwaitOwned(name, b.Instance)
	}
	wait()
	for i, name := range names {
		e.AwaitFloor(name, n)
		rs[i].RequireExactly(name, upTo(1, n))
		rs[i].RequireOrder(name, harness.Delivery.Stream)
	}
}

func TestEveryServiceHasASessionAndOnlyEmittersAreCountedAsSuch(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	e.Start(wire.ServiceRegistry)
	for _, name := range harness.All() {
		want := 1
		if name == wire.ServiceRegistry {
			want = 2
		}
		e.Await("the sessions of "+name, func() error {
			live, err := e.Sessions(name)
			if err == nil && len(live) != want {
				err = fmt.Errorf("there are %v, want %d", live, want)
			}
			return err
		})
	}
	report, err := e.Client.CheckHealth(e.Context())
	if err != nil || report.TotalEmitters != 1 {
		t.Errorf("the report is %+v (%v), want one emitter in it", report, err)
	}
}
