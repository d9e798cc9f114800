package replayer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
)

func done(r wire.ReconcileReport) bool { return r.Total > 0 && r.Unobserved == 0 }

func TestWhatHappenedWithoutAnEmitterIsReplayedAndReportedStepByStep(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create("triage")
	e.update("triage")
	e.remove("triage")
	e.create("triage")
	e.create("other")
	replayed := e.emitter()
	e.start(quick(), nil)

	r := e.await("everything observed", done)
	want := []string{
		"triage created uid-1/1", "triage updated uid-1/2", "triage deleted uid-1/2",
		"triage recreated uid-2/1!", "other created uid-3/1!",
	}
	if diff := cmp.Diff(want, kinds(r.Transitions)); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	if r.Missed != 2 || r.Replayed != 2 || r.Total != 5 {
		t.Errorf("missed %d, replayed %d, total %d, want 2, 2, 5", r.Missed, r.Replayed, r.Total)
	}
	e.awaitPosition(r.ToRevision)
	if got := len(replayed.all()); got < 2 {
		t.Errorf("%d replays, want one for each missed transition at least", got)
	}
	// A later run that finds nothing does not replace it.
	if _, err := e.buckets.Sessions.Put(t.Context(), wire.LeaderKey("other"), []byte(`{"instance":"x","epoch":7}`)); err != nil {
		t.Fatal(err)
	}
	empty := e.await("nothing", func(r wire.ReconcileReport) bool { return hasKind(r.Trigger, moveLease) && r.Total == 0 })
	e.awaitPosition(empty.ToRevision)
	entry, err := archive{e.buckets.Replays}.load(t.Context(), wire.ReconcileReportKey)
	if err != nil || entry == nil {
		t.Fatalf("stored report: %v, %v", entry, err)
	}
	if stored, err := decodeReport(entry.Value(), entry.Created()); err != nil || stored.Total != 5 {
		t.Errorf("stored report: %+v, %v, want the one with five transitions", stored, err)
	}
}

func TestWhatTheEmitterObservedByItselfIsReportedAsNotMissed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.start(quick(), nil)
	e.await("the election", func(r wire.ReconcileReport) bool { return r.Trigger == moveElected })
	e.create("a")
	e.update("a")
	e.mustObserve("a") // the claim is the move of leadership

	r := e.await("the claim", func(r wire.ReconcileReport) bool { return r.Total > 0 })
	if diff := cmp.Diff([]string{"a created uid-1/1", "a updated uid-1/2"}, kinds(r.Transitions)); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	if r.Trigger != movePool {
		t.Errorf("trigger %q, want %q", r.Trigger, movePool)
	}
	if got := e.missed.all(); len(got) > 0 {
		t.Errorf("advisories of missed transitions: %+v, want none", got)
	}
}

func TestWhatStaysUnobservedHoldsThePositionAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create("a")
	before := e.revision()
	e.create("b")
	e.mustObserve("a")
	var runs atomic.Int32
	e.start(impatient(), func(step string) error {
		if step == "open" {
			runs.Add(1)
		}
		return nil
	})

	r := e.await("one unobserved", func(r wire.ReconcileReport) bool { return r.Unobserved == 1 })
	if diff := cmp.Diff([]string{"a created uid-1/1", "b created uid-2/1!?"}, kinds(r.Transitions)); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	e.awaitPosition(before)
	if p := e.position(); p.Revision != before {
		t.Errorf("reconciled up to %d, want %d: what comes next is not observed", p.Revision, before)
	}
	natstest.Await(t, "further runs", func() error {
		if n := runs.Load(); n < 5 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	if got := e.reports.all(); len(got) > 2 { // with a, and without
		t.Errorf("%d reports of the same, want silence: %+v", len(got), got)
	}
	e.emitter() // nothing moves, but the period comes round
	r = e.await("b observed", done)
	if diff := cmp.Diff([]string{"b created uid-2/1!"}, kinds(r.Transitions)); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	e.awaitPosition(r.ToRevision)
	if got := e.missed.all(); len(got) != 1 || got[0].Name != "b" {
		t.Errorf("advisories of missed transitions: %+v, want one, about b, however often it was replayed", got)
	}
}

func TestADeletionIsObservedWhenThePoolOfThatUIDIsGone(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create("a")
	e.mustObserve("a")
	e.remove("a")
	e.start(impatient(), nil)
	r := e.await("an orphan", func(r wire.ReconcileReport) bool { return r.Unobserved == 1 })
	if diff := cmp.Diff([]string{"a created uid-1/1", "a deleted uid-1/1!?"}, kinds(r.Transitions)); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	e.mustObserve("a") // what an emitter or the monitor does
	e.awaitPosition(r.ToRevision)
}

func TestAnInstanceThatDiesBetweenAnyTwoStepsIsReplacedWithoutLoss(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"open", "read", "judge", "replay", "report", "advance"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.create("a")
			e.update("a")
			reached := make(chan struct{}, 1)
			stop := e.start(impatient(), func(step string) error {
				if step != at {
					return nil
				}
				select {
				case reached <- struct{}{}:
				default:
				}
				return errors.New("dies here")
			})
			<-reached
			stop()
			if p := e.position(); p.Revision != 0 {
				t.Fatalf("reconciled up to %d by a run that did not finish", p.Revision)
			}
			e.emitter()
			e.start(quick(), nil)
			e.awaitPosition(e.first() + 2) // two changes and the first barrier
			r := e.await("both steps observed", done)
			if len(r.Transitions) != 2 || r.Transitions[0].Kind != wire.TransitionCreated || r.Transitions[1].Kind != wire.TransitionUpdated {
				t.Errorf("transitions %v, want created and updated", kinds(r.Transitions))
			}
		})
	}
}

