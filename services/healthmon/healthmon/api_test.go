package healthmon

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestOneOfTwoInstancesLeadsAndAnyOfThemAnswers(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a, b := e.start(slow()), e.start(slow())
	lead := e.leader(a, b)
	other := a
	if lead == a {
		other = b
	}
	for range 20 { // the queue group spreads them over both
		if r := e.check(); r.Leader != lead.Instance() {
			t.Fatalf("report by %s, want the leader %s", r.Leader, lead.Instance())
		}
		if r := ask[wire.ReportResponse](e, ns.API(wire.VerbHealthReport), ""); r.Error != nil {
			t.Fatalf("health.report = %v", r.Error)
		}
	}
	lead.stop()
	e.leader(other)
	if r := e.check(); r.Leader != other.Instance() {
		t.Errorf("report by %s after the leader stopped, want %s", r.Leader, other.Instance())
	}
}

func TestALeaderThatStopsInTheMiddleOfASweepIsReplaced(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	in := make(chan struct{}, 64)
	// An emitter that is asked and never answers holds the sweep for a while.
	e.emitter("emitter-1", idle("emitter-1", 0))
	if _, err := e.nc.Subscribe(ns.EmitterPools("emitter-2"), func(*nats.Msg) { in <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	e.silentEmitter("emitter-2")
	e.subscribe("slow", "GITHUB", old)
	e.pool("slow", "uid-slow", "emitter-2", 0)
	e.listen("to.slow")
	a, b := e.start(quick()), e.start(quick())
	var lead, other *running
	natstest.Await(t, "a leader", func() error {
		for i, r := range []*running{a, b} {
			if entry, err := e.b.Sessions.Get(t.Context(), wire.LeaderKey(Role)); err == nil && strings.Contains(string(entry.Value()), r.Instance()) {
				lead, other = r, []*running{b, a}[i]
				return nil
			}
		}
		return errors.New("none")
	})
	for len(in) > 0 {
		<-in
	}
	<-in // a sweep is under way
	lead.stop()
	e.leader(other)
	if r := e.check(); r.Leader != other.Instance() || r.TotalSubscriptions != 1 {
		t.Errorf("report = %+v, want one by %s", r, other.Instance())
	}
}

func TestALeaderThatIsKilledInTheMiddleOfASweepIsReplaced(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	in := make(chan struct{}, 64)
	if _, err := e.nc.Subscribe(ns.EmitterPools("emitter-2"), func(*nats.Msg) { in <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	e.silentEmitter("emitter-2")
	e.subscribe("slow", "GITHUB", old)
	e.pool("slow", "uid-slow", "emitter-2", 0)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childURL+"="+e.srv.URL())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-in: // the child leads, and its sweep waits for an answer
	case <-time.After(20 * time.Second):
		t.Fatal("the child never swept")
	}
	next := e.start(slow())
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	e.leader(next)
	if r := e.check(); r.Leader == strings.TrimSpace(killed) || r.Leader != next.Instance() || len(r.Issues.Stale) != 1 {
		t.Errorf("report = %+v, want the stale subscription found by %s", r, next.Instance())
	}
}

// silentEmitter is the session of an emitter that answers nothing.
func (e *env) silentEmitter(instance string) {
	e.t.Helper()
	nc := e.srv.Conn()
	b, _ := json.Marshal(wire.Session{Service: wire.ServiceEmitter, Instance: instance})
	stop := make(chan struct{})
	done := make(chan struct{})
	if _, err := nc.Subscribe(ns.Session(wire.ServiceEmitter, instance), func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		e.t.Fatal(err)
	}
	if _, err := e.b.Sessions.Put(e.t.Context(), wire.SessionKey(wire.ServiceEmitter, instance), b); err != nil {
		e.t.Fatal(err)
	}
	ctx := e.t.Context()
	go func() {
		defer close(done)
		tick := time.NewTicker(ttl / 4)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = e.b.Sessions.Put(ctx, wire.SessionKey(wire.ServiceEmitter, instance), b)
			}
		}
	}()
	e.t.Cleanup(func() { close(stop); <-done })
}

