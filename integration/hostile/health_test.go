package hostile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// ill is something that is wrong with one subscription, in an installation in
// which all else is well, and the issue that it has to be.
type ill struct {
	name   string // of the subscription; its store is that in upper case
	spoil  func(t *testing.T, e *harness.Env, s jetstream.Stream)
	kind   string
	issue  string // its name
	detail string // that is part of it
	failed bool   // the report is failing, and not only degraded
}

// ills are all there is to see at once. Users that may not do something are
// those of strangers' making.
func ills() []ill {
	return []ill{
		{
			name: "unread", kind: wire.IssueUnreadableStore, issue: "UNREAD", detail: "make a consumer", failed: true,
		}, // the emitter's user may not make consumers of it
		{
			name: "unseen", kind: wire.IssueUnreadableStore, issue: "UNSEEN", detail: "the monitor is refused", failed: true,
		}, // the monitor's user may not look at it
		{
			name: "crowded", spoil: crowd, kind: wire.IssueUnreadableStore, issue: "CROWDED", detail: "maximum consumers", failed: true,
		},
		{name: "copied", spoil: capturedBy("AUDIT"), kind: wire.IssueCaptured, issue: "copied", detail: "AUDIT"},
		{name: "grown", spoil: grow, kind: wire.IssueCaptured, issue: "grown", detail: "deliveries become events again"},
		{name: "wiped", spoil: wipe, kind: wire.IssueCorruptRecord, issue: "wiped", detail: "nobody deleted it", failed: true},
	}
}

func crowd(t *testing.T, _ *harness.Env, s jetstream.Stream) {
	if _, err := s.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "stranger"}); err != nil {
		t.Errorf("make the only consumer: %v", err)
	}
}

func capturedBy(stream string) func(*testing.T, *harness.Env, jetstream.Stream) {
	return func(_ *testing.T, e *harness.Env, s jetstream.Stream) {
		e.Store(stream, "to."+strings.ToLower(s.CachedInfo().Config.Name))
	}
}

func grow(_ *testing.T, e *harness.Env, s jetstream.Stream) {
	cfg := s.CachedInfo().Config
	cfg.Subjects = append(cfg.Subjects, "to.grown")
	e.StoreOf(cfg)
}

// wipe purges a record: no mark of a deletion is left.
func wipe(t *testing.T, e *harness.Env, _ jetstream.Stream) {
	bucket := ns.BucketSubscriptions()
	s, err := e.JS.Stream(t.Context(), "KV_"+bucket)
	if err == nil {
		err = s.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+bucket+".wiped"))
	}
	if err != nil {
		t.Errorf("purge a record: %v", err)
	}
}

// restricted is a server with a user for emitter and monitor each, who may not do
// everything, and one for everybody else.
func restricted(tb testing.TB) (url func(user string) string, srv *natstest.Server) {
	deny := func(user string, subjects ...string) *server.User {
		return &server.User{Username: user, Password: "x", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: subjects},
		}}
	}
	srv = natstest.Start(tb, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "anybody", Password: "x"},
			deny("emitter", "$JS.API.CONSUMER.CREATE.UNREAD.>", "$JS.API.CONSUMER.CREATE.UNREAD", "$JS.API.STREAM.MSG.GET.UNREAD"),
			deny("monitor", "$JS.API.STREAM.INFO.UNSEEN", "$JS.API.STREAM.MSG.GET.UNSEEN"),
		}
		o.NoAuthUser = "anybody"
	})
	return func(user string) string { return strings.Replace(srv.URL(), "://", "://"+user+":x@", 1) }, srv
}

// listOf is the list of one kind in a report.
func listOf(r *wire.Report, kind string) []wire.Issue {
	switch kind {
	case wire.IssueUnreadableStore:
		return r.Issues.Unreadable
	case wire.IssueCaptured:
		return r.Issues.Captured
	default:
		return r.Issues.Corrupt
	}
}

