package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/wire"
)

// badRequests are requests of which none may be carried out, each over and over
// with another number in it.
func badRequests(i int) (subject string, body []byte) {
	ns := wire.DefaultNamespace
	name := fmt.Sprintf("bad-%d", i)
	subscribe := ns.API(wire.VerbSubscribe, name)
	valid := `{"store":"ORDERS","selector":{"by_stream":"$all"},"deliver":{"subject":"bad.x"}`
	all := []struct{ subject, body string }{
		{subscribe, ""},
		{subscribe, "{"},
		{subscribe, "\x00\xff"},
		{subscribe, `[` + strings.Repeat("[", 2000)},
		{subscribe, `{"store":7,"selector":"x","deliver":[],"retry":{"max_attempts":-1}}`},
		{subscribe, valid + `,"unknown":1}`},
		{subscribe, valid + `,"ack_wait":"1ns","pool_size":{"min":0,"max":99999999}}`},
		{subscribe, valid + `,"labels":{"x":"` + strings.Repeat("y", 70_000) + `"}}`},
		{subscribe, strings.Replace(valid, "bad.x", "$JS.API.STREAM.DELETE.ORDERS", 1) + "}"},
		{subscribe, strings.Replace(valid, "bad.x", "orders.loop", 1) + "}"},
		{subscribe, strings.Replace(valid, "bad.x", "bad.>", 1) + "}"},
		{subscribe, strings.Replace(valid, "ORDERS", "NOWHERE", 1) + "}"},
		{subscribe, strings.Replace(valid, `"by_stream":"$all"`, `"by_event_payload":{"a":[{"numeric":["<"]}]}`, 1) + "}"},
		{ns.API(wire.VerbSubscribe, strings.Repeat("n", 65)), valid + "}"},
		{ns.API(wire.VerbSubscribe, "a%b"), valid + "}"},
		{ns.API(wire.VerbGet, name), ""},
		{ns.API(wire.VerbPause, name), "}"},
		{ns.API(wire.VerbSeek, name), `{"to":"yesterday"}`},
		{ns.API(wire.VerbUnsubscribe, name), `{"if_revision":"x"}`},
		{ns.API(wire.VerbList), `{"limit":-1,"offset":"x"}`},
		{ns.API(wire.VerbHealthRepair), `{"kind":"everything"}`},
		{ns.API(wire.VerbHealthCleanup), `{"enabled":"maybe"}`},
		{ns.API(wire.VerbHealthSubscription, name), ""},
		{ns.API(wire.VerbReplayStart, name), `{"from":"all"}`},
	}
	pick := all[i%len(all)]
	return pick.subject, []byte(pick.body)
}

func TestAfterThousandsOfBadRequestsTheGoodOnesWork(t *testing.T) {
	t.Parallel()
	e := setup(t, harness.Vars("SLUICE_MAX_REQUESTS_PER_SECOND", "1000000"))
	r := e.Record("to.good", harness.Ack)
	before := e.Subscribe("good", spec("to.good"))
	wait := inBackground(e, 300, 5)

	const n = 4000
	var running sync.WaitGroup
	for worker := range 8 {
		nc := e.Conn()
		running.Go(func() {
			for i := worker; i < n; i += 8 {
				subject, body := badRequests(i)
				if i%5 == 0 { // without a reply subject
					if err := nc.Publish(subject, body); err != nil {
						t.Errorf("publish to %s: %v", subject, err)
					}
					continue
				}
				msg, err := nc.Request(subject, body, 20*time.Second)
				if err != nil {
					t.Errorf("request %d to %s: %v", i, subject, err)
					return
				}
				if err := refusal(msg); err != nil {
					t.Errorf("request %d to %s: %v", i, subject, err)
				}
			}
			if err := nc.Flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
		})
	}
	// What nobody could make sense of on the subjects between the services.
	for i := range 500 {
		for _, subject := range []string{"_SLUICE.sluice.ack.emitter-00000000.x.y", wire.DefaultNamespace.Lifecycle("good")} {
			if err := e.NC.Publish(subject, fmt.Appendf(nil, "junk %d {", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	running.Wait()

	wait()
	e.AwaitFloor("good", 300)
	r.RequireExactly("a subscription that was there", upTo(1, 300))
	if after := e.Subscribe("good", spec("to.good")); after.Revision != before.Revision {
		t.Errorf("its record went from revision %d to %d", before.Revision, after.Revision)
	}
	fresh := e.Record("to.fresh", harness.Ack)
	e.Subscribe("fresh", spec("to.fresh"))
	e.AwaitFloor("fresh", 300)
	fresh.RequireExactly("a subscription made afterwards", upTo(1, 300))
	page, err := e.Client.ListPage(e.Context(), wire.ListRequest{})
	if err != nil || page.Total != 2 {
		t.Errorf("there are %d subscriptions (%v), want 2", page.Total, err)
	}
	if _, err := e.Client.CheckHealth(e.Context()); err != nil {
		t.Error(err)
	}
	if got := len(advisories(t, e, wire.AdvSubscriptionRejected, "bad-0")); got == 0 {
		t.Error("a bad request without a reply subject left no advisory")
	}
}

// refusal checks that an answer is an error in both body and headers, and not
// one that says that we are at fault.
func refusal(msg *nats.Msg) error {
	var head wire.Head
	if err := json.Unmarshal(msg.Data, &head); err != nil {
		return fmt.Errorf("the answer is %q: %w", msg.Data, err)
	}
	switch {
	case head.Error == nil:
		return fmt.Errorf("it was accepted: %s", msg.Data)
	case head.Error.ErrCode == wire.CodeInternal || head.Error.ErrCode == wire.CodeUnavailable || head.Error.ErrCode == 0:
		return fmt.Errorf("the answer is %s", msg.Data)
	case head.Type == "":
		return fmt.Errorf("the answer has no type: %s", msg.Data)
	case msg.Header.Get(wire.HeaderServiceErrorCode) != fmt.Sprint(head.Error.Code) || msg.Header.Get(wire.HeaderServiceError) == "":
		return fmt.Errorf("the headers are %v, the error %s", msg.Header, fmt.Sprint(head.Error))
	}
	return nil
}