func TestNothingIsLostWhenSomebodyElseMovesThePosition(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter()
	e.create("a")
	e.mustObserve("a")
	interfered := false
	e.start(quick(), func(step string) error {
		if step != "advance" || interfered {
			return nil
		}
		interfered = true
		e.create("late") // and a rival that knows less than we do
		value, err := json.Marshal(position{Revision: e.first(), Incarnation: e.created(), Leader: "rival", At: time.Now()})
		if err != nil {
			return err
		}
		_, err = e.buckets.Replays.Put(t.Context(), wire.ReconciledKey, value)
		return err
	})
	e.await("the run after the conflict", func(r wire.ReconcileReport) bool {
		return r.FromRevision == e.first()+1 && r.Total == 1 && r.Unobserved == 0 && r.Transitions[0].Name == "late"
	})
	e.awaitPosition(e.first() + 2)
}

func (e *env) created() time.Time {
	e.t.Helper()
	at, err := (&journal{kv: e.buckets.Subscriptions}).incarnation(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return at
}

func TestAnotherBucketOfTheSameNameIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for i := range 20 {
		e.create(fmt.Sprintf("old-%d", i))
	}
	e.emitter()
	stop := e.start(quick(), nil)
	e.awaitPosition(e.first() + 19)
	stop()

	if err := e.js.DeleteKeyValue(t.Context(), ns.BucketSubscriptions()); err != nil {
		t.Fatal(err)
	}
	e.open()
	first := e.create("new-0") // and more, so that its revisions pass the old one's
	for i := range 2 * 20 {
		e.create(fmt.Sprintf("new-%d", i+1))
	}
	e.start(quick(), nil)
	e.await("the new bucket's history", func(rep wire.ReconcileReport) bool {
		return rep.FromRevision == 1 && rep.Total == 41 && rep.Transitions[0].UID == first.UID
	})
}

func TestAHistoryThatLostItsMiddleStillEndsRight(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create("a")
	var last *wire.Record
	for range 100 {
		last = e.update("a")
	}
	e.emitter()
	e.start(quick(), nil)
	r := e.await("what is kept", done)
	end := r.Transitions[len(r.Transitions)-1]
	if len(r.Transitions) != 64 || end.Kind != wire.TransitionUpdated || end.Generation != last.Generation {
		t.Errorf("%d transitions, the last %+v; want 64 and generation %d", len(r.Transitions), end, last.Generation)
	}
}