func TestWithoutALeaderACheckAndARepairSaySoAndTheRestWorks(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	// Somebody else holds the lease for ever.
	hold := func() {
		b, _ := json.Marshal(wire.Lease{Role: Role, Instance: "healthmon-other", Epoch: 1, Since: time.Now()})
		if _, err := e.b.Sessions.Put(t.Context(), wire.LeaderKey(Role), b); err != nil {
			t.Error(err)
		}
	}
	hold()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(ttl / 5)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				hold()
			}
		}
	}()
	defer func() { close(stop); <-done }()
	e.start(slow())
	for _, verb := range []struct{ verb, body string }{
		{wire.VerbHealthCheck, ""},
		{wire.VerbHealthReport, ""}, // none was ever made
		{wire.VerbHealthRepair, `{"kind":"missing_pools","name":"x"}`},
	} {
		m, err := e.request(ns.API(verb.verb), verb.body)
		if err != nil {
			t.Fatal(err)
		}
		var h wire.Head
		if err := json.Unmarshal(m.Data, &h); err != nil || h.Error == nil || h.Error.ErrCode != wire.CodeUnavailable || h.Error.Outcome != "" {
			t.Errorf("%s = %s, want %d and nothing done", verb.verb, m.Data, wire.CodeUnavailable)
		}
		if m.Header.Get(wire.HeaderServiceErrorCode) != "503" || m.Header.Get(wire.HeaderServiceError) == "" {
			t.Errorf("%s: headers %v, want code 503", verb.verb, m.Header)
		}
		if h.Type != wire.ResponseType(verb.verb) {
			t.Errorf("%s: type %q", verb.verb, h.Type)
		}
	}
	if r := ask[wire.CleanupResponse](e, ns.API(wire.VerbHealthCleanup), `{"enabled":false}`); r.Error != nil || r.Enabled {
		t.Errorf("cleanup = %+v, want it switched off", r)
	}
}

func TestTheCleanupSwitchIsKeptOverRestartsAndHoldsRepairsBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 0))
	first := e.start(quick())
	e.leader(first)
	r := ask[wire.CleanupResponse](e, ns.API(wire.VerbHealthCleanup), `{"enabled": false}`)
	if r.Error != nil || r.Enabled || r.Type != "io.sluice.api.v1.health_cleanup_response" {
		t.Fatalf("cleanup = %+v", r)
	}
	first.stop()
	e.pool("orphan", "uid-gone", "", 3)
	e.leader(e.start(quick()))
	e.await("the issue", func(r wire.Report) error { return want(1, r.Issues.Orphaned) })
	for range 3 {
		if rep := e.check(); rep.CleanupEnabled || len(rep.Repairs) != 0 || len(rep.Issues.Orphaned) != 1 {
			t.Fatalf("report = %+v, want the issue, cleanup off, no repairs", rep)
		}
	}
	dry := ask[wire.RepairResponse](e, ns.API(wire.VerbHealthRepair), `{"kind":"orphaned_pools","name":"orphan","dry_run":true}`)
	if dry.Repair == nil || dry.Repair.Outcome != outcomeWouldDo || dry.Repair.Action != "remove_pool" || !dry.Repair.DryRun {
		t.Errorf("dry run = %+v", dry)
	}
	if _, _, err := e.pools.Get(t.Context(), "orphan"); err != nil {
		t.Errorf("after a dry run: %v, want the entry there", err)
	}
	ask[wire.CleanupResponse](e, ns.API(wire.VerbHealthCleanup), `{"enabled":true}`)
	natstest.Await(t, "the repair", func() error {
		if _, _, err := e.pools.Get(t.Context(), "orphan"); !errors.Is(err, subscription.ErrNotFound) {
			return errors.New("Get = " + fmt.Sprint(err)) // which may be nil
		}
		return nil
	})
}

