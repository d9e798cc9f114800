package integration

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// inBackground publishes n small events while the test goes on; the function
// returned waits until they are stored.
func inBackground(e *harness.Env, n, streams int) (wait func()) {
	var running sync.WaitGroup
	js := harness.JetStream(e.T, e.Conn())
	ctx := e.Context()
	running.Go(func() {
		for _, msg := range orders(n, streams) {
			if _, err := js.PublishMsg(ctx, msg); err != nil {
				e.T.Errorf("publish in the background: %v", err)
				return
			}
		}
	})
	e.T.Cleanup(running.Wait)
	return running.Wait
}

func awaitState(e *harness.Env, name string, want wire.PoolState) *wire.Pool {
	e.T.Helper()
	return e.AwaitPool(name, "state "+string(want), func(p *wire.Pool) error {
		if p.State != want {
			return fmt.Errorf("its state is %s", p.State)
		}
		return nil
	})
}

func TestPauseAndResumeLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const n = 1500
	r := e.Record("to.pause", harness.Ack)
	e.Subscribe("pause", spec("to.pause"))
	wait := inBackground(e, n, 10)
	for i := range 3 {
		r.AwaitCount(100 * (i + 1))
		sub, err := e.Client.Pause(e.Context(), "pause")
		if err != nil || !sub.Paused {
			t.Fatalf("pause: %+v, %v", sub, err)
		}
		p := awaitState(e, "pause", wire.PoolPaused)
		if sub.Generation != p.ObservedGeneration {
			t.Errorf("the pool observed generation %d, want %d", p.ObservedGeneration, sub.Generation)
		}
		before := r.Count()
		e.Publish("orders.while.paused", "{}")
		if r.Count() != before {
			t.Errorf("%d deliveries came while paused", r.Count()-before)
		}
		if sub, err = e.Client.Resume(e.Context(), "pause"); err != nil || sub.Paused {
			t.Fatalf("resume: %+v, %v", sub, err)
		}
	}
	wait()
	e.AwaitFloor("pause", n+3)
	r.RequireExactly("pause and resume", upTo(1, n+3))
	r.RequireOrder("pause and resume", harness.Delivery.Stream)
}