func TestHealth_WhatIsWrongIsSaidAndOnlyThat(t *testing.T) {
	t.Parallel()
	as, srv := restricted(t)
	e := harness.New(t, harness.OnServer(srv), harness.Vars(
		"SLUICE_SESSION_TTL", "2s", "SLUICE_HEALTH_STALL_AFTER", "6s", "SLUICE_HEALTH_INTERVAL", "500ms"))
	e.Start(wire.ServiceRegistry)
	e.Start(wire.ServiceEmitter, "NATS_URL", as("emitter"))
	e.Start(wire.ServiceHealthmon, "NATS_URL", as("monitor"))
	stores := map[string]jetstream.Stream{}
	for _, i := range append(ills(), ill{name: "well"}) {
		store := strings.ToUpper(i.name)
		cfg := jetstream.StreamConfig{Name: store, Subjects: []string{i.name + ".>"}}
		if i.name == "crowded" {
			cfg.MaxConsumers = 1
		}
		stores[i.name] = e.StoreOf(cfg)
		if i.name == "crowded" {
			crowd(t, e, stores[i.name])
		}
		e.Record("to."+i.name, harness.Ack)
		e.Subscribe(i.name, client.Spec{
			Store: store, Selector: client.Selector{ByStream: []string{wire.AllStreams}}, Deliver: client.Deliver{Subject: "to." + i.name},
		})
		e.AwaitOwned(i.name)
		e.Publish(i.name+".x", "{}")
	}
	e.Await("all to be known", func() error {
		r, err := report(e)
		if err == nil && r.TotalSubscriptions != len(stores) {
			err = fmt.Errorf("%d subscriptions", r.TotalSubscriptions)
		}
		return err
	})
	for _, i := range ills() {
		if i.spoil != nil && i.name != "crowded" {
			i.spoil(t, e, stores[i.name])
		}
	}
	for _, i := range ills() {
		e.Await("the issue of "+i.name, func() error { return saysSo(e, i) })
	}
	r, err := report(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{wire.IssueUnreadableStore, wire.IssueCaptured, wire.IssueCorruptRecord} {
		for _, issue := range listOf(r, kind) {
			if !slices.ContainsFunc(ills(), func(i ill) bool { return i.kind == kind && i.issue == issue.Name }) {
				t.Errorf("issue that nobody caused: %+v", issue)
			}
		}
	}
	if h := health(t, e, "well"); h.Status != wire.StatusHealthy {
		t.Errorf("the status of the one that is well: %+v", h)
	}
	if h := health(t, e, "unread"); h.Status != wire.StatusFailing || !strings.Contains(strings.Join(h.Reasons, " "), wire.IssueUnreadableStore) {
		t.Errorf("the status of the one whose store cannot be read: %+v", h)
	}
}

// saysSo reports whether the report has the issue of an ill.
func saysSo(e *harness.Env, i ill) error {
	r, err := report(e)
	if err != nil {
		return err
	}
	list := listOf(r, i.kind)
	at := slices.IndexFunc(list, func(x wire.Issue) bool { return x.Name == i.issue })
	switch {
	case at < 0:
		return fmt.Errorf("%s = %+v", i.kind, list)
	case !strings.Contains(fmt.Sprint(list[at].Detail, list[at].Evidence), i.detail) || !list[at].NeedsPerson:
		return fmt.Errorf("issue = %+v, want %q in it, and a person asked for", list[at], i.detail)
	case i.failed && r.Status != wire.StatusFailing, r.Status == wire.StatusHealthy:
		return fmt.Errorf("status = %s", r.Status)
	}
	return nil
}

// report is one made now.
func report(e *harness.Env) (*wire.Report, error) {
	m, err := e.NC.RequestWithContext(e.Context(), ns.API(wire.VerbHealthCheck), nil)
	if err != nil {
		return nil, err
	}
	var r wire.ReportResponse
	harness.Decode(e.T, m.Data, &r)
	if r.Error != nil {
		return nil, r.Error
	}
	return &r.Report, nil
}

func health(t *testing.T, e *harness.Env, name string) wire.SubscriptionHealthResponse {
	t.Helper()
	m, err := e.NC.RequestWithContext(e.Context(), ns.API(wire.VerbHealthSubscription, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	var h wire.SubscriptionHealthResponse
	harness.Decode(t, m.Data, &h)
	return h
}
