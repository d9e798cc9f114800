package feed

import (
	"cmp"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestAPlaceIsReadFromAReplySubject(t *testing.T) {
	t.Parallel()
	want := place{stream: "S", consumer: "c", sequence: 7, number: 3, at: time.Unix(0, 1700000000000000009), pending: 2}
	for _, tt := range []struct {
		reply string
		ok    bool
	}{
		{"$JS.ACK.S.c.1.7.3.1700000000000000009.2", true},
		{"$JS.ACK._.HASH.S.c.1.7.3.1700000000000000009.2", true},
		{"$JS.ACK.hub.HASH.S.c.1.7.3.1700000000000000009.2.random", true},
		{"$JS.ACK.hub.HASH.S.c.1.7.3.1700000000000000009.2.random.more", true},
		{"", false},
		{"_INBOX.x", false},
		{"$JS.ACK.", false},
		{"$JS.ACK.S.c", false},
		{"$JS.ACK.hub.S.c.1.7.3.1700000000000000009.2", false}, // ten tokens are neither
		{"$JS.ACK.S.c.1.7.3.1700000000000000009.", false},
		{"$JS.ACK.S.c.1.-7.3.1700000000000000009.2", false},
		{"$JS.ACK.S.c.1.7.x.1700000000000000009.2", false},
		{"$JS.ACK.S.c.1.18446744073709551616.3.1700000000000000009.2", false},
		{"$JS.ACK.S.c.1.000000000000000000007.3.1700000000000000009.2", false},
		{"$js.ack.S.c.1.7.3.1700000000000000009.2", false},
	} {
		got, ok := parse(tt.reply)
		if ok != tt.ok || ok && got != want {
			t.Errorf("parse(%q) = %+v, %v; want %v", tt.reply, got, ok, tt.ok)
		}
	}
	if n, ok := number("18446744073709551615"); !ok || n != 1<<64-1 {
		t.Errorf("the largest number is read as %d, %v", n, ok)
	}
}

// newTestSession is a session that has a request out.
func newTestSession(handle func(Msg)) *session {
	f := New(nil, Config{Stream: "S"})
	f.handle = handle
	return &session{feed: f, name: "c", inbox: "_INBOX.x.m", left: 10, batch: 10, tick: time.NewTicker(time.Hour)}
}

func TestWordsOfTheServerAreObeyed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, status, why string
		to, pending       string
		ends              bool
		left              int
		alone             bool
	}{
		{name: "heartbeat", status: "100", why: "Idle Heartbeat", left: 10},
		{name: "timeout", status: "408", why: "Request Timeout", pending: "10"},
		{name: "timeout of an earlier request", status: "408", why: "Request Timeout", pending: "3", left: 7},
		{name: "no messages", status: "404", why: "No Messages"},
		{name: "batch completed", status: "409", why: "Batch Completed", pending: "0", left: 10},
		{name: "message too large for what is left", status: "409", why: "Message Size Exceeds MaxBytes", pending: "4", left: 6},
		{name: "message too large for a request", status: "409", why: "Message Size Exceeds MaxBytes", pending: "10", alone: true},
		{name: "more than was asked for", status: "408", why: "Request Timeout", pending: "11"},
		{name: "no number", status: "408", why: "Request Timeout", pending: "-1"},
		{name: "consumer deleted", status: "409", why: "Consumer Deleted", ends: true},
		{name: "leader changed", status: "409", why: "Leadership Change", ends: true},
		{name: "server stops", status: "409", why: "Server Shutdown", ends: true},
		{name: "push consumer", status: "409", why: "Consumer is push based", ends: true},
		{name: "nobody there", status: "503", ends: true},
		{name: "bad request", status: "400", why: "Bad Request", ends: true},
		{name: "pinned", status: "423", why: "Nats-Wrong-Pin-Id", ends: true},
		{name: "something new", status: "599", ends: true},
		{name: "no status", left: 10},
		{name: "no messages for a probe", status: "404", why: "No Messages", to: "_INBOX.x.p", left: 10},
		{name: "nobody there for a probe", status: "503", to: "_INBOX.x.p", ends: true},
		{name: "the server that was left stops", status: "409", why: "Server Shutdown", to: "_INBOX.w.m", left: 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTestSession(func(m Msg) { t.Errorf("handed over: %+v", m) })
			h := nats.Header{}
			if tt.status != "" {
				h = nats.Header{"Status": {tt.status}, "Description": {tt.why}}
			}
			if tt.pending != "" {
				h.Set("Nats-Pending-Messages", tt.pending)
			}
			err := s.take(&nats.Msg{Subject: cmp.Or(tt.to, "_INBOX.x.m"), Header: h})
			if ends := err != nil; ends != tt.ends {
				t.Errorf("take = %v, want an end: %v", err, tt.ends)
			}
			if tt.ends && !strings.Contains(err.Error(), tt.status+" "+tt.why) {
				t.Errorf("take = %v, which does not say %q", err, tt.why)
			}
			if !tt.ends && (s.left != tt.left || s.alone != tt.alone) {
				t.Errorf("%d left, next message alone %v; want %d, %v", s.left, s.alone, tt.left, tt.alone)
			}
		})
	}
}

func TestOnlyTheNextMessageOfTheConsumerIsTaken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reply string
		taken, ends bool
	}{
		{"the next", "$JS.ACK.S.c.1.9.1.1.0", true, false},
		{"one was left out", "$JS.ACK.S.c.1.9.2.1.0", false, true},
		{"of another consumer", "$JS.ACK.S.d.1.9.1.1.0", false, false},
		{"of another stream", "$JS.ACK.T.c.1.9.1.1.0", false, false},
		{"of a stranger", "some.reply", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			taken := false
			s := newTestSession(func(m Msg) { taken = m.Sequence == 9 })
			err := s.take(&nats.Msg{Subject: "e.1", Reply: tt.reply, Header: nats.Header{"Status": {"503"}}})
			if taken != tt.taken || (err != nil) != tt.ends {
				t.Errorf("taken %v, %v; want %v, an end: %v", taken, err, tt.taken, tt.ends)
			}
		})
	}
}

func TestASilentConsumerIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newTestSession(nil)
	s.feed.js = noConn{}
	s.msgs = make(chan *nats.Msg, 1)
	for i := range 2 * silences {
		if i%2 == 0 {
			s.live()
		}
		if err := s.listen(); err != nil {
			t.Fatalf("tick %d: %v, though the server was heard", i, err)
		}
	}
	s.msgs <- &nats.Msg{}
	for range 2 * silences {
		if err := s.listen(); err != nil {
			t.Fatalf("%v, though the handler alone is slow", err)
		}
	}
	<-s.msgs
	for i := range silences {
		if err := s.listen(); errors.Is(err, errSilent) != (i == silences-1) {
			t.Errorf("silent tick %d: %v", i+1, err)
		}
	}
}

// noConn is JetStream without a connection.
type noConn struct{ JetStream }

func (noConn) Conn() *nats.Conn { return nil }

// What feeds at rest cost the server adds up.
func TestAFeedAtRestAsksForNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	nc := b.server.Conn()
	asked, err := nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.EVENTS.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	b.run(Config{})
	if _, err := asked.NextMsg(10 * time.Second); err != nil {
		t.Fatalf("the first request: %v", err)
	}
	if m, err := asked.NextMsg(8 * heartbeat); err == nil {
		t.Errorf("it asks again, with %s, though heartbeats come", m.Data)
	}
}
