package hostile

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	ns     = wire.DefaultNamespace
	canary = "CANARY" // a stream that nobody should touch
	victim = "victim" // a subscription that nobody should touch
)

// hostileReplies are reply subjects that are no inboxes: an answer there would
// be an act of Sluice that its asker has no right to.
func hostileReplies() []string {
	return []string{
		"$JS.API.STREAM.DELETE." + canary,
		"$JS.API.STREAM.PURGE." + canary,
		"$JS.API.CONSUMER.DELETE." + canary + ".c",
		"$KV.sluice_pools." + victim,
		"$KV.sluice_pools.other",
		"$KV.sluice_subscriptions." + victim,
		"$KV.sluice_sessions.leader.healthmon",
		"$KV.sluice_sessions.leader.replayer",
		"$KV.sluice_health.report",
		"$SYS.REQ.SERVER.PING",
		"$SRV.PING",
		ns.API(wire.VerbUnsubscribe, victim),
		ns.API(wire.VerbPause, victim),
		ns.Advisory(wire.AdvPoolLost, victim),
		ns.Lifecycle(victim),
		ns.Parked(victim),
		"_SLUICE.sluice.healthmon.leader.health.check",
		"_SLUICE.sluice.ack.emitter-1.0.a",
		"events.forged",
		"to.other",
		"_INBOX",
		"_INBOXES.a",
		"_INBOX..a",
		"_INBOX.a.",
		"_INBOX.*",
		"_INBOX.>",
		"_inbox.a",
		"_R_X.a",
		".",
		">",
	}
}

// question is something that a stranger may ask Sluice.
type question struct {
	subject, body string
	heard         int // by how many instances
}

// questions is every subject on which the services of e answer.
func questions(e *harness.Env) []question {
	e.T.Helper()
	out := []question{
		{ns.API(wire.VerbSubscribe, "attacker"), `{"store":"EVENTS","selector":{"by_stream":"$all"},"deliver":{"subject":"to.attacker"}}`, 1},
		{ns.API(wire.VerbSubscribe, victim), `{`, 1},
		{ns.API(wire.VerbUnsubscribe, victim), ``, 1},
		{ns.API(wire.VerbGet, victim), ``, 1},
		{ns.API(wire.VerbList), ``, 1},
		{ns.API(wire.VerbPause, victim), ``, 1},
		{ns.API(wire.VerbResume, victim), ``, 1},
		{ns.API(wire.VerbSeek, victim), `{"to":"all"}`, 1},
		{ns.API(wire.VerbExplain, victim), `{"sequence":1}`, 1},
		{ns.API(wire.VerbHealthCheck), ``, 1},
		{ns.API(wire.VerbHealthReport), ``, 1},
		{ns.API(wire.VerbHealthSubscription, victim), ``, 1},
		{ns.API(wire.VerbHealthCleanup), `{"enabled":false}`, 1},
		{ns.API(wire.VerbHealthRepair), `{"kind":"stalled_pools","name":"victim"}`, 1},
		{ns.API(wire.VerbReplayStart, victim), `{}`, 1},
		{ns.API(wire.VerbReplayGet, "x"), ``, 1},
		{ns.API(wire.VerbReplayList), ``, 1},
		{ns.API(wire.VerbReplayCancel, "x"), ``, 1},
		{ns.API(wire.VerbParkedList, victim), ``, 1},
		{ns.API(wire.VerbParkedReplay, victim), `{"all":true}`, 1},
		{ns.API(wire.VerbParkedDiscard, victim), `{"all":true}`, 1},
		{"_SLUICE.sluice.healthmon.leader." + wire.VerbHealthCheck, ``, 1},
		{"_SLUICE.sluice.healthmon.leader." + wire.VerbHealthRepair, `{"kind":"stalled_pools","name":"victim"}`, 1},
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		out = append(out, question{"$SRV." + verb, ``, len(harness.All())})
	}
	for _, svc := range harness.All() {
		instances, err := e.Sessions(svc)
		if err != nil || len(instances) != 1 {
			e.T.Fatalf("%s: instances %v, %v", svc, instances, err)
		}
		for instance := range instances {
			out = append(out, question{ns.Session(svc, instance), ``, 1})
			for _, verb := range []string{"PING", "INFO", "STATS"} {
				out = append(out, question{"$SRV." + verb + "." + ns.MicroName(svc), ``, 1},
					question{"$SRV." + verb + "." + ns.MicroName(svc) + "." + instance, ``, 1})
			}
			if svc == wire.ServiceEmitter {
				out = append(out, question{ns.EmitterPools(instance), ``, 1}, question{ns.EmitterPools(instance), `{`, 1})
			}
		}
	}
	return out
}

