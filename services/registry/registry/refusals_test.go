package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestEveryErrorCodeOfARequestIsReached(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for name, retention := range map[string]jetstream.RetentionPolicy{"WORK": jetstream.WorkQueuePolicy, "INTEREST": jetstream.InterestPolicy} {
		_, err := e.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Retention: retention})
		if err != nil {
			t.Fatal(err)
		}
	}
	e.subscribe("there", body())
	on := func(store string) string { return strings.Replace(body(), "ORDERS", store, 1) }
	for _, tt := range []struct {
		verb, name, body string
		code             wire.ErrCode
		field            string
	}{
		{wire.VerbSubscribe, "x", "{", wire.CodeBadJSON, ""},
		{wire.VerbSubscribe, "x", "", wire.CodeBadJSON, ""},
		{wire.VerbSubscribe, "x", body(`"ack_wait":"1ns"`), wire.CodeBadField, "ack_wait"},
		{wire.VerbSubscribe, "x.y", body(), wire.CodeBadField, "name"},
		{wire.VerbSubscribe, strings.Repeat("x", 65), body(), wire.CodeBadField, "name"},
		{wire.VerbSubscribe, "ä", body(), wire.CodeBadField, "name"},
		{wire.VerbSubscribe, "x", strings.Replace(body(), "work.orders", "work.*", 1), wire.CodeBadDelivery, "deliver.subject"},
		{wire.VerbSubscribe, "x", strings.Replace(body(), "work.orders", "orders.copy", 1), wire.CodeBadDelivery, "deliver.subject"},
		{wire.VerbSubscribe, "there", strings.Replace(body(), "work.orders", "orders.copy", 1), wire.CodeBadDelivery, "deliver.subject"},
		{wire.VerbSubscribe, "x", strings.Replace(body(), "work.orders", "staging.v1.api.unsubscribe.x", 1), wire.CodeBadDelivery, "deliver.subject"},
		{wire.VerbSubscribe, "x", on("NOWHERE"), wire.CodeNoStore, "store"},
		{wire.VerbSubscribe, "x", on("WORK"), wire.CodeStoreRetention, "store"},
		{wire.VerbSubscribe, "x", on("INTEREST"), wire.CodeStoreRetention, "store"},
		{wire.VerbSubscribe, "there", body(`"if_revision":0`), wire.CodeConflict, ""},
		{wire.VerbSubscribe, "there", body(`"start":"all"`), wire.CodeNeedsRestart, "start"},
		{wire.VerbSubscribe, "x", strings.Repeat(" ", 65537), wire.CodeTooLarge, ""},
		{wire.VerbUnsubscribe, "nobody", "", wire.CodeNoSubscription, ""},
		{wire.VerbUnsubscribe, "there", `{"if_revision":"1"}`, wire.CodeBadField, "if_revision"},
		{wire.VerbUnsubscribe, "there", `{"if_revision":null}`, wire.CodeBadField, "if_revision"},
		{wire.VerbUnsubscribe, "there", `{"force":true}`, wire.CodeBadField, "force"},
		{wire.VerbUnsubscribe, "a.b", "", wire.CodeBadField, "name"},
		{wire.VerbGet, "a.b.c", "", wire.CodeBadField, "name"},
		{wire.VerbGet, "there", "x", wire.CodeBadJSON, ""},
		{wire.VerbGet, "there", `{"a":1}`, wire.CodeBadField, "a"},
		{wire.VerbPause, "there", `{"for":"1h"}`, wire.CodeBadField, "for"},
		{wire.VerbResume, "nobody", "", wire.CodeNoSubscription, ""},
		{wire.VerbSeek, "nobody", `{"to":"new"}`, wire.CodeNoSubscription, ""},
		{wire.VerbSeek, "there", `{"to":{"time":"x"}}`, wire.CodeBadField, "to.time"},
		{wire.VerbExplain, "there", "", wire.CodeBadJSON, ""},
		{wire.VerbExplain, "there", "{}", wire.CodeBadField, ""},
		{wire.VerbExplain, "there", `{"sequence":1}`, wire.CodeBadField, "sequence"},
		{wire.VerbExplain, "there", `{"event":{"subject":"a.*"}}`, wire.CodeBadField, "event.subject"},
		{wire.VerbExplain, "a.b", `{"event":{"subject":"a.b"}}`, wire.CodeBadField, "name"},
		{wire.VerbExplain, "nobody", `{"event":{"subject":"a.b"}}`, wire.CodeNoSubscription, ""},
		{wire.VerbList, "", "[]", wire.CodeBadJSON, ""},
	} {
		bad := e.refused(tt.verb, tt.name, tt.body, tt.code)
		if tt.field != "" && !slices.ContainsFunc(bad.Details, func(f wire.Fault) bool { return f.Field == tt.field && f.Reason != "" }) {
			t.Errorf("%s %s %.60s: details %+v, want one of %s", tt.verb, tt.name, tt.body, bad.Details, tt.field)
		}
	}
	got := e.refused(wire.VerbSubscribe, "bad.name", `{"store":"a b","deliver":{"subject":"x.*"},"selector":{},"retry":{"max_attempts":-1}}`, wire.CodeBadField)
	for _, field := range []string{"name", "store", "selector", "deliver.subject", "retry.max_attempts"} {
		if !slices.ContainsFunc(got.Details, func(f wire.Fault) bool { return f.Field == field }) {
			t.Errorf("all at once: no fault of %s in %+v", field, got.Details)
		}
	}
}

