package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// replayBed is an installation with a subscription that has had n events.
func replayBed(t *testing.T, n int, vars ...string) (*harness.Env, *harness.Recorder) {
	t.Helper()
	e := harness.New(t)
	e.Store("EVENTS", "a.>")
	e.Start(wire.ServiceRegistry)
	e.Start(wire.ServiceEmitter)
	e.Start(wire.ServiceReplayer, vars...)
	live := e.Record("live", harness.Ack)
	e.Subscribe("sub", client.Spec{
		Store: "EVENTS", Selector: client.Selector{ByStream: []string{"a.>"}}, Start: client.FromAll(), Deliver: client.Deliver{Subject: "live"},
		Retry: client.Retry{MaxAttempts: new(2), MinBackoff: 10 * time.Millisecond, MaxBackoff: 10 * time.Millisecond},
	})
	for i := range n {
		e.Publish(fmt.Sprintf("a.%d.x", i%3), fmt.Sprintf(`{"n":%d}`, i))
	}
	live.AwaitCount(n)
	e.AwaitFloor("sub", uint64(n))
	return e, live
}

func startReplay(e *harness.Env, r client.Replay) *wire.Replay {
	e.T.Helper()
	job, err := e.Client.StartReplay(e.Context(), "sub", r)
	if err != nil {
		e.T.Fatal(err)
	}
	return job
}

// awaitReplay waits until a replay is in a state.
func awaitReplay(e *harness.Env, id string, want wire.ReplayState) *wire.Replay {
	e.T.Helper()
	var job *wire.Replay
	e.Await("replay "+string(want), func() (err error) {
		if job, err = e.Client.Replay(e.Context(), id); err == nil && job.State != want {
			err = fmt.Errorf("it is %s (%s): %+v", job.State, job.Reason, job.ReplayCounts)
		}
		return err
	})
	return job
}

func TestAReplayDeliversARangeBesideLiveDelivery(t *testing.T) {
	t.Parallel()
	e, live := replayBed(t, 30)
	before, err := e.Pool("sub")
	if err != nil {
		t.Fatal(err)
	}
	again := e.Record("again", harness.Ack)
	job := startReplay(e, client.Replay{From: client.FromSequence(5), To: wire.ReplayEnd{Sequence: 20}, Deliver: &client.Deliver{Subject: "again"}})
	if job.State != wire.ReplayPending || job.Total != 16 || job.Estimated || job.FromSequence != 5 || job.ToSequence != 20 {
		t.Errorf("started as %+v", job)
	}
	job = awaitReplay(e, job.ID, wire.ReplayFinished)
	if job.Finished != 16 || job.Sent != 16 || job.Parked != 0 || job.Owner != "" || job.EndedAt == nil || job.StartedAt == nil {
		t.Errorf("finished as %+v", job)
	}
	var want []uint64
	for seq := uint64(5); seq <= 20; seq++ {
		want = append(want, seq)
	}
	again.RequireExactly("the replay", want)
	again.RequireOrder("the replay", harness.Delivery.Stream)
	for _, d := range again.Deliveries() {
		if d.Header.Get("Sluice-Replay") != job.ID || d.Header["Sluice-Epoch"] != nil {
			t.Fatalf("headers %v", d.Header)
		}
	}
	after, err := e.Pool("sub")
	if err != nil || after.Epoch != before.Epoch || after.Checkpoint.Floor != before.Checkpoint.Floor || live.Count() != 30 {
		t.Errorf("live delivery was touched: %+v, %v; %d deliveries", after, err, live.Count())
	}
	for _, what := range []string{wire.AdvReplayStarted, wire.AdvReplayFinished} {
		if a := awaitAdvisory(t, e, what, "sub"); a.Data["replay"] != job.ID {
			t.Errorf("%s: %+v", what, a)
		}
	}
}

