package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
)

const ns = wire.DefaultNamespace

// env is a server, a registry on it, and a user of it.
type env struct {
	tb  testing.TB
	url string
	nc  *nats.Conn
	js  jetstream.JetStream
	// answerWithin is how long requests may take where the test is not about
	// that: on a starved machine a server that is there may be slow. 0 is as
	// users have it.
	answerWithin time.Duration
}

var defaultConfig = Config{MaxRequestBytes: 65536, MaxSubscriptions: 100_000, MaxRequestsPerSecond: 100_000}

func newEnv(tb testing.TB, tune ...func(*Config)) *env {
	tb.Helper()
	e := newEnvWithoutRegistry(tb)
	cfg := defaultConfig
	for _, f := range tune {
		f(&cfg)
	}
	e.start(cfg)
	return e
}

func newEnvWithoutRegistry(tb testing.TB) *env {
	tb.Helper()
	srv := natstest.Start(tb)
	e := &env{tb: tb, url: srv.URL(), nc: srv.Conn(), js: srv.JetStream(), answerWithin: 20 * time.Second}
	e.store("ORDERS", "orders.>")
	return e
}

// start runs a registry until the test ends or the returned stop is called.
func (e *env) start(cfg Config, tune ...func(*Service)) (*Service, func()) {
	e.tb.Helper()
	common, err := service.ParseCommon(service.Env{"NATS_URL": e.url})
	if err != nil {
		e.tb.Fatalf("common: %v", err)
	}
	d := service.Discard(common)
	s, err := New(cfg, d)
	if err != nil {
		e.tb.Fatalf("New: %v", err)
	}
	s.answerWithin = cmp.Or(e.answerWithin, s.answerWithin)
	for _, f := range tune {
		f(s)
	}
	stop := natstest.Run(e.tb, s.Run)
	natstest.Await(e.tb, "the registry to answer", func() error {
		msg, err := e.nc.Request(ns.API(wire.VerbGet, "nobody"), nil, time.Second)
		if err != nil {
			return err
		}
		if code := errCode(msg); code != wire.CodeNoSubscription && (code != wire.CodeUnavailable || e.answerWithin != 0) {
			return fmt.Errorf("err_code %d", code)
		}
		return nil
	})
	return s, stop
}

func (e *env) store(name string, subjects ...string) {
	e.tb.Helper()
	_, err := e.js.CreateStream(e.tb.Context(), jetstream.StreamConfig{Name: name, Subjects: subjects})
	if err != nil {
		e.tb.Fatalf("create stream %s: %v", name, err)
	}
}

func (e *env) publish(subject string, n int) {
	e.tb.Helper()
	for range n {
		if _, err := e.js.Publish(e.tb.Context(), subject, []byte("{}")); err != nil {
			e.tb.Fatalf("publish %s: %v", subject, err)
		}
	}
}

// ask sends a request as a user would and returns the raw answer.
func (e *env) ask(verb, name, body string) *nats.Msg {
	e.tb.Helper()
	msg, err := e.nc.Request(subject(verb, name), []byte(body), 30*time.Second)
	if err != nil {
		e.tb.Fatalf("%s %s: %v", verb, name, err)
	}
	return msg
}

func subject(verb, name string) string {
	if name == "" {
		return ns.API(verb)
	}
	return ns.API(verb, name)
}

// ok sends a request that must succeed and decodes its answer.
func ok[T any](e *env, verb, name, body string) T {
	e.tb.Helper()
	msg := e.ask(verb, name, body)
	var head wire.Head
	var answer T
	if err := errors.Join(json.Unmarshal(msg.Data, &head), json.Unmarshal(msg.Data, &answer)); err != nil {
		e.tb.Fatalf("%s %s: answer %s: %v", verb, name, msg.Data, err)
	}
	if head.Error != nil || len(msg.Header) > 0 {
		e.tb.Fatalf("%s %s %s: refused: %s (headers %v)", verb, name, body, msg.Data, msg.Header)
	}
	if want := wire.ResponseType(verb); head.Type != want {
		e.tb.Fatalf("%s: type = %q, want %q", verb, head.Type, want)
	}
	return answer
}