func TestARepairByHandLooksAgain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 0))
	e.subscribe("fine", "GITHUB", old)
	e.pool("fine", "uid-fine", "emitter-1", 0)
	e.listen("to.fine")
	e.leader(e.start(slow()))
	e.await("the emitter", func(r wire.Report) error { return want(0, r.Issues.Missing) })
	e.pool("orphan", "uid-gone", "", 3) // no sweep has seen it
	for _, tt := range []struct {
		body, outcome string
		code          wire.ErrCode
	}{
		{`{"kind":"orphaned_pools","name":"fine"}`, outcomeNothing, 0},
		{`{"kind":"missing_pools","name":"fine"}`, outcomeNothing, 0},
		{`{"kind":"stale_subscriptions","name":"fine"}`, outcomeNothing, 0},
		{`{"kind":"lost_stores","name":"GITHUB"}`, outcomeNothing, 0},
		{`{"kind":"orphaned_pools","name":"orphan"}`, outcomeDone, 0},
		{`{"kind":"orphaned_pools","name":"orphan"}`, "", wire.CodeNoSubscription},
		{`{"kind":"missing_pools","name":"unheard-of"}`, "", wire.CodeNoSubscription},
		{`{"kind":"lost_stores","name":"NOSTORE"}`, "", wire.CodeNoStore},
	} {
		r := ask[wire.RepairResponse](e, ns.API(wire.VerbHealthRepair), tt.body)
		switch {
		case tt.code != 0 && (r.Error == nil || r.Error.ErrCode != tt.code):
			t.Errorf("%s = %+v, want %d", tt.body, r.Error, tt.code)
		case tt.code == 0 && (r.Repair == nil || r.Repair.Outcome != tt.outcome):
			t.Errorf("%s = %+v, want %s", tt.body, r, tt.outcome)
		}
	}
}

func TestBadRequestsNameAllTheirFaults(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.leader(e.start(slow()))
	for _, tt := range []struct {
		verb, body string
		code       wire.ErrCode
		fields     []string
	}{
		{"health.repair", `{"kind":"x","name":"a b","dry_run":"no","force":1}`, wire.CodeBadField, []string{"dry_run", "force", "kind", "name"}},
		{"health.repair", ``, wire.CodeBadField, []string{"kind", "name"}},
		{"health.repair", `{"kind":1,"name":null}`, wire.CodeBadField, []string{"kind", "name"}},
		{"health.repair", `{"kind":"lost_stores","name":"a.b"}`, wire.CodeBadField, []string{"name"}},
		{"health.repair", `{"kind":`, wire.CodeBadJSON, []string{""}},
		{"health.repair", `{} {}`, wire.CodeBadJSON, []string{""}},
		{"health.repair", `[]`, wire.CodeBadJSON, []string{""}},
		{"health.repair", `null`, wire.CodeBadJSON, []string{""}},
		{"health.cleanup", ``, wire.CodeBadField, []string{"enabled"}},
		{"health.cleanup", `{"enabled":"yes","x":1}`, wire.CodeBadField, []string{"enabled", "x"}},
		{"health.cleanup", `{"enabled":null}`, wire.CodeBadField, []string{"enabled"}},
		{"health.check", `{"x":1}`, wire.CodeBadField, []string{"x"}},
		{"health.report", `nope`, wire.CodeBadJSON, []string{""}},
		{"health.subscription.unheard-of", ``, wire.CodeNoSubscription, nil},
		{"health.subscription.a=b", ``, wire.CodeBadField, []string{"name"}},
		{"health.check", strings.Repeat(" ", maxBody+1), wire.CodeTooLarge, nil},
	} {
		h := ask[wire.Head](e, ns.API(tt.verb), tt.body)
		if h.Error == nil || h.Error.ErrCode != tt.code || h.Error.Code != tt.code.Status() {
			t.Errorf("%s %.40q = %+v, want %d", tt.verb, tt.body, h.Error, tt.code)
			continue
		}
		var fields []string
		for _, d := range h.Error.Details {
			fields = append(fields, d.Field)
			if d.Reason == "" {
				t.Errorf("%s %q: no reason for %q", tt.verb, tt.body, d.Field)
			}
		}
		if !slices.Equal(fields, tt.fields) {
			t.Errorf("%s %.40q: fields %v, want %v", tt.verb, tt.body, fields, tt.fields)
		}
	}
	if r := e.check(); r.Status != wire.StatusHealthy {
		t.Errorf("after all that: %+v", r)
	}
}