// Faults of several kinds come in one answer, those for which JetStream is
// asked included, each with its own code.
func TestSubscribe_TellsAllFaultsAtOnceWithTheirCodes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "WORK", Subjects: []string{"jobs.>"}, Retention: jetstream.WorkQueuePolicy},
		{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "ORDERS"}},
		{Name: "AGAIN", Subjects: []string{"again"}, Sources: []*jetstream.StreamSource{{Name: "COPY"}}},
	} {
		if _, err := e.js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	e.subscribe("there", body())
	spec := func(store, subject, more string) string {
		return fmt.Sprintf(`{"store":%q,"selector":{"by_stream":"$all"},"deliver":{"subject":%q}%s}`, store, subject, more)
	}
	const (
		field, delivery  = wire.CodeBadField, wire.CodeBadDelivery
		store, retention = wire.CodeNoStore, wire.CodeStoreRetention
	)
	type codes map[string]wire.ErrCode // by field
	for _, tt := range []struct {
		what, name, body string
		code             wire.ErrCode
		want             codes
	}{
		{"a captured subject alone", "x", spec("ORDERS", "orders.a", ""), delivery, codes{"deliver.subject": 0}},
		{"a subject that an origin captures", "x", spec("COPY", "orders.a", ""), delivery, codes{"deliver.subject": 0}},
		{"a subject that an origin further back captures", "x", spec("AGAIN", "orders.a", ""), delivery, codes{"deliver.subject": 0}},
		{
			"a field and a captured subject", "x", spec("ORDERS", "orders.a", `,"ack_wait":"1ns"`), field,
			codes{"ack_wait": field, "deliver.subject": delivery},
		},
		{
			"a field and no store", "x", spec("NOWHERE", "to.a", `,"ack_wait":"1ns"`), field,
			codes{"ack_wait": field, "store": store},
		},
		{
			"no store and a forbidden subject", "x", spec("NOWHERE", "sluice.x", ""), field,
			codes{"store": store, "deliver.subject": delivery},
		},
		{
			"retention and a captured subject", "x", spec("WORK", "jobs.a", ""), field,
			codes{"store": retention, "deliver.subject": delivery},
		},
		{
			"retention, a forbidden subject and two fields", "x", spec("WORK", "$JS.x", `,"order_by":7,"extra":1`), field,
			codes{"store": retention, "deliver.subject": delivery, "order_by": field, "extra": field},
		},
		{"a bad name and no store", "a.b", spec("NOWHERE", "to.a", ""), field, codes{"name": field, "store": store}},
		{"a change of a field alone asks nobody", "there", body(`"ack_wait":"1ns"`), field, codes{"ack_wait": 0}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			bad := e.refused(wire.VerbSubscribe, tt.name, tt.body, tt.code)
			got := codes{}
			for _, f := range bad.Details {
				got[f.Field] = f.ErrCode
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("codes by field (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSubscribe_WarnsOfWhatIsHardlyMeant(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.store("AUDIT", "work.>")
	e.store("OTHER", "other.>")
	if _, err := e.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "ORDERS"}}); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		store, filters, subject string
		want                    []string // fields
	}{
		{"ORDERS", `"$all"`, "to.a", nil},
		{"ORDERS", `"$all"`, "work.a", []string{"deliver.subject"}},
		{"ORDERS", `"github.>"`, "to.a", []string{"selector.by_stream"}},
		{"ORDERS", `"orders.*.x"`, "to.a", nil},
		{"ORDERS", `">"`, "to.a", nil},
		{"ORDERS", `["orders.x","$all.x","github"]`, "work.a", []string{"deliver.subject", "selector.by_stream[1]", "selector.by_stream[2]"}},
		{"COPY", `"anything"`, "to.a", nil}, // a mirror says nothing of what it holds
	} {
		got := e.subscribe(fmt.Sprint("w", i), fmt.Sprintf(`{"store":%q,"selector":{"by_stream":%s},"deliver":{"subject":%q}}`, tt.store, tt.filters, tt.subject))
		var fields []string
		for _, w := range got.Warnings {
			fields = append(fields, w.Field)
		}
		if diff := cmp.Diff(tt.want, fields); diff != "" {
			t.Errorf("%+v: warnings (-want +got):\n%s\n%+v", tt, diff, got.Warnings)
		}
	}
}

