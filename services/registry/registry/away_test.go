package registry

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// switchable is a server whose JetStream can be taken away while NATS stays.
// Each switch is a restart on the same port: switching it in a running server
// is a data race in there.
type switchable struct {
	*env
	srv  *server.Server
	dir  string
	port int
}

func newSwitchable(t *testing.T) *switchable {
	t.Helper()
	s := &switchable{dir: t.TempDir(), port: server.RANDOM_PORT, env: &env{tb: t}}
	s.run(true)
	t.Cleanup(s.stop)
	nc, err := nats.Connect(s.srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s.env = &env{tb: t, url: s.srv.ClientURL(), nc: nc, js: js}
	s.store("ORDERS", "orders.>")
	return s
}

func (s *switchable) run(jetStream bool) {
	s.tb.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: s.port, JetStream: jetStream, StoreDir: s.dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(5 * time.Second) {
		s.tb.Fatal("server not ready")
	}
	s.srv = srv
	if addr, ok := srv.Addr().(*net.TCPAddr); ok {
		s.port = addr.Port
	}
}

func (s *switchable) stop() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

func (s *switchable) off() { s.stop(); s.run(false) }
func (s *switchable) on()  { s.stop(); s.run(true) }

// awaitAnswers waits until the registry is reachable, by a request for which it
// does not need JetStream.
func (s *switchable) awaitAnswers() {
	s.tb.Helper()
	natstest.Await(s.tb, "the registry to be reachable", func() error {
		_, err := s.nc.Request(ns.API(wire.VerbGet, "a"), []byte("no JSON"), time.Second)
		return err
	})
}

// everyVerb is a request of each kind.
var everyVerb = []struct{ verb, name, body string }{
	{wire.VerbSubscribe, "a", body(`"ack_wait":"9s"`)},
	{wire.VerbSubscribe, "new", body()},
	{wire.VerbUnsubscribe, "a", ""},
	{wire.VerbGet, "a", ""},
	{wire.VerbExplain, "a", `{"sequence":1}`},
	{wire.VerbList, "", ""},
	{wire.VerbPause, "a", ""},
	{wire.VerbResume, "a", ""},
	{wire.VerbSeek, "a", `{"to":"all"}`},
}

// besiege sends n requests of every verb at once; each must be refused in time.
func (s *switchable) besiege(n int) {
	s.tb.Helper()
	var wg sync.WaitGroup
	for range n {
		for _, v := range everyVerb {
			wg.Go(func() {
				began := time.Now()
				msg, err := s.nc.Request(subject(v.verb, v.name), []byte(v.body), 5*time.Second)
				took := time.Since(began)
				switch {
				case err != nil:
					s.tb.Errorf("%s: %v", v.verb, err)
				case errCode(msg) != wire.CodeUnavailable && errCode(msg) != wire.CodeTooMany:
					s.tb.Errorf("%s: %s, want err_code %d", v.verb, msg.Data, wire.CodeUnavailable)
				case took > 2*time.Second:
					s.tb.Errorf("%s: answered after %v, want 2s at most", v.verb, took)
				}
			})
		}
	}
	wg.Wait()
}

func (s *switchable) awaitBack() {
	s.tb.Helper()
	natstest.Await(s.tb, "requests to work again", func() error {
		msg, err := s.nc.Request(ns.API(wire.VerbGet, "a"), nil, 3*time.Second)
		if err == nil && errCode(msg) != 0 {
			err = fmt.Errorf("%s", msg.Data)
		}
		return err
	})
}

func TestWhileJetStreamIsAwayEveryRequestIsRefusedAndLaterItWorksAgain(t *testing.T) {
	t.Parallel()
	s := newSwitchable(t)
	reg, _ := s.start(defaultConfig)
	s.subscribe("a", body())
	for range 2 {
		s.off()
		s.awaitAnswers()
		s.besiege(20)
		natstest.Await(t, "nothing to be pending", func() error {
			if n := waiting(reg.jobs); n != 0 {
				return fmt.Errorf("%d requests are", n)
			}
			return nil
		})
		s.on()
		s.awaitBack()
	}
	if got := s.subscribe("b", body()); !got.Created {
		t.Error("not created")
	}
}

func TestWhileJetStreamIsSilentEveryRequestIsRefusedAndLaterItWorksAgain(t *testing.T) {
	t.Parallel()
	s := newSwitchable(t)
	s.start(defaultConfig)
	s.subscribe("a", body())
	s.off()
	var silent []*nats.Subscription
	for _, subject := range []string{"$JS.API.>", "$KV.>"} { // somebody listens, nobody answers
		sub, err := s.nc.Subscribe(subject, func(*nats.Msg) {})
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, sub)
	}
	s.awaitAnswers()
	s.besiege(20)
	began := time.Now()
	s.besiege(5) // by now the breaker is open
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the second wave took %v", took)
	}
	for _, sub := range silent {
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
	s.on()
	s.awaitBack()
}

func TestARegistryThatStartsWithoutJetStreamRefusesUntilItIsThere(t *testing.T) {
	t.Parallel()
	s := newSwitchable(t)
	s.off()
	reg, _ := s.start(defaultConfig)
	s.besiege(3)
	if reg.opened.Load() != nil {
		t.Fatal("stores without JetStream")
	}
	s.on()
	natstest.Await(t, "the first subscribe", func() error {
		msg, err := s.nc.Request(ns.API(wire.VerbSubscribe, "a"), []byte(body()), 3*time.Second)
		if err == nil && errCode(msg) != 0 {
			err = fmt.Errorf("%s", msg.Data)
		}
		return err
	})
}

func TestARestartedServerIsFoundAgain(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	e := &env{tb: t, url: srv.URL(), nc: srv.Conn(), js: srv.JetStream()}
	e.store("ORDERS", "orders.>")
	e.start(defaultConfig)
	first := e.subscribe("a", body()).Subscription
	srv.Stop()
	srv.Restart()
	natstest.Await(t, "requests to work again", func() error {
		msg, err := e.nc.Request(ns.API(wire.VerbGet, "a"), nil, 3*time.Second)
		if err == nil && errCode(msg) != 0 {
			err = fmt.Errorf("%s", msg.Data)
		}
		return err
	})
	if again := e.subscribe("a", body()); again.Changed || again.Subscription.Revision != first.Revision {
		t.Errorf("after the restart: %+v", again)
	}
}

// waiting returns how many jobs were taken on and have not ended.
func waiting(d *dispatcher) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pending
}
