package client_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup is a client on a server of its own and a second connection, on which
// the test plays the services.
func setup(t *testing.T, opts ...client.Option) (*client.Client, *nats.Conn) {
	t.Helper()
	srv := natstest.Start(t)
	c, err := client.New(srv.Conn(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c, srv.Conn()
}

// serve answers every request on subject with what answer returns.
func serve(t *testing.T, nc *nats.Conn, subject string, answer func(*nats.Msg) string) {
	t.Helper()
	_, err := nc.Subscribe(subject, func(msg *nats.Msg) {
		if err := msg.Respond([]byte(answer(msg))); err != nil {
			t.Errorf("answer on %q: %v", msg.Subject, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
}

func flush(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// emitter plays the emitter: it sends deliveries and collects the answers.
type emitter struct {
	t       *testing.T
	nc      *nats.Conn
	answers *nats.Subscription
}

const target = "triage.issues"

func newEmitter(t *testing.T, nc *nats.Conn) *emitter {
	t.Helper()
	sub, err := nc.SubscribeSync("_INBOX.answers.*")
	if err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	return &emitter{t: t, nc: nc, answers: sub}
}

// send delivers the event of sequence seq under an epoch; the answer is
// expected on the subject _INBOX.answers.<seq>.
func (e *emitter) send(seq, epoch uint64, more ...string) {
	e.t.Helper()
	msg := nats.NewMsg(target)
	msg.Reply = fmt.Sprintf("_INBOX.answers.%d", seq)
	msg.Data = fmt.Appendf(nil, `{"n":%d}`, seq)
	msg.Header = nats.Header{
		wire.HeaderSubscription: {"triage"},
		wire.HeaderStore:        {"GITHUB"},
		wire.HeaderSequence:     {strconv.FormatUint(seq, 10)},
		wire.HeaderSubject:      {"github.a.b"},
		wire.HeaderTime:         {"2026-11-23T10:20:30.123456789Z"},
		wire.HeaderAttempt:      {"2"},
		wire.HeaderEpoch:        {strconv.FormatUint(epoch, 10)},
		"ce-type":               {"issues.opened"},
	}
	for i := 0; i+1 < len(more); i += 2 {
		msg.Header.Set(more[i], more[i+1])
	}
	if err := e.nc.PublishMsg(msg); err != nil {
		e.t.Fatal(err)
	}
}

// answer returns the next answer and the sequence that it is for.
func (e *emitter) answer() (seq uint64, body string) {
	e.t.Helper()
	msg, err := e.answers.NextMsg(10 * time.Second)
	if err != nil {
		e.t.Fatalf("waiting for an answer: %v", err)
	}
	if _, err := fmt.Sscanf(msg.Subject, "_INBOX.answers.%d", &seq); err != nil {
		e.t.Fatal(err)
	}
	return seq, string(msg.Data)
}

// none fails if there is an answer that has not been looked at. The answerer
// has flushed what it sent.
func (e *emitter) none() {
	e.t.Helper()
	flush(e.t, e.nc)
	if n, _, err := e.answers.Pending(); err != nil || n > 0 {
		msg, _ := e.answers.NextMsg(time.Second)
		e.t.Fatalf("%d answers too many, the first %v (%v)", n, msg, err)
	}
}