func TestAReplayGoesToTheSubscriptionsOwnTargetAndCanBeNarrower(t *testing.T) {
	t.Parallel()
	e, live := replayBed(t, 30)
	job := startReplay(e, client.Replay{From: client.FromAll(), Selector: &client.Selector{
		ByStream: []string{"a.1.>"}, ByEventPayload: map[string]any{"n": []any{map[string]any{"numeric": []any{"<", 10}}}},
	}})
	awaitReplay(e, job.ID, wire.ReplayFinished)
	var got []uint64
	for _, d := range live.Deliveries()[30:] {
		got = append(got, d.Sequence)
	}
	slices.Sort(got)
	if want := []uint64{2, 5, 8}; !slices.Equal(got, want) || job.Total != 3 {
		t.Errorf("replayed %v of %d, want %v", got, job.Total, want)
	}
}

func TestWhatAReplayCannotDeliverIsParkedAgain(t *testing.T) {
	t.Parallel()
	e, _ := replayBed(t, 3)
	e.Record("again", func(d harness.Delivery, say func(string)) {
		if d.Sequence == 2 {
			say("-NAK no use")
			return
		}
		say("+ACK")
	})
	job := startReplay(e, client.Replay{From: client.FromAll(), Deliver: &client.Deliver{Subject: "again"}})
	job = awaitReplay(e, job.ID, wire.ReplayFinished)
	if job.Finished != 2 || job.Parked != 1 || job.Sent != 4 {
		t.Errorf("finished as %+v", job.ReplayCounts)
	}
	parked := e.Stored(wire.DefaultNamespace.StreamParked(), wire.DefaultNamespace.Parked("sub"))
	if len(parked) != 1 || parked[0].Header.Get("Sluice-Replay") != job.ID || parked[0].Header.Get("Sluice-Sequence") != "2" {
		t.Errorf("parked %+v", parked)
	}
}

