package endpoint_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a service with the given endpoints until the test ends.
func serve(t *testing.T, nc *nats.Conn, endpoints ...endpoint.Endpoint) *endpoint.Service {
	t.Helper()
	replies, err := bus.NewResponder(nc, bus.ResponderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(replies.Close)
	s, err := endpoint.Serve(nc, endpoint.Config{
		Namespace: "sluice", Service: "tester", Instance: "tester-1", Description: "tests",
		Responder: replies, Log: zerolog.Nop(),
	}, endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request and decodes the answer.
func ask[T any](t *testing.T, nc *nats.Conn, subject, body string) (out T, header nats.Header) {
	t.Helper()
	m, err := nc.Request(subject, []byte(body), 10*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if err := json.Unmarshal(m.Data, &out); err != nil {
		t.Fatalf("%s: %s: %v", subject, m.Data, err)
	}
	return out, m.Header
}

// TestServicesLookAsThoseOfNATSDo compares with what nats.go's own package
// tells of the same service.
func TestServicesLookAsThoseOfNATSDo(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	serve(t, srv.Conn(), endpoint.Endpoint{
		Name: "one", Subject: "svc.one.*", Verb: "one", Description: "does one thing",
		Handle: func(r *endpoint.Request) { _ = r.Answer(nil, nil) },
	})
	theirs, err := micro.AddService(srv.Conn(), micro.Config{
		Name: "theirs", Version: wire.Version, Description: "tests",
		Metadata: map[string]string{"namespace": "sluice", "instance": "tester-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Stop() })
	err = theirs.AddEndpoint("one", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(nil) }),
		micro.WithEndpointSubject("svc.one.*"), micro.WithEndpointMetadata(map[string]string{"description": "does one thing"}))
	if err != nil {
		t.Fatal(err)
	}
	user := srv.Conn()
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		var want map[string]any
		natstest.Await(t, "the other service", func() error {
			m, err := user.Request("$SRV."+verb+".theirs", nil, time.Second)
			if err != nil {
				return err
			}
			return json.Unmarshal(m.Data, &want)
		})
		for _, suffix := range []string{".sluice-tester", ".sluice-tester.tester-1"} {
			got, _ := ask[map[string]any](t, user, "$SRV."+verb+suffix, "")
			if got["name"] != "sluice-tester" || got["id"] != "tester-1" {
				t.Errorf("%s%s: %v", verb, suffix, got)
			}
			if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["started"])); verb == "STATS" && err != nil {
				t.Error(err)
			}
			for _, own := range []string{"name", "id", "started"} {
				if want[own] != nil {
					want[own] = got[own]
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s%s (-nats.go +ours):\n%s", verb, suffix, diff)
			}
		}
		inbox := user.NewRespInbox()
		both, err := user.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		if err := user.PublishRequest("$SRV."+verb, inbox, nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := both.NextMsg(10 * time.Second); err != nil {
				t.Errorf("%s to all: %v", verb, err)
			}
		}
	}
}

func TestStatisticsAreOfTheWorkAndNotOfTheCall(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	held := make(chan *endpoint.Request, 8)
	data := json.RawMessage(`{"pools":3}`)
	serve(t, srv.Conn(), endpoint.Endpoint{
		Name: "one", Subject: "svc.one", Verb: "one", Handle: func(r *endpoint.Request) { held <- r },
		Data: func() any { return data },
	})
	user := srv.Conn()
	stats := func() *micro.EndpointStats {
		t.Helper()
		all, _ := ask[micro.Stats](t, user, "$SRV.STATS.sluice-tester", "")
		return all.Endpoints[0]
	}
	var waiting []*endpoint.Request
	for range 3 {
		if err := user.PublishRequest("svc.one", user.NewInbox(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, <-held)
	}
	if err := user.Publish("svc.one", nil); err != nil {
		t.Fatal(err)
	}
	silent := <-held
	if got := stats(); got.NumRequests != 0 || got.ProcessingTime != 0 || got.AverageProcessingTime != 0 || string(got.Data) != string(data) {
		t.Errorf("before any answer: %+v", got)
	}
	least := time.Since(silent.Arrived) // each has been worked on for this long
	long := wire.Errorf(wire.CodeBadField, "%s", "bad\nfield "+strings.Repeat("x", 1000))
	for i, err := range []error{
		waiting[0].Answer(map[string]string{"a": ">"}, nil), waiting[1].Answer(nil, long),
		waiting[2].Answer(func() {}, nil), silent.Answer("nobody waits", nil),
	} {
		if err != nil {
			t.Errorf("answer %d: %v", i, err)
		}
	}
	got := stats()
	if got.NumRequests != 4 || got.NumErrors != 2 || !strings.HasPrefix(got.LastError, "500:the answer cannot be encoded") {
		t.Errorf("%+v", got)
	}
	if got.ProcessingTime < 4*least || got.AverageProcessingTime != got.ProcessingTime/4 {
		t.Errorf("took %v, on average %v: want at least %v each", got.ProcessingTime, got.AverageProcessingTime, least)
	}
}

func TestAnswersAreWholeOrTheErrorIsTold(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	nc := srv.Conn()
	serve(t, nc, endpoint.Endpoint{Name: "one", Subject: "svc.one", Verb: "one", Handle: func(r *endpoint.Request) {
		if r.Silent() {
			t.Error("the request is taken for one that nobody waits for")
		}
		var err error
		switch string(r.Body) {
		case "good":
			err = r.Answer(map[string]string{"type": "t", "filter": "a.>"}, nil)
		case "bad":
			err = r.Answer(nil, wire.Errorf(wire.CodeBadField, "line\nbreak > %s", strings.Repeat("é", 1000)))
		case "large":
			err = r.Answer(strings.Repeat("x", int(nc.MaxPayload())), nil)
		}
		if err != nil {
			t.Error(err)
		}
	}})
	user := srv.Conn()
	m, err := user.Request("svc.one", []byte("good"), 10*time.Second)
	if err != nil || string(m.Data) != `{"filter":"a.>","type":"t"}` || len(m.Header) != 0 {
		t.Errorf("%s, %v, %v", m.Data, m.Header, err)
	}
	head, header := ask[wire.Head](t, user, "svc.one", "bad")
	if head.Type != "io.sluice.api.v1.one_response" || head.Error.ErrCode != wire.CodeBadField || len(head.Error.Description) < 2000 ||
		header.Get("Nats-Service-Error-Code") != "400" || !strings.HasPrefix(header.Get("Nats-Service-Error"), "line break > é") {
		t.Errorf("%+v, %v", head, header)
	}
	head, header = ask[wire.Head](t, user, "svc.one", "large")
	if head.Error.ErrCode != wire.CodeInternal || head.Error.ID == "" || header.Get("Nats-Service-Error-Code") != "500" {
		t.Errorf("%+v, %v", head.Error, header)
	}
}

func TestARequestThatWantsItsAnswerElsewhereIsNotCarriedOut(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	called := make(chan string, 8)
	s := serve(t, srv.Conn(), endpoint.Endpoint{Name: "one", Subject: "svc.one", Verb: "one", Handle: func(r *endpoint.Request) {
		called <- string(r.Body)
		_ = r.Answer(nil, nil)
	}})
	user := srv.Conn()
	heard, err := user.SubscribeSync("elsewhere.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		"svc.one", "$SRV.PING", "$SRV.INFO", "$SRV.STATS", "$SRV.PING.sluice-tester", "$SRV.STATS.sluice-tester.tester-1",
	} {
		if err := user.PublishRequest(subject, "elsewhere."+subject, []byte("bad")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := user.Request("svc.one", []byte("good"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := user.Request("$SRV.STATS.sluice-tester.tester-1", nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := <-called; got != "good" || len(called) != 0 {
		t.Errorf("called with %q, and %d times more", got, len(called))
	}
	if n, _, err := heard.Pending(); n != 0 || err != nil {
		t.Errorf("%d answers elsewhere, %v", n, err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "nobody to take requests", func() error {
		if _, err := user.Request("svc.one", nil, 10*time.Second); !errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("request: %w", err)
		}
		return nil
	})
}