// untouched is what an attack must leave as it is.
type untouched struct {
	Canary, Events        uint64 // messages
	Revision, UID, Paused any
	Health, Replay        uint64 // epochs of the leaders
	Owner                 string
	Epoch                 uint64
	Cleanup               bool
}

func look(e *harness.Env) untouched {
	e.T.Helper()
	var u untouched
	for name, n := range map[string]*uint64{canary: &u.Canary, "EVENTS": &u.Events} {
		s, err := e.JS.Stream(e.Context(), name)
		if err != nil {
			e.T.Fatalf("stream %s: %v", name, err)
		}
		*n = s.CachedInfo().State.Msgs
	}
	if s, err := e.JS.Stream(e.Context(), canary); err == nil {
		if _, err := s.Consumer(e.Context(), "c"); err != nil {
			e.T.Errorf("consumer: %v", err)
		}
	}
	got := e.Get(victim)
	u.Revision, u.UID, u.Paused = got.Subscription.Revision, got.Subscription.UID, got.Subscription.Paused
	for role, epoch := range map[string]*uint64{wire.ServiceHealthmon: &u.Health, wire.ServiceReplayer: &u.Replay} {
		l, err := e.Lease(role)
		if err != nil {
			e.T.Fatal(err)
		}
		*epoch = l.Epoch
	}
	pool, err := e.Pool(victim)
	if err != nil {
		e.T.Fatal(err)
	}
	u.Owner, u.Epoch = pool.Owner, pool.Epoch
	msg, err := e.NC.Request(ns.API(wire.VerbHealthCheck), nil, 30*time.Second)
	if err != nil {
		e.T.Fatal(err)
	}
	var report wire.Report
	harness.Decode(e.T, msg.Data, &report)
	u.Cleanup = report.CleanupEnabled
	return u
}

