package hostile

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// installation is a Sluice with a store EV that captures ev.>.
func installation(t *testing.T) *harness.Env {
	t.Helper()
	e := harness.New(t)
	e.Store("EV", "ev.>")
	e.Start(wire.ServiceRegistry)
	e.Start(wire.ServiceEmitter)
	return e
}

// to delivers the events below ev.<name>. from the start, and retries quickly.
func to(name string, d client.Deliver) client.Spec {
	return client.Spec{
		Store: "EV", Selector: client.Selector{ByStream: []string{"ev." + name + ".>"}}, Start: client.FromAll(), Deliver: d,
		AckWait: 300 * time.Millisecond,
		Breaker: client.Breaker{Failures: 5, OpenFor: 100 * time.Millisecond},
		Retry:   client.Retry{MaxAttempts: new(3), MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond},
	}
}

// status is what the owner of a subscription's pool says of it.
func status(e *harness.Env, name string) (wire.PoolStatus, error) {
	if s := e.Get(name).Status; s != nil {
		return *s, nil
	}
	return wire.PoolStatus{}, errors.New("no owner answers")
}

// awaitStatus waits until the owner says what ok wants; ok returns what is wrong.
func awaitStatus(e *harness.Env, name, what string, ok func(wire.PoolStatus) error) wire.PoolStatus {
	e.T.Helper()
	var st wire.PoolStatus
	e.Await(fmt.Sprintf("%s: %s", name, what), func() (err error) {
		if st, err = status(e, name); err != nil {
			return err
		}
		if err := ok(st); err != nil {
			return fmt.Errorf("%w: %+v", err, st)
		}
		return nil
	})
	return st
}

// awaitDone waits until n events are finished, and no more was finished or
// parked than that.
func awaitDone(e *harness.Env, name string, finished, parked uint64) {
	e.T.Helper()
	awaitStatus(e, name, fmt.Sprintf("%d finished, %d parked", finished, parked), func(st wire.PoolStatus) error {
		if st.Finished != finished || st.Parked != parked {
			return fmt.Errorf("%d and %d", st.Finished, st.Parked)
		}
		return nil
	})
}

// What becomes of an event whose deliveries are all answered in one way.
const (
	ends  = "finished, after one delivery"
	fails = "tried three times, and parked"
	parks = "parked, after one delivery"
)

// answers: what a subscriber says to each delivery.
var answers = []struct {
	name   string
	ack    string // deliver.ack
	body   string
	header nats.Header
	want   string
	reason string // begins the reason of the parked event
}{
	{name: "empty", want: ends},
	{name: "ack", body: "+ACK", want: ends},
	{name: "any-text", body: "ok", want: ends},
	{name: "binary", body: "\x00\xff", want: ends},
	{name: "json", body: `{"error":"none of JetStream's"}`, want: ends},
	{name: "foreign-error-code", body: `{"error":{"code":500,"err_code":300011,"description":"no"}}`, want: ends},
	{name: "status-404", header: nats.Header{"Status": {"404"}}, want: ends},
	{name: "status-503", header: nats.Header{"Status": {"503"}}, want: ends},
	{name: "status-503-like-the-server", header: nats.Header{"Status": {"503"}, "Nats-Subject": {"x"}}, want: ends},
	{name: "status-503-described", header: nats.Header{"Status": {"503"}, "Description": {"No Responders"}}, want: ends},

	{name: "nak", body: "-NAK", want: fails, reason: "refused by the subscriber (-NAK)"},
	{name: "nak-duration", body: "-NAK 5ms", want: fails, reason: "refused by the subscriber (-NAK)"},
	{name: "nak-json", body: `-NAK {"delay":"5ms"}`, want: fails, reason: "refused by the subscriber (-NAK)"},
	{name: "nak-text", body: "-NAK no stock", want: fails, reason: "refused by the subscriber: no stock"},
	{name: "own-word", body: "-ERR 'no stock'", want: fails, reason: "refused by the subscriber: -ERR 'no stock'"},
	{name: "typo", body: "-TERM", want: fails, reason: "refused by the subscriber: -TERM"},
	{name: "service-error", header: nats.Header{"Nats-Service-Error": {"no stock"}}, want: fails, reason: "answered with an error: no stock"},
	{name: "service-error-and-ack", body: "+ACK", header: nats.Header{"nats-service-error": {"no"}}, want: fails, reason: "answered with an error: no"},
	{name: "term", body: "+TERM no stock", want: parks, reason: "terminated by the subscriber: no stock"},
	{name: "term-of-half-a-megabyte", body: "+TERM " + strings.Repeat("x", 1<<19), want: parks, reason: "terminated by the subscriber: xxx"},

	{name: "receipt", body: `{"stream":"X","seq":1}`, want: fails, reason: "not answered within"},
	{name: "refusal", body: `{"error":{"code":503,"err_code":10077,"description":"full"}}`, want: fails, reason: "not answered within"},

	{name: "explicit-ack", ack: wire.AckExplicit, body: "+ACK", want: ends},
	{name: "explicit-empty", ack: wire.AckExplicit, want: fails, reason: "not answered within"},
	{name: "explicit-text", ack: wire.AckExplicit, body: "ok", want: fails, reason: "not answered within"},
	{name: "explicit-nak", ack: wire.AckExplicit, body: "-NAK", want: fails, reason: "refused by the subscriber"},
	{name: "explicit-term", ack: wire.AckExplicit, body: "+TERM", want: parks, reason: "terminated by the subscriber"},
	{name: "explicit-service-error", ack: wire.AckExplicit, header: nats.Header{"Nats-Service-Error": {"no"}}, want: fails, reason: "answered with an error"},
}