func TestAStoreThatWasCreatedAnewIsNotSoughtIn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("s", body())
	if err := e.js.DeleteStream(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	_ = e.refused(wire.VerbSeek, "s", `{"to":"all"}`, wire.CodeNoStore)
	e.store("ORDERS", "orders.>")
	_ = e.refused(wire.VerbSeek, "s", `{"to":"all"}`, wire.CodeNoStore)
	e.subscribe("s", body(`"restart":true`))
	ok[wire.SeekResponse](e, wire.VerbSeek, "s", `{"to":"all"}`)
}

func TestASubscriptionWhoseStoreIsLostCanBeChangedAndRemoved(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("s", body())
	if err := e.js.DeleteStream(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	if got := e.subscribe("s", body()); got.Changed {
		t.Error("the same again changed something")
	}
	if got := e.subscribe("s", body(`"on_gap":"pause"`)); !got.Changed {
		t.Error("not changed")
	}
	ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "s", "")
}

func TestAMirrorCapturesNoSubject(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	if _, err := e.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "ORDERS"}}); err != nil {
		t.Fatal(err)
	}
	e.subscribe("m", `{"store":"COPY","selector":{"by_stream":"$all"},"deliver":{"subject":"other.place"}}`)
}

func TestTheNumberOfSubscriptionsIsLimited(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *Config) { c.MaxSubscriptions = 3 })
	for i := range 3 {
		e.subscribe(fmt.Sprint("s", i), body())
	}
	bad := e.refused(wire.VerbSubscribe, "s3", body(), wire.CodeTooMany)
	if bad.Limit == nil || *bad.Limit != 3 || bad.Remaining == nil || *bad.Remaining != 0 {
		t.Errorf("error = %+v, want limit 3 and 0 left", bad)
	}
	e.subscribe("s0", body(`"ack_wait":"1s"`)) // a change is no new one
	ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "s1", "")
	e.subscribe("s3", body())
	_ = e.refused(wire.VerbSubscribe, "s4", body(), wire.CodeTooMany)
	_ = e.refused(wire.VerbSubscribe, "s5", strings.Replace(body(), "ORDERS", "NOWHERE", 1), wire.CodeTooMany)
}

func TestARefusedCreateTakesNoRoom(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *Config) { c.MaxSubscriptions = 1 })
	for range 5 {
		_ = e.refused(wire.VerbSubscribe, "x", strings.Replace(body(), "ORDERS", "NOWHERE", 1), wire.CodeNoStore)
	}
	e.subscribe("x", body())
}

func TestRequestsPerSecondAreLimited(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *Config) { c.MaxRequestsPerSecond, c.MaxRequestsPerPrefix = 50, 50 })
	inbox := e.nc.NewRespInbox()
	sub, err := e.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	const n = 300
	for range n {
		if err := e.nc.PublishRequest(ns.API(wire.VerbGet, "nobody"), inbox, nil); err != nil {
			t.Fatal(err)
		}
	}
	var limited int
	for range n {
		msg, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if errCode(msg) != wire.CodeTooMany {
			continue
		}
		limited++
		bad := e.checkRefusal(wire.VerbGet, msg, wire.CodeTooMany)
		if bad.Limit == nil || *bad.Limit != 50 || bad.Remaining == nil || *bad.Remaining != 0 {
			t.Fatalf("error = %+v, want limit 50 and 0 left", bad)
		}
	}
	if limited < n/2 {
		t.Errorf("%d of %d refused", limited, n)
	}
}