// TestAnswersAreSentToInboxesOnly asks everything that Sluice answers, with
// every reply subject that is no inbox, and answers deliveries in the same way.
// Nothing may be carried out or answered, and all of it is told.
func TestAnswersAreSentToInboxesOnly(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StoreOf(jetstream.StreamConfig{Name: canary, Subjects: []string{"canary"}})
	if _, err := e.JS.CreateConsumer(e.Context(), canary, jetstream.ConsumerConfig{Durable: "c"}); err != nil {
		t.Fatal(err)
	}
	e.Publish("canary", "alive")
	e.Store("EVENTS", "events.>")
	e.StartAll()
	e.AwaitLease(wire.ServiceHealthmon, 0)
	e.AwaitLease(wire.ServiceReplayer, 0)
	replies := hostileReplies()

	// The subscriber of the victim is the attacker: it answers each delivery
	// with an answer that asks for one elsewhere.
	subscriber := e.Conn()
	answered := 0
	_, err := subscriber.Subscribe("to.victim", func(m *nats.Msg) {
		if err := m.RespondMsg(&nats.Msg{Reply: replies[answered%len(replies)], Data: []byte("+ACK")}); err != nil {
			t.Error(err)
		}
		answered++
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := subscriber.Flush(); err != nil {
		t.Fatal(err)
	}
	e.Subscribe(victim, client.Spec{
		Store: "EVENTS", Selector: client.Selector{ByStream: []string{"events.good"}},
		Deliver: client.Deliver{Subject: "to.victim"}, OrderBy: client.OrderBySubject(),
	})
	told := listenForRefusals(e)
	before := look(e)

	asker := e.Conn()
	want := 0
	for _, q := range questions(e) {
		for _, reply := range replies {
			if err := asker.PublishMsg(&nats.Msg{Subject: q.subject, Reply: reply, Data: []byte(q.body)}); err != nil {
				t.Fatalf("%s, reply %q: %v", q.subject, reply, err)
			}
			want += q.heard
		}
	}
	if err := asker.Flush(); err != nil {
		t.Fatal(err)
	}
	var last uint64
	for range replies {
		last = e.Publish("events.good", "{}")
		before.Events++
	}
	e.AwaitFloor(victim, last)
	want += len(replies)

	told(want)
	if after := look(e); after != before {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	if _, err := e.Client.Get(e.Context(), "attacker"); client.CodeOf(err) != wire.CodeNoSubscription {
		t.Errorf("the attacker's subscription: %v", err)
	}
}

// listenForRefusals returns a function that waits until as many refusals have
// been told as are wanted, and fails where it is one more. It fails also
// where anything was sent to a hostile reply subject that only an answer may
// have come to.
func listenForRefusals(e *harness.Env) func(want int) {
	e.T.Helper()
	nc := e.Conn()
	advisories, err := nc.SubscribeSync(ns.Advisory(wire.AdvRequestRefused, "*"))
	if err != nil {
		e.T.Fatal(err)
	}
	quiet := map[string]*nats.Subscription{}
	for _, subject := range []string{
		"$JS.API.STREAM.*." + canary, "$KV.sluice_pools.other", "events.forged", "to.other", "_R_X.a", "_inbox.a", "_INBOXES.a",
	} {
		if quiet[subject], err = nc.SubscribeSync(subject); err != nil {
			e.T.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		e.T.Fatal(err)
	}
	return func(want int) {
		e.T.Helper()
		services := map[string]bool{}
		var got, messages int
		for got < want {
			m, err := advisories.NextMsg(30 * time.Second)
			if err != nil {
				e.T.Fatalf("%d refusals told, want %d: %v", got, want, err)
			}
			var a wire.Advisory
			if err := json.Unmarshal(m.Data, &a); err != nil {
				e.T.Fatalf("%s: %v", m.Data, err)
			}
			count, _ := a.Data["count"].(float64)
			got, messages = got+int(count), messages+1
			services[a.Name] = true
		}
		if got != want || len(services) != len(harness.All()) || messages > 100 {
			e.T.Errorf("%d refusals told in %d advisories of %v, want %d of all services", got, messages, services, want)
		}
		for subject, sub := range quiet {
			for n, _, _ := sub.Pending(); n > 0; n-- {
				m, err := sub.NextMsg(time.Second)
				if err == nil && !strings.HasPrefix(m.Subject, "$JS.API.STREAM.INFO.") {
					e.T.Errorf("%s: %q was sent to %s", subject, m.Data, m.Subject)
				}
			}
		}
	}
}

// TestRefusedRequestsAreFewMessages floods the registry, and counts what the
// flood leaves behind.
func TestRefusedRequestsAreFewMessages(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Start(wire.ServiceRegistry)
	asker := e.Conn()
	told := e.Conn()
	advisories, err := told.SubscribeSync(ns.Advisories())
	if err != nil {
		t.Fatal(err)
	}
	if err := told.Flush(); err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	began := time.Now()
	for range n {
		if err := asker.PublishRequest(ns.API(wire.VerbSubscribe, victim), "$KV.sluice_pools.x", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	got, messages := 0, 0
	for got < n {
		m, err := advisories.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatalf("%d of %d told: %v", got, n, err)
		}
		var a wire.Advisory
		harness.Decode(t, m.Data, &a)
		count, _ := a.Data["count"].(float64)
		got, messages = got+int(count), messages+1
	}
	if limit := 2 + int(time.Since(began)/time.Second); messages > limit {
		t.Errorf("%d advisories for %d requests, want at most %d", messages, n, limit)
	}
}
