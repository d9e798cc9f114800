package ask

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/presence"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAsk_JudgesByWhatTheServersTell(t *testing.T) {
	t.Parallel()
	known := func(subscriptions int, streams ...string) presence.Listeners {
		return presence.Listeners{Known: true, Subscriptions: subscriptions, Streams: streams}
	}
	silent := presence.Listeners{Reason: "a server is silent"}
	half := presence.Listeners{Streams: []string{"A"}, Reason: "a server is silent"}
	for _, tt := range []struct {
		name         string
		l            presence.Listeners
		want, target pool.Who // without a target, and where stream A is
	}{
		{"nobody", known(0), pool.Nobody, pool.Nobody},
		{"a subscription", known(1), pool.Somebody, pool.Somebody},
		{"a stream alone", known(0, "A"), pool.Nobody, pool.Somebody},
		{"another stream alone", known(0, "B"), pool.Nobody, pool.Nobody},
		{"both", known(1, "A"), pool.Somebody, pool.Somebody},
		{"not told", silent, pool.Unknown, pool.Unknown},
		{"a stream, and not told what else", half, pool.Unknown, pool.Somebody},
		{"nothing", presence.Listeners{}, pool.Unknown, pool.Unknown},
	} {
		for target, want := range map[string]pool.Who{"": tt.want, "A": tt.target} {
			got := judge(tt.l, target)
			if got.Who != want || (got.Why == "") != (want == pool.Somebody || len(tt.l.Streams) == 0 && want == pool.Nobody) {
				t.Errorf("%s, target %q: %+v, want %d", tt.name, target, got, want)
			}
		}
	}
}

func TestAsk_TwoLooksSaySomebodyOnlyIfTheyAgree(t *testing.T) {
	t.Parallel()
	for _, before := range []pool.Who{pool.Unknown, pool.Nobody, pool.Somebody} {
		for _, behind := range []pool.Who{pool.Unknown, pool.Nobody, pool.Somebody} {
			want := pool.Unknown
			switch {
			case before == pool.Nobody || behind == pool.Nobody:
				want = pool.Nobody
			case before == pool.Somebody && behind == pool.Somebody:
				want = pool.Somebody
			}
			if got := both(pool.Told{Who: before}, pool.Told{Who: behind}); got.Who != want {
				t.Errorf("%d, then %d: %d, want %d", before, behind, got.Who, want)
			}
		}
	}
}

// running is an asker on a server of its own, and what one question brings.
func running(t *testing.T) (srv *natstest.Server, nc *nats.Conn, ask func(subject string, target string) (told pool.Told, sent bool)) {
	t.Helper()
	srv = natstest.Start(t)
	nc = srv.Conn()
	a := New(presence.New(nc, func(string) bool { return false }, 2*time.Second), zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return srv, nc, func(subject string, target string) (told pool.Told, sent bool) {
		answer := make(chan pool.Told, 1)
		q := pool.Question{Subject: subject, Target: target, Told: func(t pool.Told) { answer <- t }, Send: func() {
			sent = true
			if err := nc.Publish(subject, []byte("x")); err != nil {
				t.Error(err)
			}
		}}
		if !a.Ask(q) {
			t.Fatal("no room")
		}
		return <-answer, sent
	}
}

func TestAsk_SendsOnlyWhereSomebodyListens(t *testing.T) {
	t.Parallel()
	srv, _, ask := running(t)
	s, err := srv.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"audit.>"}})
	if err != nil {
		t.Fatal(err)
	}
	user := srv.Conn()
	sub, err := user.SubscribeSync("here")
	if err == nil {
		err = user.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		subject string
		target  string
		want    pool.Who
	}{
		{"nowhere", "", pool.Nobody},
		{"here", "", pool.Somebody},
		{"audit.x", "", pool.Nobody},
		{"audit.x", "AUDIT", pool.Somebody},
	} {
		if told, sent := ask(tt.subject, tt.target); told.Who != tt.want || sent != (tt.want == pool.Somebody) {
			t.Errorf("%s, target %q: %+v, sent %v", tt.subject, tt.target, told, sent)
		}
	}
	if _, err := sub.NextMsg(5 * time.Second); err != nil {
		t.Error(err)
	}
	if n, _, err := sub.Pending(); err != nil || n != 0 {
		t.Errorf("%d more messages, %v", n, err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("the stream holds %+v (%v), want the one message that was for it", info, err)
	}
}

// silent is a prober that learns nothing.
type silent struct{ err error }

func (s silent) Probe(context.Context, []string) (map[string]presence.Listeners, error) {
	return nil, s.err
}

func (s silent) Around(context.Context, []presence.Sending) ([][2]presence.Listeners, error) {
	return nil, s.err
}

func TestAsk_WhatCannotBeAskedIsNotKnownAndIsSent(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, errors.New("no connection")} {
		a := New(silent{err}, zerolog.Nop())
		sent, told := 0, []pool.Told{}
		q := pool.Question{Subject: "x", Send: func() { sent++ }, Told: func(t pool.Told) { told = append(told, t) }}
		look := pool.Question{Subject: "x", Told: q.Told}
		a.answer(t.Context(), []pool.Question{q, look})
		a.sendAround(t.Context(), []pool.Question{q})
		if sent != 1 || len(told) != 3 || told[0].Who != pool.Unknown || told[1].Who != pool.Unknown || told[2].Who != pool.Unknown {
			t.Errorf("%v: sent %d, told %+v", err, sent, told)
		}
	}
}