func TestAnswers_MeanWhatTheContractSays(t *testing.T) {
	t.Parallel()
	e := installation(t)
	advisories, err := e.Conn().SubscribeSync("sluice.v1.advisory.event.parked.*")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	deliveries := map[string]int{}
	for _, tt := range answers {
		_, err := e.NC.Subscribe("to."+tt.name, func(m *nats.Msg) {
			mu.Lock()
			deliveries[tt.name]++
			mu.Unlock()
			_ = m.RespondMsg(&nats.Msg{Header: tt.header, Data: []byte(tt.body)})
		})
		if err != nil {
			t.Fatal(err)
		}
		e.Publish("ev."+tt.name+".placed", "{}")
		e.Subscribe(tt.name, to(tt.name, client.Deliver{Subject: "to." + tt.name, Ack: tt.ack}))
	}
	parked := 0
	for _, tt := range answers {
		finished, kept, sent := uint64(0), uint64(1), 1
		switch tt.want {
		case ends:
			finished, kept = 1, 0
		case fails:
			sent = 3
		}
		awaitDone(e, tt.name, finished, kept)
		mu.Lock()
		n := deliveries[tt.name]
		mu.Unlock()
		// An answer that reads like the server's is asked for again, once.
		if again := strings.HasPrefix(tt.name, "status-503"); n != sent && (!again || n != sent+1) {
			t.Errorf("%s: %d deliveries, want %d", tt.name, n, sent)
		}
		if kept == 0 {
			continue
		}
		parked++
		m := e.Stored("SLUICE_PARKED", "sluice.v1.parked."+tt.name)[0]
		if reason := m.Header.Get(wire.HeaderParkReason); !strings.HasPrefix(reason, tt.reason) || len(reason) > 1500 {
			t.Errorf("%s: parked for %.200q (%d bytes), want %q", tt.name, reason, len(reason), tt.reason)
		}
	}
	for range parked {
		m, err := advisories.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("an event was parked without a word: %v", err)
		}
		if len(m.Data) > 4096 {
			t.Errorf("an advisory of %d bytes", len(m.Data))
		}
	}
}

func TestAnswers_TheErrorOfAMicroServiceIsAFailure(t *testing.T) {
	t.Parallel()
	e := installation(t)
	svc, err := micro.AddService(e.NC, micro.Config{Name: "stock", Version: "1.0.0"})
	if err == nil {
		err = svc.AddEndpoint("in", micro.HandlerFunc(func(r micro.Request) {
			_ = r.Error("500", "no stock", nil)
		}), micro.WithEndpointSubject("to.stock"))
	}
	if err != nil {
		t.Fatal(err)
	}
	e.Publish("ev.micro.placed", "{}")
	e.Subscribe("micro", to("micro", client.Deliver{Subject: "to.stock"}))
	awaitDone(e, "micro", 0, 1)
	if r := e.Stored("SLUICE_PARKED", "sluice.v1.parked.micro")[0].Header.Get(wire.HeaderParkReason); r != "answered with an error: no stock, attempt 3 of 3" {
		t.Errorf("parked for %q", r)
	}
}