func TestADryRunCountsAndManyEventsNeedItsConfirmValue(t *testing.T) {
	t.Parallel()
	e, live := replayBed(t, 30, "SLUICE_REPLAY_CONFIRM_ABOVE", "20")
	want := client.Replay{From: client.FromAll(), Rate: 1000}
	seen, err := e.Client.PreviewReplay(e.Context(), "sub", want)
	if err != nil {
		t.Fatal(err)
	}
	p := seen.Preview
	if !p.Exact || p.Events != 30 || p.Low != 30 || p.High != 30 || p.Bytes != 230 || p.First.Sequence != 1 || p.Last.Sequence != 30 {
		t.Errorf("preview %+v", p)
	}
	if len(p.ByKey) != 3 || p.ByKey[0] != (wire.ReplayCount{Value: "a.0", Events: 10}) || len(p.ByType) != 1 || p.ByType[0].Events != 30 {
		t.Errorf("by key %v, by type %v", p.ByKey, p.ByType)
	}
	if seen.Confirm == "" || live.Count() != 30 {
		t.Fatalf("confirm %q, %d deliveries", seen.Confirm, live.Count())
	}
	e.Publish("a.0.x", "{}") // "now" stays what it was
	live.AwaitCount(31)

	refused := func(name string, r client.Replay) {
		t.Helper()
		_, err := e.Client.StartReplay(e.Context(), "sub", r)
		if client.CodeOf(err) != wire.CodeUnconfirmed || !strings.Contains(err.Error(), "dry_run") {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("no confirm value", want)
	other := want
	other.Confirm, other.To = seen.Confirm, wire.ReplayEnd{Sequence: 29}
	refused("another range", other)
	other.To, other.Confirm = wire.ReplayEnd{}, "1"+seen.Confirm
	refused("another sequence", other)

	want.Confirm = seen.Confirm
	job := startReplay(e, want)
	if job.ToSequence != 30 || job.Total != 30 {
		t.Errorf("started as %+v", job)
	}
	awaitReplay(e, job.ID, wire.ReplayFinished)
	live.AwaitCount(61)

	e.Subscribe("sub", client.SpecOf(func() wire.Spec {
		s := e.Get("sub").Subscription.Spec
		s.Labels = map[string]string{"changed": "yes"}
		return s
	}()))
	refused("the subscription has changed", want)
}

func TestAReplayIsPausedResumedAndCancelled(t *testing.T) {
	t.Parallel()
	e, _ := replayBed(t, 60)
	again := e.Record("again", harness.Ack)
	job := startReplay(e, client.Replay{From: client.FromAll(), Deliver: &client.Deliver{Subject: "again"}, Rate: 20})
	again.AwaitCount(5)
	for range 2 { // the second changes nothing
		if _, err := e.Client.PauseReplay(e.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
	}
	e.Await("its owner to stop", func() error {
		if now := awaitReplay(e, job.ID, wire.ReplayPaused); now.Owner != "" {
			return fmt.Errorf("owned by %s", now.Owner)
		}
		return nil
	})
	n := again.Count()
	if _, err := e.Client.ResumeReplay(e.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	again.AwaitCount(n + 5)
	for range 2 {
		if now, err := e.Client.CancelReplay(e.Context(), job.ID); err != nil || now.State != wire.ReplayCancelled {
			t.Fatalf("cancel: %+v, %v", now, err)
		}
	}
	e.Await("its owner to stop", func() error {
		if now := awaitReplay(e, job.ID, wire.ReplayCancelled); now.Owner != "" {
			return fmt.Errorf("owned by %s", now.Owner)
		}
		return nil
	})
	sent := again.Sequences()
	if slices.Sort(sent); len(slices.Compact(sent)) != again.Count() {
		t.Error("a pause had an event delivered twice")
	}
	if n := again.Count(); n > 40 {
		t.Errorf("%d of 60 were delivered at 20 a second: it did not stop at once", n)
	}
	if _, err := e.Client.ResumeReplay(e.Context(), job.ID); client.CodeOf(err) != wire.CodeConflict {
		t.Errorf("resumed after its end: %v", err)
	}
}

func TestAReplayEndsWithItsSubscription(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(e *harness.Env){
		"was deleted": func(e *harness.Env) {
			if _, err := e.Client.Unsubscribe(e.Context(), "sub"); err != nil {
				e.T.Fatal(err)
			}
		},
		"was restarted": func(e *harness.Env) {
			e.Subscribe("sub", client.SpecOf(e.Get("sub").Subscription.Spec), client.Restart())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _ := replayBed(t, 30)
			again := e.Record("again", harness.Ack)
			job := startReplay(e, client.Replay{From: client.FromAll(), Deliver: &client.Deliver{Subject: "again"}, Rate: 1})
			again.AwaitCount(1)
			change(e)
			job = awaitReplay(e, job.ID, wire.ReplayFailed)
			if !strings.Contains(job.Reason, name) || job.EndedAt == nil {
				t.Errorf("failed since %q", job.Reason)
			}
			awaitAdvisory(t, e, wire.AdvReplayFailed, "sub")
		})
	}
}

func TestReplaysAreListedAndBounded(t *testing.T) {
	t.Parallel()
	e, _ := replayBed(t, 30, "SLUICE_REPLAYS_MAX", "3", "SLUICE_REPLAYS_PER_INSTANCE", "2")
	slow := client.Replay{From: client.FromAll(), Deliver: &client.Deliver{Subject: "nobody.listens"}}
	var ids []string
	for range 3 {
		ids = append(ids, startReplay(e, slow).ID)
	}
	count := func(state wire.ReplayState) (n int) {
		for r, err := range e.Client.Replays(e.Context(), wire.ReplayListRequest{Name: "sub", State: string(state), Limit: 1}) {
			if err != nil || !slices.Contains(ids, r.ID) {
				t.Fatalf("listed %+v, %v", r, err)
			}
			n++
		}
		return n
	}
	e.Await("two to run, and one to wait", func() error {
		if r, p := count(wire.ReplayRunning), count(wire.ReplayPending); r != 2 || p != 1 {
			return fmt.Errorf("%d run, %d wait", r, p)
		}
		return nil
	})
	if _, err := e.Client.StartReplay(e.Context(), "sub", slow); client.CodeOf(err) != wire.CodeTooMany {
		t.Fatalf("a fourth one: %v", err)
	}
	if _, err := e.Client.CancelReplay(e.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	e.Await("the third to run", func() error {
		if r := count(wire.ReplayRunning); r != 2 {
			return fmt.Errorf("%d run", r)
		}
		return nil
	})
	ids = append(ids, startReplay(e, slow).ID)
	if n := count(""); n != 4 {
		t.Errorf("%d are listed", n)
	}
	running := awaitReplay(e, ids[1], wire.ReplayRunning)
	e.Await("why it does not move", func() (err error) {
		if running, err = e.Client.Replay(e.Context(), ids[1]); err == nil && !strings.Contains(running.Reason, "waiting") {
			err = fmt.Errorf("reason %q", running.Reason)
		}
		return err
	})
}

func TestAWrongReplayIsToldOfEveryFault(t *testing.T) {
	t.Parallel()
	e, _ := replayBed(t, 1)
	for _, tt := range []struct {
		name, body string
		code       wire.ErrCode
		fields     []string
	}{
		{"no JSON", `from`, wire.CodeBadJSON, []string{""}},
		{"nothing", `{}`, wire.CodeBadField, []string{"from", "to"}},
		{"new", `{"from":"new","to":"all"}`, wire.CodeBadField, []string{"to", "from"}},
		{"backwards", `{"from":{"sequence":9},"to":{"sequence":8}}`, wire.CodeBadField, []string{"to"}},
		{"backwards in time", `{"from":{"time":"2026-01-01T00:00:00Z"},"to":{"time":"2026-01-01T00:00:00Z"}}`, wire.CodeBadField, []string{"to"}},
		{
			"much", `{"from":"all","to":"now","rate":0,"deliver":{"subject":"$JS.x","mode":"m"},"selector":{},"x":1,"dry_run":1}`, wire.CodeBadField,
			[]string{"dry_run", "x", "selector", "deliver.subject", "deliver.mode", "rate"},
		},
		{"captured", `{"from":"all","to":"now","deliver":{"subject":"a.b"}}`, wire.CodeBadDelivery, []string{"deliver.subject"}},
		{"two kinds", `{"from":"all","to":"now","rate":-1,"deliver":{"subject":"out","stream":"NONE"}}`, wire.CodeBadField, []string{"rate", "deliver.stream"}},
		{"no stream", `{"from":"all","to":"now","deliver":{"subject":"out","stream":"NONE"}}`, wire.CodeNoStore, []string{"deliver.stream"}},
	} {
		msg, err := e.NC.Request(wire.DefaultNamespace.API(wire.VerbReplayStart, "sub"), []byte(tt.body), 5*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var got wire.Head
		if err := json.Unmarshal(msg.Data, &got); err != nil || got.Error == nil {
			t.Errorf("%s: %s", tt.name, msg.Data)
			continue
		}
		var fields []string
		for _, f := range got.Error.Details {
			fields = append(fields, f.Field)
		}
		slices.Sort(fields)
		slices.Sort(tt.fields)
		if got.Error.ErrCode != tt.code || !slices.Equal(fields, tt.fields) {
			t.Errorf("%s: %d %v, want %d %v: %s", tt.name, got.Error.ErrCode, fields, tt.code, tt.fields, msg.Data)
		}
	}
	_, err := e.Client.StartReplay(e.Context(), "other", client.Replay{From: client.FromAll()})
	if client.CodeOf(err) != wire.CodeNoSubscription {
		t.Errorf("no subscription: %v", err)
	}
	if _, err := e.Client.Replay(e.Context(), "report"); client.CodeOf(err) != wire.CodeNoReplay {
		t.Errorf("the replayer's own key: %v", err)
	}
}
