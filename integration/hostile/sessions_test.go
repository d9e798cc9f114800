package hostile

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// fakeNames are instances that nobody runs. Some are words of a pool's entry.
func fakeNames() []string {
	names := []string{"owner", "epoch", "emitter", "e", "0"}
	for i := range 15 {
		names = append(names, fmt.Sprintf("emitter-fake%02d", i))
	}
	return names
}

// fakeSessions keeps a session for each name, renewed and answering probes, until
// the test ends.
func fakeSessions(e *harness.Env, names []string) {
	e.T.Helper()
	nc := e.Conn()
	kv, err := e.JS.KeyValue(e.Context(), ns.BucketSessions())
	if err != nil {
		e.T.Fatal(err)
	}
	put := func(name string) error {
		body, err := json.Marshal(wire.Session{Service: wire.ServiceEmitter, Instance: name})
		if err == nil {
			_, err = kv.Put(e.T.Context(), wire.SessionKey(wire.ServiceEmitter, name), body)
		}
		return err
	}
	for _, name := range names {
		if _, err := nc.Subscribe(ns.Session(wire.ServiceEmitter, name), func(m *nats.Msg) { _ = m.Respond([]byte(name)) }); err != nil {
			e.T.Fatal(err)
		}
		if err := put(name); err != nil {
			e.T.Fatal(err)
		}
	}
	var renewing sync.WaitGroup
	stop := make(chan struct{})
	renewing.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for _, name := range names {
				_ = put(name) // the test may have ended
			}
		}
	})
	e.T.Cleanup(func() { close(stop); renewing.Wait() })
}

func TestFakeSessionsKeepNoSubscriptionFromItsEvents(t *testing.T) {
	t.Parallel()
	e := harness.New(t, harness.Vars("SLUICE_SESSION_TTL", "2s"))
	e.Store("EVENTS", "e.>")
	e.Start(wire.ServiceRegistry)
	e.Start(wire.ServiceEmitter)
	fakeSessions(e, fakeNames())
	var recorders []*harness.Recorder
	subscribe := func(n int) {
		for range n {
			name := fmt.Sprintf("sub-%d", len(recorders))
			recorders = append(recorders, e.Record("to."+name, harness.Ack))
			e.Subscribe(name, client.Spec{
				Store: "EVENTS", Selector: client.Selector{ByStream: []string{"$all"}}, Start: client.FromAll(),
				Deliver: client.Deliver{Subject: "to." + name},
			})
		}
	}
	subscribe(10)
	e.Publish("e.one.made", "{}")
	for _, r := range recorders {
		r.AwaitCount(1)
	}
	begin := time.Now()
	subscribe(5) // the fake ones are known by now
	for _, r := range recorders {
		r.AwaitCount(1)
	}
	t.Logf("pools of later subscriptions were served after %v", time.Since(begin))
}