func TestAnswers_AnAuditStreamDoesNotAnswerForARefusingSubscriber(t *testing.T) {
	t.Parallel()
	e := installation(t)
	audit := e.Store("AUDIT", "to.>")
	r := e.Record("to.audited", func(d harness.Delivery, say func(string)) {
		if d.Attempt > 1 {
			say("+ACK")
			return
		}
		time.AfterFunc(5*time.Millisecond, func() { say("-NAK") }) // the stream is faster
	})
	for i := range 20 {
		e.Publish(fmt.Sprintf("ev.audited.%d.placed", i), "{}")
	}
	e.Subscribe("audited", to("audited", client.Deliver{Subject: "to.audited"}))
	awaitDone(e, "audited", 20, 0)
	if n := len(r.First()); n != 20 || r.Count() != 40 {
		t.Errorf("%d events in %d deliveries, want 20 in 40", n, r.Count())
	}
	st := awaitStatus(e, "audited", "the stream's answers are counted", func(st wire.PoolStatus) error {
		if st.Captured != 40 {
			return errors.New("captured")
		}
		return nil
	})
	if info, err := audit.Info(e.Context()); err != nil || info.State.Msgs != 40 || st.Parked != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestAnswers_AStreamAloneIsNobody(t *testing.T) {
	t.Parallel()
	e := installation(t)
	audit := e.Store("AUDIT", "to.>")
	for i := range 10 {
		e.Publish(fmt.Sprintf("ev.alone.%d.placed", i), "{}")
	}
	spec := to("alone", client.Deliver{Subject: "to.alone"})
	spec.AckWait = 30 * time.Second
	e.Subscribe("alone", spec)
	st := awaitStatus(e, "alone", "waiting", func(st wire.PoolStatus) error {
		if st.State != wire.PoolWaiting {
			return errors.New("state")
		}
		return nil
	})
	if !strings.Contains(st.Reason, "AUDIT") || st.Finished+st.Parked != 0 {
		t.Errorf("%+v", st)
	}
	copies := func() uint64 {
		info, err := audit.Info(e.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Msgs
	}
	before := copies()
	awaitStatus(e, "alone", "a few questions later", func(st wire.PoolStatus) error {
		if time.Since(*st.OldestAt) < 4*time.Second {
			return errors.New("soon")
		}
		return nil
	})
	if n := copies(); n != before || before > 20 {
		t.Errorf("%d copies lie in the stream, %d before: each question leaves one", n, before)
	}
	r := e.Record("to.alone", harness.Ack)
	awaitDone(e, "alone", 10, 0)
	if len(r.First()) != 10 {
		t.Errorf("%d events", len(r.First()))
	}
	for _, d := range r.Deliveries() {
		if d.Attempt != 1 {
			t.Errorf("attempt %d of event %d", d.Attempt, d.Sequence)
		}
	}
}

// target makes a stream that is delivered to.
func target(e *harness.Env, cfg jetstream.StreamConfig) jetstream.Stream {
	e.T.Helper()
	cfg.Name, cfg.Subjects, cfg.Discard = "TARGET", []string{"to.target"}, jetstream.DiscardNew
	return e.StoreOf(cfg)
}

func TestAnswers_AFullStreamAsTheTargetRefusesAndNothingIsLost(t *testing.T) {
	t.Parallel()
	e := installation(t)
	full := target(e, jetstream.StreamConfig{MaxMsgs: 2})
	for i := range 5 {
		e.Publish(fmt.Sprintf("ev.full.%d.placed", i), fmt.Sprint(i))
	}
	spec := to("full", client.Deliver{Subject: "to.target", Stream: "TARGET"})
	spec.OnExhausted = wire.ExhaustedBlock
	e.Subscribe("full", spec)
	r := e.Record("to.target", harness.Ack) // a listener beside the stream acknowledges nothing
	awaitDone(e, "full", 2, 0)
	awaitStatus(e, "full", "held up", func(st wire.PoolStatus) error {
		if st.State != wire.PoolBlocked && st.State != wire.PoolBreakerOpen || st.Pending != 3 || r.Count() < 10 {
			return errors.New("state")
		}
		return nil
	})
	target(e, jetstream.StreamConfig{MaxMsgs: 10})
	awaitDone(e, "full", 5, 0)
	info, err := full.Info(e.Context())
	if err != nil || info.State.Msgs != 5 {
		t.Fatalf("the target holds %+v, %v; want 5 messages", info, err)
	}
	for i, m := range e.Stored("TARGET", "to.target") {
		seq := m.Header.Get(wire.HeaderSequence)
		if got, want := m.Header.Get("Nats-Msg-Id"), "EV:"+seq+":full"; got != want || m.Header.Get(wire.HeaderSubscription) != "full" {
			t.Errorf("message %d: id %q, want %q; headers %v", i, got, want, m.Header)
		}
	}
}

func TestAnswers_WhatTheTargetRefusesForGoodIsParkedWithItsWords(t *testing.T) {
	t.Parallel()
	e := installation(t)
	target(e, jetstream.StreamConfig{MaxMsgSize: 60 << 10})
	e.Publish("ev.large.body", strings.Repeat("x", 64<<10))
	e.Publish("ev.large.headers", "{}", "X-Large", strings.Repeat("x", 64<<10-200))
	e.Publish("ev.large.fits", "{}")
	spec := to("large", client.Deliver{Subject: "to.target", Stream: "TARGET"})
	spec.Breaker.Failures = 100 // two of three fail, which is not the target's fault
	e.Subscribe("large", spec)
	awaitDone(e, "large", 1, 2)
	for _, m := range e.Stored("SLUICE_PARKED", "sluice.v1.parked.large") {
		if r := m.Header.Get(wire.HeaderParkReason); !strings.HasPrefix(r, "stream TARGET refused it (100") || !strings.Contains(r, "exceed") {
			t.Errorf("%s: parked for %q", m.Header.Get(wire.HeaderSubject), r)
		}
	}
}

func TestAnswers_ATargetStreamThatIsGoneIsWaitedFor(t *testing.T) {
	t.Parallel()
	e := installation(t)
	target(e, jetstream.StreamConfig{})
	e.Subscribe("gone", to("gone", client.Deliver{Subject: "to.target", Stream: "TARGET"}))
	e.AwaitOwned("gone")
	if err := e.JS.DeleteStream(e.Context(), "TARGET"); err != nil {
		t.Fatal(err)
	}
	e.Publish("ev.gone.placed", "{}")
	awaitStatus(e, "gone", "waiting", func(st wire.PoolStatus) error {
		if st.State != wire.PoolWaiting {
			return errors.New("state")
		}
		return nil
	})
	s := target(e, jetstream.StreamConfig{})
	awaitDone(e, "gone", 1, 0)
	if info, err := s.Info(e.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// reservedHeaders: what an event may say in the words of the server or of Sluice.
// What else servers say is in protocolHeaders.
var reservedHeaders = []struct{ name, value string }{
	{"Status", "503"},
	{"Status", "409"},
	{"status", "503"},
	{"STATUS", "503"},
	{"Description", "No Responders"},
	{"nats-service-error", "no"},
	{"Nats-Trace-Dest", "stolen"},
	{"Sluice-Subscription", "another"},
	{"sluice-epoch", "99"},
	{"Sluice-Replay", "r"},
	{"Sluice-Park-Reason", "never"},
	{"Sluice-Parked-Body", "omitted"},
	{"Sluice-Event", "all of it"},
	{"Sluice-Anything", "x"},
}

func TestDelivery_NoHeaderOfAnEventIsReadAsTheProtocols(t *testing.T) {
	t.Parallel()
	e := installation(t)
	var want []uint64
	for _, h := range reservedHeaders {
		for _, body := range []string{"", "{}"} {
			msg := &nats.Msg{Subject: "ev.headers.x", Data: []byte(body), Header: nats.Header{h.name: {h.value}, "X-Kept": {"yes"}}}
			want = append(want, e.PublishAll([]*nats.Msg{msg})...)
		}
	}
	// A synchronous subscription takes an empty message with Status 503 for an error.
	sub, err := e.Conn().SubscribeSync("to.headers")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{
		wire.HeaderSubscription: true, wire.HeaderStore: true, wire.HeaderSequence: true, wire.HeaderSubject: true,
		wire.HeaderTime: true, wire.HeaderAttempt: true, wire.HeaderEpoch: true, wire.HeaderHops: true,
	}
	e.Subscribe("headers", to("headers", client.Deliver{Subject: "to.headers"}))
	for _, seq := range want {
		m, err := sub.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatalf("event %d: %v", seq, err)
		}
		if got := m.Header.Get(wire.HeaderSequence); got != fmt.Sprint(seq) || m.Header.Get(wire.HeaderSubscription) != "headers" || m.Header.Get("X-Kept") != "yes" {
			t.Errorf("event %d came with %v", seq, m.Header)
		}
		for name, values := range m.Header {
			lower := strings.ToLower(name)
			foreign := strings.HasPrefix(lower, "nats-") || lower == "status" || lower == "description" || strings.HasPrefix(lower, "sluice-") && !own[name]
			if foreign || len(values) != 1 {
				t.Errorf("event %d came with %s: %q", seq, name, values)
			}
		}
		if err := m.Respond([]byte("+TERM")); err != nil {
			t.Fatal(err)
		}
	}
	awaitDone(e, "headers", 0, uint64(len(want)))
	for _, m := range e.Stored("SLUICE_PARKED", "sluice.v1.parked.headers") {
		if r := m.Header.Get(wire.HeaderParkReason); r != "terminated by the subscriber" || m.Header.Get(wire.HeaderParkedBody) != "" || m.Header.Get("Status") != "" {
			t.Errorf("parked with %v", m.Header)
		}
	}
}