func TestEntriesThatNobodyCanReadAreSkipped(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for key, value := range map[string]string{"bad": "{", "worse": `{"schema":1}`, "dotted.key": "x", "newer": `{"schema":99}`} {
		if _, err := e.buckets.Subscriptions.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	e.create("good")
	e.emitter()
	e.start(quick(), nil)
	r := e.await("the good one", done)
	if diff := cmp.Diff([]string{"good created uid-1/1!"}, kinds(r.Transitions)); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	e.awaitPosition(r.ToRevision)
}

func TestEveryMoveOfLeadershipIsReconciled(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create("a")
	e.mustObserve("a")
	e.start(quick(), nil)
	e.await("the election", func(r wire.ReconcileReport) bool { return r.Trigger == moveElected })
	for _, tt := range []struct {
		trigger string
		move    func() error
	}{
		{movePool, func() error { return e.observe("a") }}, // a new epoch
		{moveLease, func() error {
			_, err := e.buckets.Sessions.Put(t.Context(), wire.LeaderKey("healthmon"), []byte(`{"instance":"x","epoch":7}`))
			return err
		}},
		{moveStream, func() error {
			return e.nc.Publish("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.KV_"+ns.BucketPools(), nil)
		}},
	} {
		if err := tt.move(); err != nil {
			t.Fatal(err)
		}
		e.await(tt.trigger, func(r wire.ReconcileReport) bool { return r.Trigger == tt.trigger })
	}
	e.srv.Stop()
	e.srv.Restart()
	e.await("the reconnect", func(r wire.ReconcileReport) bool {
		return r.Trigger != moveElected && r.Leader != "" && hasKind(r.Trigger, moveReconnect)
	})
}

func TestWhatIsNoMoveOfLeadershipStartsNoRun(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create("a")
	e.mustObserve("a")
	e.start(quick(), nil)
	e.await("the election", func(r wire.ReconcileReport) bool { return r.Trigger == moveElected })
	// Checkpoints, sessions, records and elections of other streams.
	p, rev, err := e.pools.Get(t.Context(), "a")
	for range 20 {
		if err != nil {
			t.Fatal(err)
		}
		p.Checkpoint.Floor++
		rev, err = e.pools.Write(t.Context(), p, rev)
	}
	_, err1 := e.buckets.Sessions.Put(t.Context(), wire.SessionKey("emitter", "x"), []byte(`{}`))
	err2 := e.nc.Publish("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.KV_other_pools", nil)
	e.create("b")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	e.mustObserve("b") // this is one, and comes after
	e.await("b", func(r wire.ReconcileReport) bool { return hasKind(r.Trigger, movePool) })
	if got := e.reports.all(); len(got) != 2 {
		t.Errorf("%d reports, want 2: %+v", len(got), got)
	}
}

func TestAStandbyTakesOver(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter()
	stop := e.start(quick(), nil)
	first := e.await("the first leader", func(r wire.ReconcileReport) bool { return r.Trigger == moveElected })
	e.start(quick(), nil)
	stop()
	e.create("a")
	r := e.await("the second leader", func(r wire.ReconcileReport) bool { return r.Leader != first.Leader })
	if !hasKind(r.Trigger, moveElected) {
		t.Errorf("trigger %q, want an election", r.Trigger)
	}
	// Created before or after the election's run: the next move finds it.
	e.mustObserve("a")
	e.await("a", func(r wire.ReconcileReport) bool { return r.Total == 1 && r.Unobserved == 0 })
}

func TestAnEmitterThatComesWhileTheRunWaitsEndsTheWait(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create("a")
	cfg := quick()
	cfg.Wait = 10 * time.Minute
	e.start(cfg, nil)
	natstest.Await(t, "the missed advisory", func() error {
		if len(e.missed.all()) == 0 {
			return errors.New("none")
		}
		return nil
	})
	e.emitter()
	e.await("a", done)
}

func TestReadinessFollowsTheConnectionWhetherLeadingOrStandingBy(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var health []*service.Health
	for range 2 {
		d := service.Discard(e.common())
		health = append(health, d.Health)
		e.run(quick(), d, nil)
	}
	ready := func(want bool) {
		t.Helper()
		for i, h := range health {
			natstest.Await(t, fmt.Sprintf("instance %d ready: %v", i, want), func() error {
				if got, reasons := h.Ready(); got != want {
					return fmt.Errorf("%v %s", got, reasons)
				}
				return nil
			})
		}
	}
	ready(true)
	e.srv.Stop()
	ready(false)
	e.srv.Restart()
	ready(true)
}

func TestVerbsThatCannotBeCarriedOutAnswerSo(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.start(quick(), nil)
	e.await("the election", func(r wire.ReconcileReport) bool { return r.Trigger == moveElected })
	failed := listen[wire.Advisory](e, ns.Advisory(wire.AdvReplayFailed, "*"))
	for subject, want := range map[string]wire.ErrCode{
		ns.API(wire.VerbReplayStart, "a"):  wire.CodeBadJSON,
		ns.API(wire.VerbReplayGet, "a"):    wire.CodeNoReplay,
		ns.API(wire.VerbReplayCancel, "a"): wire.CodeNoReplay,
		ns.API(wire.VerbReplayPause, "a"):  wire.CodeNoReplay,
		ns.API(wire.VerbReplayResume, "a"): wire.CodeNoReplay,
	} {
		m, err := e.nc.Request(subject, nil, 5*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		var got wire.Head
		if err := json.Unmarshal(m.Data, &got); err != nil || got.Error == nil || got.Error.ErrCode != want || got.Type == "" {
			t.Errorf("%s: %s, %v, want an error %d", subject, m.Data, err, want)
		}
		if code := m.Header.Get(wire.HeaderServiceErrorCode); code != strconv.Itoa(want.Status()) {
			t.Errorf("%s: header %q, want %d", subject, code, want.Status())
		}
	}
	if err := e.nc.Publish(ns.API(wire.VerbReplayStart, "unheard"), nil); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the advisory in place of an answer", func() error {
		if all := failed.all(); len(all) != 1 || all[0].Name != "unheard" || all[0].Error == nil {
			return fmt.Errorf("got %+v", all)
		}
		return nil
	})
}

func TestAWrongConfigurationNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := FromEnv().New(service.Env{
		"SLUICE_RECONCILE_SETTLE": "0s", "SLUICE_RECONCILE_WAIT": "soon", "SLUICE_RECONCILE_RETRY": "-1s",
	}, service.Discard(service.Common{}))
	for _, name := range []string{"SLUICE_RECONCILE_SETTLE", "SLUICE_RECONCILE_WAIT", "SLUICE_RECONCILE_RETRY"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s in it", err, name)
		}
	}
	if err := service.Parse(service.Env{}, new(Config)); err != nil {
		t.Errorf("empty environment: %v", err)
	}
}
