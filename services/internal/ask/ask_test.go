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
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
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
		want, target core.Who // without a target, and where stream A is
	}{
		{"nobody", known(0), core.Nobody, core.Nobody},
		{"a subscription", known(1), core.Somebody, core.Somebody},
		{"a stream alone", known(0, "A"), core.Nobody, core.Somebody},
		{"another stream alone", known(0, "B"), core.Nobody, core.Nobody},
		{"both", known(1, "A"), core.Somebody, core.Somebody},
		{"not told", silent, core.Unknown, core.Unknown},
		{"a stream, and not told what else", half, core.Unknown, core.Somebody},
		{"nothing", presence.Listeners{}, core.Unknown, core.Unknown},
	} {
		for target, want := range map[string]core.Who{"": tt.want, "A": tt.target} {
			got := judge(tt.l, target)
			if got.Who != want || (got.Why == "") != (want == core.Somebody || len(tt.l.Streams) == 0 && want == core.Nobody) {
				t.Errorf("%s, target %q: %+v, want %d", tt.name, target, got, want)
			}
		}
	}
}

func TestAsk_TwoLooksSaySomebodyOnlyIfTheyAgree(t *testing.T) {
	t.Parallel()
	for _, before := range []core.Who{core.Unknown, core.Nobody, core.Somebody} {
		for _, behind := range []core.Who{core.Unknown, core.Nobody, core.Somebody} {
			want := core.Unknown
			switch {
			case before == core.Nobody || behind == core.Nobody:
				want = core.Nobody
			case before == core.Somebody && behind == core.Somebody:
				want = core.Somebody
			}
			if got := both(core.Told{Who: before}, core.Told{Who: behind}); got.Who != want {
				t.Errorf("%d, then %d: %d, want %d", before, behind, got.Who, want)
			}
		}
	}
}

// running is an asker on a server of its own, and what one question brings.
func running(t *testing.T) (srv *natstest.Server, nc *nats.Conn, ask func(subject string, target string) (told core.Told, sent bool)) {
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
	return srv, nc, func(subject string, target string) (told core.Told, sent bool) {
		answer := make(chan core.Told, 1)
		q := pool.Question{Subject: subject, Target: target, Told: func(t core.Told) { answer <- t }, Send: func() {
			sent = true
			if err := nc.Publish(subject, []byte("x")); err != nil {
				t.Error(err)
			}
		}}
		if !a.Add(q) {
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
		want    core.Who
	}{
		{"nowhere", "", core.Nobody},
		{"here", "", core.Somebody},
		{"audit.x", "", core.Nobody},
		{"audit.x", "AUDIT", core.Somebody},
	} {
		if told, sent := ask(tt.subject, tt.target); told.Who != tt.want || sent != (tt.want == core.Somebody) {
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
		sent, told := 0, []core.Told{}
		q := pool.Question{Subject: "x", Send: func() { sent++ }, Told: func(t core.Told) { told = append(told, t) }}
		look := pool.Question{Subject: "x", Told: q.Told}
		a.answer(t.Context(), []pool.Question{q, look})
		a.sendAround(t.Context(), []pool.Question{q})
		if sent != 1 || len(told) != 3 || told[0].Who != core.Unknown || told[1].Who != core.Unknown || told[2].Who != core.Unknown {
			t.Errorf("%v: sent %d, told %+v", err, sent, told)
		}
	}
}
