package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// The tests in this file hold Sluice against what went wrong in the system that
// it succeeds; each is named after the defect that must not come back.

func TestTheStartThatWasAskedForIsNotIgnored(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Store(store, "orders.>")
	e.PublishAll(orders(30, 3))
	e.Start(wire.ServiceRegistry)
	r := e.Record("to.start", harness.Ack)
	s := spec("to.start")
	s.Start = client.FromSequence(11)
	e.Subscribe("start", s)
	e.PublishAll(orders(30, 3)) // while no pool runs
	e.Start(wire.ServiceEmitter)
	e.AwaitFloor("start", 60)
	r.RequireExactly("from the start that was asked for", upTo(11, 60))
}

func TestAnAckDoesNotCreateAnotherSubscription(t *testing.T) {
	t.Parallel()
	e := setup(t)
	selectors := map[string]client.Selector{
		"stream":  {ByStream: []string{"orders.s1.>"}},
		"type":    {ByEventType: []string{"placed"}},
		"pattern": {ByEventPattern: json.RawMessage(`{"stream": [{"prefix": "orders."}]}`)},
		"payload": {ByEventPayload: json.RawMessage(`{"number": [{"numeric": [">=", 0]}]}`)},
	}
	for name, selector := range selectors {
		e.Record("to."+name, harness.Ack)
		s := spec("to." + name)
		s.Selector = selector
		e.Subscribe(name, s)
	}
	e.PublishAll(orders(40, 2))
	for name := range selectors {
		e.AwaitFloor(name, 39)
	}
	var names []string
	for row, err := range e.Client.List(e.Context(), wire.ListRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, row.Name)
		if row.Generation != 1 {
			t.Errorf("acks brought %s to generation %d", row.Name, row.Generation)
		}
	}
	if want := []string{"pattern", "payload", "stream", "type"}; !slices.Equal(names, want) {
		t.Errorf("subscriptions are %v, want %v", names, want)
	}
}

func TestTheMonitorLeavesPoolsOfEveryStoreAlone(t *testing.T) {
	t.Parallel()
	e := setup(t, harness.Vars("SLUICE_HEALTH_INTERVAL", "100ms"))
	e.Store("OTHER", "other.>")
	epochs := map[string]uint64{}
	for name, in := range map[string]string{"here": store, "there": "OTHER"} {
		e.Record("to."+name, harness.Ack)
		s := spec("to." + name)
		s.Store = in
		e.Subscribe(name, s)
		epochs[name] = e.AwaitOwned(name).Epoch
	}
	for range 5 {
		report, err := e.Client.CheckHealth(e.Context())
		if err != nil {
			t.Fatal(err)
		}
		if report.TotalSubscriptions != 2 || report.TotalPools != 2 || report.Summary.Total != 0 || len(report.Repairs) != 0 {
			t.Fatalf("the report is %+v, want two pools and nothing to complain about", report)
		}
	}
	for name, epoch := range epochs {
		if now := e.AwaitOwned(name).Epoch; now != epoch {
			t.Errorf("sweeps moved %s from epoch %d to %d", name, epoch, now)
		}
	}
}

func TestTheLimitOnRepairAttemptsBites(t *testing.T) {
	t.Parallel()
	e := harness.New(t, harness.Vars("SLUICE_HEALTH_INTERVAL", "100ms",
		"SLUICE_CLEANUP_MAX_ATTEMPTS", "2", "SLUICE_CLEANUP_RETRY_DELAY", "100ms"))
	e.Store(store, "orders.>")
	e.Start(wire.ServiceRegistry)
	e.Start(wire.ServiceHealthmon)
	e.IdleEmitter() // which is asked to claim the pool, in vain
	e.Subscribe("missing", spec("to.nobody"))
	gaveUp := func() error {
		report, err := e.Client.CheckHealth(e.Context())
		if err != nil {
			return err
		}
		for _, repair := range report.Repairs {
			if repair.Kind == wire.IssueMissingPool && repair.Name == "missing" && repair.Outcome == "given_up" {
				if repair.Attempt != 2 {
					t.Errorf("it gave up after %d attempts, want 2", repair.Attempt)
				}
				return nil
			}
		}
		return fmt.Errorf("repairs are %+v, issues %+v", report.Repairs, report.Issues.Missing)
	}
	e.Await("the monitor to give up", gaveUp)
	attempts := func() int {
		return len(advisories(t, e, wire.AdvRepaired, "missing")) + len(advisories(t, e, wire.AdvRepairFailed, "missing"))
	}
	before := attempts()
	for range 5 { // more sweeps, and a delay long past, change nothing
		if err := gaveUp(); err != nil {
			t.Fatal(err)
		}
	}
	if after := attempts(); after != before || after > 3 {
		t.Errorf("advisories of repairs went from %d to %d after it gave up", before, after)
	}
}

func TestASubscriberOnAnotherNodeBreaksNothing(t *testing.T) {
	t.Parallel()
	hub, leaf := harness.StartLeaf(t)
	e := harness.New(t, harness.OnServer(hub))
	e.Store(store, "orders.>")
	e.StartAll()
	r := e.RecordOn(leaf, "to.leaf", harness.Ack)
	s := spec("to.leaf")
	s.ExpireAfter = time.Second // it would be removed if its subscriber were not seen
	e.Subscribe("leaf", s)
	e.PublishAll(orders(50, 5))
	e.AwaitFloor("leaf", 50)
	r.RequireExactly("over the leaf node", upTo(1, 50))
	began := time.Now()
	e.Await("sweeps for longer than expire_after", func() error {
		report, err := e.Client.CheckHealth(e.Context())
		if err != nil {
			return err
		}
		if report.Summary.Total != 0 {
			t.Fatalf("the report is %+v", report)
		}
		health, err := e.Client.SubscriptionHealth(e.Context(), "leaf")
		if err != nil || health.Listeners != 1 || health.Status != wire.StatusHealthy {
			return fmt.Errorf("its health is %+v, %s", health, fmt.Sprint(err))
		}
		if lasted := time.Since(began); lasted < 3*time.Second {
			return fmt.Errorf("only %v by now", lasted)
		}
		return nil
	})
	e.Get("leaf")
}