// refused sends a request that must fail with code, and checks that body and
// headers agree.
func (e *env) refused(verb, name, body string, code wire.ErrCode) *wire.Error {
	e.tb.Helper()
	return e.checkRefusal(verb, e.ask(verb, name, body), code)
}

func (e *env) checkRefusal(verb string, msg *nats.Msg, code wire.ErrCode) *wire.Error {
	e.tb.Helper()
	var head wire.Head
	if err := json.Unmarshal(msg.Data, &head); err != nil {
		e.tb.Fatalf("%s: answer %s: %v", verb, msg.Data, err)
	}
	switch {
	case head.Error == nil:
		e.tb.Fatalf("%s: succeeded with %s, want err_code %d", verb, msg.Data, code)
	case head.Error.ErrCode != code || head.Error.Code != code.Status():
		e.tb.Fatalf("%s: refused with %s, want err_code %d and code %d", verb, msg.Data, code, code.Status())
	case head.Type != wire.ResponseType(verb):
		e.tb.Fatalf("%s: type = %q, want %q", verb, head.Type, wire.ResponseType(verb))
	case msg.Header.Get(wire.HeaderServiceErrorCode) != strconv.Itoa(head.Error.Code):
		e.tb.Fatalf("%s: headers %v, want code %d", verb, msg.Header, head.Error.Code)
	case msg.Header.Get(wire.HeaderServiceError) == "" || head.Error.Description == "":
		e.tb.Fatalf("%s: no description in %s or %v", verb, msg.Data, msg.Header)
	}
	return head.Error
}

func errCode(msg *nats.Msg) wire.ErrCode {
	var head wire.Head
	if json.Unmarshal(msg.Data, &head) != nil || head.Error == nil {
		return 0
	}
	return head.Error.ErrCode
}

// body is a subscription on ORDERS with more members, e.g. `"start": "all"`.
func body(more ...string) string {
	all := append([]string{`"store":"ORDERS"`, `"selector":{"by_stream":"orders.>"}`, `"deliver":{"subject":"work.orders"}`}, more...)
	return "{" + strings.Join(all, ",") + "}"
}

func (e *env) subscribe(name, body string) wire.SubscribeResponse {
	e.tb.Helper()
	return ok[wire.SubscribeResponse](e, wire.VerbSubscribe, name, body)
}

func (e *env) bucket(name string) bucket.KeyValue {
	e.tb.Helper()
	kv, err := bucket.Open(e.tb.Context(), e.js, name, feed.Owner{})
	if err != nil {
		e.tb.Fatalf("bucket %s: %v", name, err)
	}
	return kv
}

// advisories collects what is said on the advisory subjects from now on.
func (e *env) advisories() func(what, name string) wire.Advisory {
	e.tb.Helper()
	sub, err := e.nc.SubscribeSync(ns.Advisories())
	if err != nil {
		e.tb.Fatalf("subscribe: %v", err)
	}
	if err := e.nc.Flush(); err != nil {
		e.tb.Fatalf("flush: %v", err)
	}
	return func(what, name string) wire.Advisory {
		e.tb.Helper()
		for {
			msg, err := sub.NextMsg(5 * time.Second)
			if err != nil {
				e.tb.Fatalf("waiting for advisory %s of %s: %v", what, name, err)
			}
			var a wire.Advisory
			if err := json.Unmarshal(msg.Data, &a); err != nil {
				e.tb.Fatalf("advisory %s: %v", msg.Data, err)
			}
			if a.Type == wire.AdvisoryType(what) && a.Name == name {
				if msg.Subject != ns.Advisory(what, name) {
					e.tb.Errorf("advisory on %s, want %s", msg.Subject, ns.Advisory(what, name))
				}
				return a
			}
		}
	}
}

// syncBuffer is a log that a test may read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