func TestSeekMovesTheCheckpointUnderAHigherEpoch(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := e.Record("to.seek", harness.Ack)
	e.PublishAll(orders(100, 10))
	e.Subscribe("seek", spec("to.seek"))
	before := e.AwaitFloor("seek", 100)
	seek := func(to wire.Position, dry bool) *wire.SeekResponse {
		t.Helper()
		answer, err := e.Client.Seek(e.Context(), "seek", wire.SeekRequest{To: to, DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}

	if a := seek(client.FromSequence(41), true); a.FromSequence != 101 || a.ToSequence != 41 || a.Events != 60 {
		t.Errorf("a dry run says %+v, want from 101 to 41, 60 events", a)
	}
	if p := e.AwaitFloor("seek", 100); p.Epoch != before.Epoch || r.Count() != 100 {
		t.Errorf("a dry run moved something: epoch %d, %d deliveries", p.Epoch, r.Count())
	}

	if a := seek(client.FromSequence(41), false); a.FromSequence != 101 || a.ToSequence != 41 || a.Events != 60 {
		t.Errorf("the answer is %+v, want from 101 to 41, 60 events", a)
	}
	r.AwaitCount(160)
	after := e.AwaitFloor("seek", 100)
	again := r.Deliveries()[100:]
	for _, d := range again {
		if d.Epoch <= before.Epoch {
			t.Fatalf("event %d was redelivered under epoch %d, want more than %d", d.Sequence, d.Epoch, before.Epoch)
		}
	}
	seqs := r.Sequences()[100:]
	slices.Sort(seqs)
	if !slices.Equal(seqs, upTo(41, 100)) {
		t.Errorf("redelivered are %v, want 41 to 100, each once", seqs)
	}
	if faults := harness.OutOfOrder(again, harness.Delivery.Stream); len(faults) > 0 {
		t.Errorf("redelivered out of order: %v", faults)
	}
	if after.Epoch <= before.Epoch {
		t.Errorf("the epoch went from %d to %d", before.Epoch, after.Epoch)
	}

	// Forwards, over what comes while the subscription is paused.
	if _, err := e.Client.Pause(e.Context(), "seek"); err != nil {
		t.Fatal(err)
	}
	awaitState(e, "seek", wire.PoolPaused)
	e.PublishAll(orders(50, 10))
	if a := seek(client.FromNew(), false); a.FromSequence != 101 || a.ToSequence != 151 || a.Events != 50 {
		t.Errorf("the answer is %+v, want from 101 to 151, 50 events", a)
	}
	if _, err := e.Client.Resume(e.Context(), "seek"); err != nil {
		t.Fatal(err)
	}
	last := e.Publish("orders.after.x", "{}")
	e.AwaitFloor("seek", last)
	if got := r.Sequences()[160:]; !slices.Equal(got, []uint64{last}) {
		t.Errorf("after seeking forwards came %v, want %d alone", got, last)
	}
}

func TestARestartStartsOverUnderANewUID(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := e.Record("to.restart", harness.Ack)
	e.PublishAll(orders(60, 6))
	first := e.Subscribe("restart", spec("to.restart"))
	before := e.AwaitFloor("restart", 60)

	changed := spec("to.restart")
	changed.Selector.ByStream = []string{"orders.s1.>", "orders.s2.>"}
	_, err := e.Client.Subscribe(e.Context(), "restart", changed)
	requireCode(t, err, wire.CodeNeedsRestart)

	second := e.Subscribe("restart", changed, client.Restart())
	if second.UID == first.UID || second.Generation <= first.Generation {
		t.Errorf("uid and generation went from %s, %d to %s, %d", first.UID, first.Generation, second.UID, second.Generation)
	}
	r.AwaitCount(80)
	after := e.AwaitPool("restart", "of the new uid", func(p *wire.Pool) error {
		if p.UID != second.UID || p.Checkpoint.Floor < 57 {
			return fmt.Errorf("uid %s, floor %d", p.UID, p.Checkpoint.Floor)
		}
		return nil
	})
	if after.Epoch <= before.Epoch {
		t.Errorf("the epoch went from %d to %d", before.Epoch, after.Epoch)
	}
	var want []uint64
	for _, seq := range upTo(1, 60) {
		if s := (seq - 1) % 6; s == 1 || s == 2 {
			want = append(want, seq)
		}
	}
	got := r.Sequences()[60:]
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("after the restart came %v, want %v", got, want)
	}
}

func TestAChangeInPlaceKeepsThePlace(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const n = 1200
	one, two := e.Record("to.one", harness.Ack), e.Record("to.two", harness.Ack)
	first := e.Subscribe("place", spec("to.one"))
	wait := inBackground(e, n, 12)

	one.AwaitCount(200)
	s := spec("to.two")
	s.OrderBy, s.AckWait, s.PoolSize = client.OrderBySubject(), 20*time.Second, client.PoolSize{Min: 4, Max: 8}
	second := e.Subscribe("place", s)
	if second.UID != first.UID || second.Generation != first.Generation+1 {
		t.Errorf("uid and generation went from %s, %d to %s, %d", first.UID, first.Generation, second.UID, second.Generation)
	}
	same := e.Subscribe("place", s)
	if same.Revision != second.Revision || same.Generation != second.Generation {
		t.Errorf("the same again went from revision %d to %d", second.Revision, same.Revision)
	}
	two.AwaitCount(100)
	wait()
	e.AwaitFloor("place", n)
	all := append(one.Deliveries(), two.Deliveries()...)
	harness.SortByArrival(all)
	if faults := harness.OutOfOrder(all, harness.Delivery.Stream); len(faults) > 0 {
		t.Errorf("out of order over the change: %v", faults)
	}
	seqs := append(one.Sequences(), two.Sequences()...)
	slices.Sort(seqs)
	if !slices.Equal(seqs, upTo(1, n)) {
		t.Errorf("%d deliveries over the change, want each of %d events once", len(seqs), n)
	}
	if one.Count() == 0 || two.Count() == 0 {
		t.Errorf("the targets got %d and %d", one.Count(), two.Count())
	}
}

func TestAnEphemeralSubscriptionIsRemovedAndADurableOneIsNot(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ephemeral, durable := e.Record("to.ephemeral", harness.Ack), e.Record("to.durable", harness.Ack)
	s := spec("to.ephemeral")
	s.ExpireAfter = 2 * time.Second
	e.Subscribe("ephemeral", s)
	e.Subscribe("durable", spec("to.durable"))
	seq := e.Publish("orders.a.b", "{}")
	e.AwaitFloor("ephemeral", seq)
	e.AwaitFloor("durable", seq)

	closed := time.Now()
	ephemeral.Close()
	durable.Close()
	e.Await("the end of the ephemeral subscription", func() error {
		_, err := e.Client.Get(e.Context(), "ephemeral")
		if client.CodeOf(err) == wire.CodeNoSubscription {
			return nil
		}
		return fmt.Errorf("get says %s", fmt.Sprint(err)) // err may be nil
	})
	if lasted := time.Since(closed); lasted < 2*time.Second {
		t.Errorf("it was removed %v after its subscriber left, want at least 2s", lasted)
	}
	awaitAdvisory(t, e, wire.AdvSubscriptionExpired, "ephemeral")
	e.AwaitNoPool("ephemeral")

	e.Await("the durable one in the report", func() error {
		report, err := e.Client.CheckHealth(e.Context())
		if err != nil {
			return err
		}
		for _, issue := range report.Issues.Stale {
			if issue.Name == "durable" {
				return nil
			}
		}
		return fmt.Errorf("stale are %+v", report.Issues.Stale)
	})
	e.Get("durable")
	// And what was stored while nobody listened comes when somebody does.
	e.PublishAll(orders(20, 2))
	back := e.Record("to.durable", harness.Ack)
	e.AwaitFloor("durable", seq+20)
	back.RequireExactly("after the subscriber came back", upTo(seq+1, seq+20))
}

// gapped is a subscription that is behind what its store still holds: 41..50 of
// 1..50, of which 5 were finished.
func gapped(t *testing.T, e *harness.Env, name, onGap string) *harness.Recorder {
	t.Helper()
	e.StoreOf(jetstream.StreamConfig{Name: "SHORT", Subjects: []string{"short.>"}, MaxMsgs: 10})
	r := e.Record("to.gap", harness.Ack)
	s := spec("to.gap")
	s.Store, s.OnGap = "SHORT", onGap
	e.Subscribe(name, s)
	var last uint64
	for range 5 {
		last = e.Publish("short.a.b", "{}")
	}
	e.AwaitFloor(name, last)
	if _, err := e.Client.Pause(e.Context(), name); err != nil {
		t.Fatal(err)
	}
	awaitState(e, name, wire.PoolPaused)
	for range 45 {
		e.Publish("short.a.b", "{}")
	}
	if _, err := e.Client.Resume(e.Context(), name); err != nil {
		t.Fatal(err)
	}
	return r
}

func awaitGapIssue(e *harness.Env, name string) {
	e.T.Helper()
	e.AwaitPool(name, "gap 6 to 40", func(p *wire.Pool) error {
		if p.Gap == nil || p.Gap.From != 6 || p.Gap.To != 40 {
			return fmt.Errorf("its gap is %+v", p.Gap)
		}
		return nil
	})
	e.Await("the issue of the gap", func() error {
		report, err := e.Client.CheckHealth(e.Context())
		if err != nil {
			return err
		}
		for _, issue := range report.Issues.Gaps {
			if issue.Name == name && fmt.Sprint(issue.Evidence["from"]) == "6" && fmt.Sprint(issue.Evidence["to"]) == "40" {
				return nil
			}
		}
		return fmt.Errorf("gaps are %+v", report.Issues.Gaps)
	})
}

func TestOnGapContinueGoesOnAtTheFirstEventThatExists(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := gapped(t, e, "continue", wire.GapContinue)
	e.AwaitFloor("continue", 50)
	r.RequireExactly("over the gap", append(upTo(1, 5), upTo(41, 50)...))
	awaitGapIssue(e, "continue")
}

func TestOnGapPauseWaitsForAPerson(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := gapped(t, e, "pause", wire.GapPause)
	e.Await("the pause", func() error {
		if sub := e.Get("pause").Subscription; !sub.Paused {
			return fmt.Errorf("it is not paused")
		}
		return nil
	})
	awaitState(e, "pause", wire.PoolPaused)
	awaitGapIssue(e, "pause")
	r.RequireExactly("before somebody resumes", upTo(1, 5))

	if _, err := e.Client.Resume(e.Context(), "pause"); err != nil {
		t.Fatal(err)
	}
	e.AwaitFloor("pause", 50)
	r.RequireExactly("after somebody resumed", append(upTo(1, 5), upTo(41, 50)...))
}