func TestOneBadSubscriberDoesNotHoldUpOrLoseTheEventsOfOthers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const n = 500
	bad := e.Record("to.bad", func(_ harness.Delivery, say func(string)) { say("-NAK") })
	e.Record("to.mute", harness.Silent)
	good := e.Record("to.good", harness.Ack)
	for _, name := range []string{"bad", "mute", "absent", "good"} {
		s := spec("to." + name)
		s.Retry.MaxAttempts = new(0)
		s.Breaker = client.Breaker{Failures: 3, OpenFor: 300 * time.Millisecond}
		e.Subscribe(name, s)
	}
	e.PublishAll(orders(n, 10))
	e.AwaitFloor("good", n)
	good.RequireExactly("beside a bad one", upTo(1, n))
	awaitAdvisory(t, e, wire.AdvBreakerOpened, "bad")
	bad.Behave(harness.Ack)
	e.AwaitFloor("bad", n)
	bad.RequireSet("once it behaves", upTo(1, n))
	absent := e.Record("to.absent", harness.Ack)
	e.AwaitFloor("absent", n)
	absent.RequireExactly("once it is there", upTo(1, n))
}

func TestTheHealthOfASubscriptionIsReallyPublished(t *testing.T) {
	t.Parallel()
	e := setup(t, harness.Vars("SLUICE_HEALTH_INTERVAL", "200ms"))
	changes, err := e.Client.HealthChanges(e.Context(), "watched")
	if err != nil {
		t.Fatal(err)
	}
	e.Subscribe("watched", spec("to.watched")) // nobody listens yet
	var r *harness.Recorder
	for h, err := range changes {
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != "watched" {
			t.Fatalf("a change of %q came", h.Name)
		}
		if h.Status == wire.StatusDegraded && r == nil {
			r = e.Record("to.watched", harness.Ack)
		}
		if h.Status == wire.StatusHealthy && r != nil {
			return // it fell ill and recovered, and we were told
		}
	}
	t.Fatal("not told that the subscription fell ill and recovered")
}

func TestARegistrationIsAnsweredTruthfullyAndOutlivesItsClient(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := spec("to.durable")
	s.Store = "NOWHERE"
	_, err := e.Client.Subscribe(e.Context(), "durable", s)
	requireCode(t, err, wire.CodeNoStore)
	_, err = e.Client.Get(e.Context(), "durable")
	requireCode(t, err, wire.CodeNoSubscription)

	nc := e.Conn()
	c, err := client.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r := e.Record("to.durable", harness.Ack)
	if _, err := c.Subscribe(e.Context(), "durable", spec("to.durable")); err != nil {
		t.Fatal(err)
	}
	e.PublishAll(orders(10, 2))
	e.AwaitFloor("durable", 10)
	nc.Close() // who asked is gone, and so is who listened
	r.Close()
	e.PublishAll(orders(10, 2))
	for range 3 {
		if _, err := e.Client.CheckHealth(e.Context()); err != nil {
			t.Fatal(err)
		}
	}
	back := e.Record("to.durable", harness.Ack)
	e.AwaitFloor("durable", 20)
	back.RequireExactly("after it came back", upTo(11, 20))
}

func TestAPoolOfManyKeepsTheOrderAndLikeSubscriptionsStayApart(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const n, same = 400, 30
	s := spec("to.many")
	s.PoolSize = client.PoolSize{Min: 256, Max: 1024}
	slow := &slowSubscriber{key: harness.Delivery.Stream, out: map[string]int{}}
	defer slow.wait.Wait()
	r := e.Record("to.many", slow.take)
	e.Subscribe("many", s)
	uids := map[string]bool{}
	for i := range same { // the same but for a letter of the name
		uids[e.Subscribe(fmt.Sprintf("Name%d", i), spec("to.same")).UID] = true
		uids[e.Subscribe(fmt.Sprintf("name%d", i), spec("to.same")).UID] = true
	}
	if len(uids) != 2*same {
		t.Errorf("%d subscriptions have %d uids", 2*same, len(uids))
	}
	all := e.Record("to.same", harness.Ack)
	e.PublishAll(orders(n, 8))
	e.AwaitFloor("many", n)
	r.RequireExactly("a pool of many", upTo(1, n))
	r.RequireOrder("a pool of many", harness.Delivery.Stream)
	all.AwaitCount(n * 2 * same)
	got := map[string][]uint64{}
	for _, d := range all.Deliveries() {
		got[d.Subscription] = append(got[d.Subscription], d.Sequence)
	}
	for name, seqs := range got {
		slices.Sort(seqs)
		if !slices.Equal(seqs, upTo(1, n)) {
			t.Errorf("%s got %d events, want each of %d once", name, len(seqs), n)
		}
	}
	if len(got) != 2*same {
		t.Errorf("%d subscriptions got something, want %d", len(got), 2*same)
	}
}
