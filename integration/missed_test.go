package integration

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestALifecycleThatNoEmitterSawIsMadeUpFor(t *testing.T) {
	t.Parallel()
	e := harness.New(t, harness.Vars("SLUICE_RECONCILE_RETRY", "500ms"))
	e.Store(store, "orders.>")
	e.Start(wire.ServiceRegistry)
	emitter := e.Start(wire.ServiceEmitter)
	names := []string{"kept", "updated", "deleted", "recreated", "created"}
	rs := map[string]*harness.Recorder{}
	old := map[string]*wire.Subscription{}
	for _, name := range names {
		rs[name] = e.Record("to."+name, harness.Ack)
		if name != "created" {
			old[name] = e.Subscribe(name, spec("to."+name))
		}
	}
	e.PublishAll(orders(40, 4))
	epochs := map[string]uint64{}
	for name := range old {
		epochs[name] = e.AwaitFloor(name, 40).Epoch
	}
	emitter.Stop()

	// Nobody sees any of this.
	unsubscribe := func(name string) {
		t.Helper()
		if deleted, err := e.Client.Unsubscribe(e.Context(), name); err != nil || !deleted {
			t.Fatalf("unsubscribe %s: %v, %v", name, deleted, err)
		}
	}
	created := e.Subscribe("created", spec("to.created"))
	moved := e.Record("to.updated.2", harness.Ack)
	updated := e.Subscribe("updated", spec("to.updated.2"))
	unsubscribe("deleted")
	unsubscribe("recreated")
	recreated := e.Subscribe("recreated", spec("to.recreated"))
	e.Subscribe("brief", spec("to.brief"))
	unsubscribe("brief")
	e.PublishAll(orders(10, 4)) // 41 to 50
	if recreated.UID == old["recreated"].UID || recreated.Generation != 1 {
		t.Errorf("the recreated one has uid %s, generation %d", recreated.UID, recreated.Generation)
	}

	reports, err := e.NC.SubscribeSync(wire.DefaultNamespace.ReconcileReport())
	if err != nil {
		t.Fatal(err)
	}
	e.Start(wire.ServiceReplayer)
	awaitAdvisory(t, e, wire.AdvLifecycleMissed, "created") // the history was judged before anybody observed it
	e.Start(wire.ServiceEmitter)
	for _, name := range []string{"kept", "updated", "recreated", "created"} {
		p := e.AwaitFloor(name, 50)
		if p.Epoch <= epochs[name] {
			t.Errorf("the epoch of %s went from %d to %d", name, epochs[name], p.Epoch)
		}
	}
	e.AwaitNoPool("deleted")
	e.AwaitNoPool("brief")
	for name, want := range map[string]*wire.Subscription{
		"kept": old["kept"], "updated": updated, "recreated": recreated, "created": created,
	} {
		p := e.AwaitOwned(name)
		if p.UID != want.UID || p.ObservedGeneration != want.Generation {
			t.Errorf("pool %s runs by %s, %d, want %s, %d", name, p.UID, p.ObservedGeneration, want.UID, want.Generation)
		}
	}
	rs["kept"].RequireExactly("kept", upTo(1, 50))
	rs["created"].RequireExactly("created", upTo(1, 50))
	rs["deleted"].RequireExactly("deleted", upTo(1, 40))
	rs["updated"].RequireExactly("updated, before", upTo(1, 40))
	moved.RequireExactly("updated, after", upTo(41, 50))
	again := rs["recreated"].Sequences()[40:]
	slices.Sort(again)
	if !slices.Equal(again, upTo(1, 50)) {
		t.Errorf("the recreated one got %v, want all events from the first", again)
	}

	// The replayer tells which transitions nobody had observed.
	want := map[string]bool{
		"created created": true, "updated updated": true, "deleted deleted": true, "recreated recreated": true,
	}
	told := map[string]bool{}
	var brief []string
	e.Await("the report of the transitions", func() error {
		for msg, err := reports.NextMsg(1); err == nil; msg, err = reports.NextMsg(1) {
			var report wire.ReconcileReport
			harness.Decode(t, msg.Data, &report)
			for _, tr := range report.Transitions {
				if tr.Name == "brief" { // came and went: with no pool there is nothing left to observe
					brief = append(brief, tr.Kind)
				}
				if tr.Missed {
					told[tr.Name+" "+tr.Kind] = told[tr.Name+" "+tr.Kind] || tr.Observed
				}
			}
		}
		for what := range want {
			if !told[what] {
				return fmt.Errorf("%q was not told as missed and then observed; told are %v", what, told)
			}
		}
		return nil
	})
	if len(brief) < 2 || brief[0] != wire.TransitionCreated || brief[1] != wire.TransitionDeleted {
		t.Errorf("of the one that came and went is told %v, want created and deleted", brief)
	}
	for what := range told {
		if !want[what] && what != "recreated deleted" {
			t.Errorf("%q was told as missed, which it was not", what)
		}
	}
	awaitAdvisory(t, e, wire.AdvLifecycleMissed, "recreated")
	awaitAdvisory(t, e, wire.AdvLifecycleReplayed, "recreated")
}
