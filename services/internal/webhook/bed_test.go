package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
)

const patience = 10 * time.Second

// bed is a sender that runs.
type bed struct {
	*testing.T
	*Sender
	log *lines
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a sender until the test ends. What is not set in c is as in
// production, but that loopback may be called.
func start(t *testing.T, c Config) *bed {
	t.Helper()
	if c.Allow == nil {
		c.Allow = []string{"127.0.0.0/8"}
	}
	if c.PerHost == 0 {
		c.PerHost = 64
	}
	log := &lines{}
	s, err := New(c, zerolog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &bed{t, s, log}
}

// target is one as a subscription "hook" with defaults has it.
func (b *bed) target(url string, change ...func(*Destination)) *Target {
	b.Helper()
	d := Destination{
		Name: "hook", Epoch: 7, AckWait: 30 * time.Second,
		HTTP: &wire.HTTP{URL: url, Method: http.MethodPost, Timeout: wire.Duration(patience)},
		Gone: func(why string) { b.Errorf("gone: %s", why) },
	}
	for _, f := range change {
		f(&d)
	}
	t, err := b.Sender.Target(d)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(t.Close)
	return t
}

func within(d time.Duration) func(*Destination) {
	return func(to *Destination) { to.HTTP.Timeout = wire.Duration(d) }
}

// outcome sends an event and waits for the answer.
func (b *bed) outcome(to *Target, e *event.Event) wire.Answer {
	b.Helper()
	got := make(chan wire.Answer, 2)
	if err := to.Send(pool.Sent{Event: e, Attempt: 1, Answer: func(a wire.Answer) { got <- a }}); err != nil {
		b.Fatal(err)
	}
	select {
	case a := <-got:
		return a
	case <-time.After(patience):
		b.Fatal("no answer")
		return wire.Answer{}
	}
}

// serve runs a server until the test ends.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

type stored struct {
	subject string
	header  nats.Header
	data    string
}

var storedAt = time.Date(2026, 11, 23, 10, 20, 30, 123456789, time.UTC)

// made is an event at sequence 42 of GITHUB.
func made(m stored) *event.Event {
	e := event.New("GITHUB", selector.Message{Sequence: 42, Time: storedAt, Subject: m.subject, Header: m.header, Data: []byte(m.data)})
	e.Matched()
	return e
}

// plain is an event of no importance.
func plain() *event.Event { return made(stored{"github.a.opened", nil, `{"n":1}`}) }

// secrets is a Secrets by name.
type secrets map[string][]string

func (s secrets) Words(name string) ([]string, error) {
	if words, ok := s[name]; ok {
		return words, nil
	}
	return nil, fmt.Errorf("secret %q: %w", name, errors.ErrUnsupported)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not so after %s", what, patience)
		}
	}
}

// canned is a transport that answers with a status.
type canned int

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: int(c), Body: http.NoBody}, nil
}

func kind(a wire.Answer) string {
	return map[wire.AnswerKind]string{wire.AnswerAck: "ACK", wire.AnswerNak: "NAK", wire.AnswerWPI: "WPI", wire.AnswerTerm: "TERM"}[a.Kind]
}