func TestThousandsOfBadRequestsLeaveTheGoodOnesWorking(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	inbox := e.nc.NewRespInbox()
	sub, err := e.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	junk := []string{"", "{", "null", body(`"x":1`), body(`"ack_wait":-1`), strings.Repeat("[", 30000), "\xff\xfe", strings.Repeat("x", 70000), body(`"store":"ORDERS"`)}
	const rounds, batch = 60, 90
	for round := range rounds {
		for i := range batch {
			if err := e.nc.PublishRequest(ns.API(wire.VerbSubscribe, fmt.Sprint("bad", i)), inbox, []byte(junk[i%len(junk)])); err != nil {
				t.Fatal(err)
			}
		}
		for range batch {
			msg, err := sub.NextMsg(10 * time.Second)
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if code := errCode(msg); code != wire.CodeBadJSON && code != wire.CodeBadField && code != wire.CodeTooLarge {
				t.Fatalf("answer %s", msg.Data)
			}
		}
	}
	if got := e.subscribe("good", body()); !got.Created {
		t.Error("not created")
	}
	if got := ok[wire.ListResponse](e, wire.VerbList, "", ""); got.Total != 1 {
		t.Errorf("total = %d, want 1", got.Total)
	}
}

func TestARecordThatCannotBeReadIsAConflictUntilItIsRemoved(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	kv := e.bucket(ns.BucketSubscriptions())
	for name, value := range map[string]string{"junk": "\xffjunk", "newer": `{"schema":99,"name":"newer"}`, "null": "null"} {
		rev, err := kv.Put(t.Context(), name, []byte(value))
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{wire.VerbGet, wire.VerbPause, wire.VerbResume} {
			_ = e.refused(verb, name, "", wire.CodeConflict)
		}
		bad := e.refused(wire.VerbSubscribe, name, body(`"restart":true`), wire.CodeConflict)
		if bad.Revision != rev {
			t.Errorf("%s: revision %d, want %d", name, bad.Revision, rev)
		}
		_ = e.refused(wire.VerbUnsubscribe, name, `{"if_revision":1000}`, wire.CodeConflict)
		if got := ok[wire.ListResponse](e, wire.VerbList, "", ""); got.Total != 0 {
			t.Errorf("%s: listed", name)
		}
		ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, name, "")
		if !e.subscribe(name, body()).Created {
			t.Errorf("%s: not created after the removal", name)
		}
		ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, name, "")
	}
	if _, err := kv.Put(t.Context(), wire.BarrierKey, []byte("7")); err != nil {
		t.Fatal(err)
	}
	if got := ok[wire.ListResponse](e, wire.VerbList, "", ""); got.Total != 0 {
		t.Error("the replayer's barrier is listed as a subscription")
	}
}

func TestAPoolThatCannotBeReadIsNotOverwrittenBySeek(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("s", body())
	if _, err := e.bucket(ns.BucketPools()).Put(t.Context(), "s", []byte("junk")); err != nil {
		t.Fatal(err)
	}
	_ = e.refused(wire.VerbSeek, "s", `{"to":"all"}`, wire.CodeConflict)
	if got := ok[wire.GetResponse](e, wire.VerbGet, "s", ""); got.Pool != nil {
		t.Errorf("pool = %+v", got.Pool)
	}
	if got := ok[wire.ListResponse](e, wire.VerbList, "", `{"state":"unclaimed"}`); got.Total != 1 {
		t.Errorf("total = %d", got.Total)
	}
}