func TestChecksAskedForTogetherShareSweepsThatBeganAfterThem(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("silent", "GITHUB", old) // nobody listens: a sweep takes confirmAfter at least
	e.leader(e.start(slow()))
	const n = 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]bool{}
	for range n {
		wg.Go(func() {
			r, err := e.tryCheck()
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[r.ID] = true
		})
	}
	wg.Wait()
	if len(ids) > n/4 {
		t.Errorf("%d checks made %d sweeps, want them shared", n, len(ids))
	}
	e.subscribe("second", "GITHUB", nil)
	if r := e.check(); r.TotalSubscriptions != 2 {
		t.Errorf("subscriptions = %d after the second was made, want 2", r.TotalSubscriptions)
	}
}

func TestTheMonitorGoesOnWhenTheServerWasAway(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("silent", "GITHUB", old)
	m := e.start(quick())
	e.leader(m)
	before := e.await("the issue", func(r wire.Report) error { return want(1, r.Issues.Stale) })
	e.srv.Restart()
	after := e.await("a check", func(r wire.Report) error { return want(1, r.Issues.Stale) })
	if !after.Issues.Stale[0].Since.Equal(before.Issues.Stale[0].Since) {
		t.Errorf("since = %s, want %s", after.Issues.Stale[0].Since, before.Issues.Stale[0].Since)
	}
}

func TestAReportThatDoesNotFitIsCutAndSaysSo(t *testing.T) {
	t.Parallel()
	r := wire.Report{Repairs: []wire.Repair{}}
	for i := range 1000 {
		r.Issues.Stale = append(r.Issues.Stale, wire.Issue{Kind: wire.IssueStale, Name: fmt.Sprint(i)})
	}
	r.Issues.Gaps = []wire.Issue{{Kind: wire.IssueGap, Name: "g"}}
	r.Summary.Total = 1001
	body, err := fitReport(r, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Report
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if len(body) > 20_000 || !got.Truncated || got.Summary.Total != 1001 || len(got.Issues.Gaps) != 1 || len(got.Issues.Stale) < 50 {
		t.Errorf("%d bytes, truncated %v, %d stale, %d gaps", len(body), got.Truncated, len(got.Issues.Stale), len(got.Issues.Gaps))
	}
}

func TestEverythingWrongWithTheConfigurationIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	common, err := service.ParseCommon(service.Env{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = FromEnv().New(service.Env{
		"SLUICE_HEALTH_INTERVAL": "1ms", "SLUICE_HEALTH_LAG_AGE": "-1s", "SLUICE_HEALTH_STALL_AFTER": "0s",
		"SLUICE_CLEANUP_MAX_ATTEMPTS": "0", "SLUICE_CLEANUP_RETRY_DELAY": "0s",
	}, service.Discard(common))
	if err == nil {
		t.Fatal("FromEnv = nil, want an error")
	}
	for _, name := range []string{"SLUICE_HEALTH_INTERVAL", "SLUICE_HEALTH_STALL_AFTER", "SLUICE_HEALTH_LAG_AGE", "SLUICE_CLEANUP_MAX_ATTEMPTS", "SLUICE_CLEANUP_RETRY_DELAY"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("error %q does not name %s", err, name)
		}
	}
	if err := service.Parse(service.Env{}, new(Config)); err != nil {
		t.Errorf("empty environment: %v", err)
	}
}
