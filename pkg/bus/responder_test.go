package bus_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// refusedSoFar is what the metric says.
func refusedSoFar(t *testing.T, r *sdkmetric.ManualReader) (n int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				if v, _ := p.Attributes.Value("service"); m.Name != "replies.refused" || v.AsString() != "registry" {
					t.Errorf("metric %s of %s", m.Name, v.AsString())
				}
				n += p.Value
			}
		}
	}
	return n
}

func TestAResponderAnswersInInboxesOnlyAndTellsWhatItRefuses(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	nc, err := nats.Connect(s.URL(), nats.CustomInboxPrefix("_SLUICE_INBOX"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	user := s.Conn()
	heard, err := user.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := user.Flush(); err != nil {
		t.Fatal(err)
	}
	reader := sdkmetric.NewManualReader()
	var log logBuffer
	r, err := bus.NewResponder(nc, bus.ResponderConfig{
		Service: "registry", Advisor: bus.NewAdvisor(nc, "sluice", "registry-1", zerolog.Nop()),
		Meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter(""), Log: zerolog.New(&log),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"_INBOX.a", "_SLUICE_INBOX.b.c", "_R_.d", ""} {
		m := &nats.Msg{Subject: "asked", Reply: reply}
		if err := r.Answer(m, []byte("yes"), nats.Header{"A": {"b"}}); err != nil || !r.Accepts(m) {
			t.Errorf("%q: %v", reply, err)
		}
		if reply == "" {
			continue
		}
		if got, err := heard.NextMsg(10 * time.Second); err != nil || got.Subject != reply || string(got.Data) != "yes" || got.Header.Get("A") != "b" {
			t.Errorf("answer to %q: %v, %v", reply, got, err)
		}
	}
	bad := []string{"$JS.API.STREAM.DELETE.ORDERS", "$KV.sluice_pools.other", "_INBOX.>", "_INBOX..a", "_TEAM.a", "x y"}
	for _, reply := range bad {
		if err := r.Answer(&nats.Msg{Subject: "asked", Reply: reply}, nil, nil); !errors.Is(err, bus.ErrNoInbox) {
			t.Errorf("%q: %v", reply, err)
		}
	}
	// Another connection's responder counts with this one.
	if r.On(user).Accepts(&nats.Msg{Subject: "_SLUICE.sluice.ack.emitter-1.0.secret", Reply: "_SLUICE_INBOX.x"}) {
		t.Error("the inboxes of one connection are those of another")
	}
	if n := refusedSoFar(t, reader); int(n) != len(bad)+1 {
		t.Errorf("%d counted, want %d", n, len(bad)+1)
	}
	r.Close()
	r.Close()
	if r.Accepts(&nats.Msg{Reply: "x"}) { // too late to be told
		t.Error("accepted after the end")
	}
	got, err := heard.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var a wire.Advisory
	if err := json.Unmarshal(got.Data, &a); err != nil || got.Subject != "sluice.v1.advisory.request.refused.registry" ||
		a.Data["count"] != float64(len(bad)+1) || a.Data["subject"] != "_SLUICE.sluice.ack.…" || a.Data["reply"] != "_SLUICE_INBOX.x" {
		t.Errorf("%s: %s, %v", got.Subject, got.Data, err)
	}
	if strings.Contains(string(got.Data), "secret") {
		t.Error("the advisory gives away where answers are taken")
	}
	if err := errors.Join(log.contains(`"count":7`), user.Flush()); err != nil {
		t.Error(err)
	}
	if pending, _, _ := heard.Pending(); pending != 0 {
		t.Errorf("%d more messages were sent", pending)
	}
}

func TestRefusalsAreToldWithinASecondOrSo(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	nc := s.Conn()
	heard, err := nc.SubscribeSync("sluice.v1.advisory.>")
	if err != nil {
		t.Fatal(err)
	}
	r, err := bus.NewResponder(nc, bus.ResponderConfig{Service: "x", Advisor: bus.NewAdvisor(nc, "sluice", "x-1", zerolog.Nop())})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		for range 1000 {
			r.Accepts(&nats.Msg{Subject: "asked", Reply: "$KV.x.y"})
		}
		for told := 0.0; told < 1000; {
			got, err := heard.NextMsg(20 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			var a wire.Advisory
			if err := json.Unmarshal(got.Data, &a); err != nil {
				t.Fatal(err)
			}
			told += a.Data["count"].(float64)
		}
	}
}