func TestRequestsWithoutAReplyAreCarriedOutAndTold(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	next := e.advisories()
	send := func(verb, name, body string) {
		t.Helper()
		if err := e.nc.Publish(ns.API(verb, name), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	send(wire.VerbSubscribe, "quiet", body())
	if a := next(wire.AdvSubscriptionCreated, "quiet"); a.Data["uid"] == "" || a.ID == "" || a.Timestamp.IsZero() || a.Instance == "" {
		t.Errorf("advisory = %+v", a)
	}
	if got := ok[wire.GetResponse](e, wire.VerbGet, "quiet", ""); got.Subscription == nil {
		t.Error("not created")
	}
	send(wire.VerbSubscribe, "quiet", body())
	if a := next(wire.AdvSubscriptionUpdated, "quiet"); a.Data["changed"] != false {
		t.Errorf("the same again: %+v", a)
	}
	send(wire.VerbSubscribe, "quiet", body(`"ack_wait":"2s"`))
	if a := next(wire.AdvSubscriptionUpdated, "quiet"); a.Data["changed"] != true {
		t.Errorf("change: %+v", a)
	}
	send(wire.VerbPause, "quiet", "")
	next(wire.AdvSubscriptionPaused, "quiet")
	send(wire.VerbResume, "quiet", "")
	next(wire.AdvSubscriptionResumed, "quiet")
	send(wire.VerbSeek, "quiet", `{"to":"all"}`)
	if a := next(wire.AdvSubscriptionSought, "quiet"); a.Data["to_sequence"] != 1.0 {
		t.Errorf("seek: %+v", a)
	}
	send(wire.VerbUnsubscribe, "quiet", "")
	next(wire.AdvSubscriptionDeleted, "quiet")
	send(wire.VerbUnsubscribe, "quiet", "")
	if a := next(wire.AdvSubscriptionRejected, "quiet"); a.Error == nil || a.Error.ErrCode != wire.CodeNoSubscription {
		t.Errorf("rejected: %+v", a)
	}
	send(wire.VerbSubscribe, "quiet", body(`"ack_wait":1`, `"x":1`))
	if a := next(wire.AdvSubscriptionRejected, "quiet"); a.Error == nil || len(a.Error.Details) != 2 {
		t.Errorf("rejected: %+v", a)
	}
}

func TestOrderIsKeptAmongRequestsAboutOneName(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	next := e.advisories()
	const n = 50
	for i := range n {
		if err := e.nc.Publish(ns.API(wire.VerbSubscribe, "seq"), []byte(body(fmt.Sprintf(`"labels":{"i":"%d"}`, i)))); err != nil {
			t.Fatal(err)
		}
	}
	next(wire.AdvSubscriptionCreated, "seq")
	for range n - 1 {
		next(wire.AdvSubscriptionUpdated, "seq")
	}
	if got := ok[wire.GetResponse](e, wire.VerbGet, "seq", "").Subscription; got.Spec.Labels["i"] != fmt.Sprint(n-1) || got.Generation != n {
		t.Errorf("labels %v generation %d, want the last one's", got.Spec.Labels, got.Generation)
	}
}

func TestAPanicIsOneRequestsFaultAndIsInTheLog(t *testing.T) {
	t.Parallel()
	srv := newEnvWithoutRegistry(t)
	var log syncBuffer
	srv.start(defaultConfig, func(s *Service) {
		s.log = zerolog.New(&log)
		for i := range s.verbs {
			if v := &s.verbs[i]; v.name == wire.VerbPause {
				v.handle = func(*api, context.Context, *request) (any, *wire.Error) { panic("on purpose") }
			}
		}
	})
	for range 100 {
		bad := srv.refused(wire.VerbPause, "x", "", wire.CodeInternal)
		if bad.ID == "" || !strings.Contains(log.String(), bad.ID) {
			t.Fatalf("id %q is not in the log", bad.ID)
		}
		if strings.Contains(bad.Description, "on purpose") {
			t.Errorf("the answer gives away %q", bad.Description)
		}
	}
	srv.subscribe("x", body())
}

func TestNatsServiceToolsSeeTheRegistry(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("x", body())
	_ = e.refused(wire.VerbSubscribe, "x", "{", wire.CodeBadJSON)
	msg, err := e.nc.Request("$SRV.INFO.sluice-registry", nil, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Endpoints []struct{ Name, Subject string }
	}
	if err := json.Unmarshal(msg.Data, &info); err != nil || len(info.Endpoints) != 8 {
		t.Errorf("info = %s, %v, want eight endpoints", msg.Data, err)
	}
	msg, err = e.nc.Request("$SRV.STATS.sluice-registry", nil, 2*time.Second)
	if err != nil || !bytes.Contains(msg.Data, []byte(`"num_requests":2,"num_errors":1,"last_error":"400:`)) {
		t.Errorf("stats = %s, %v", msg.Data, err)
	}
}

func TestConfigNamesEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	common, err := service.ParseCommon(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = FromEnv().New(service.Env{"SLUICE_MAX_REQUEST_BYTES": "1", "SLUICE_MAX_SUBSCRIPTIONS": "0", "SLUICE_MAX_REQUESTS_PER_SECOND": "-1"}, service.Discard(common))
	for _, name := range []string{"SLUICE_MAX_REQUEST_BYTES", "SLUICE_MAX_SUBSCRIPTIONS", "SLUICE_MAX_REQUESTS_PER_SECOND"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %s", err, name)
		}
	}
	r, err := FromEnv().New(nil, service.Discard(common))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.(*Service).cfg; got.MaxRequestBytes != 65536 || got.MaxSubscriptions != 100000 || got.MaxRequestsPerSecond != 2000 {
		t.Errorf("defaults = %+v", got)
	}
}
