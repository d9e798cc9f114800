package pool_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// target keeps what it is sent.
type target struct {
	mu     sync.Mutex
	sent   []pool.Sent
	err    error
	closed bool
}

func (t *target) Send(s pool.Sent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	t.sent = append(t.sent, s)
	return nil
}

func (t *target) Close() { t.closed = true }

// refuse has the target take nothing, or with nil anything.
func (t *target) refuse(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// next returns what has come since the last call.
func (t *target) next() []pool.Sent {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent := t.sent
	t.sent = nil
	return sent
}

// to is a spec whose events go to a target.
func to() wire.Spec {
	s := spec()
	s.Deliver = wire.Deliver{HTTP: &wire.HTTP{URL: "http://h"}, Mode: wire.ModeAck}
	return s
}

func TestATargetGetsTheDeliveriesAndItsAnswersCount(t *testing.T) {
	tg := &target{}
	withPool(t, config{spec: to(), target: tg}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "a.x", "b.x", "c.x")
		sent := tg.next()
		if len(sent) != 3 || sent[0].Event.Sequence != 1 || sent[1].Event.Sequence != 3 || sent[0].Attempt != 1 {
			t.Fatalf("sent %+v", sent)
		}
		sent[0].Answer(wire.Answer{Kind: wire.AnswerAck})
		sent[1].Answer(wire.Answer{Kind: wire.AnswerNak, Delay: time.Minute, Reason: "answered 503"})
		sent[2].Answer(wire.Answer{Kind: wire.AnswerTerm, Reason: "no"})
		if len(b.park.got) != 1 || !strings.Contains(b.park.got[0].Reason, "no") {
			t.Errorf("parked %+v", b.park.got)
		}
		b.park.got[0].Done(nil)
		two := tg.next() // the next of its lane
		if len(two) != 1 || two[0].Event.Sequence != 2 {
			t.Fatalf("sent %+v", two)
		}
		after(25 * time.Second)
		two[0].Answer(wire.Answer{Kind: wire.AnswerWPI})
		after(25 * time.Second)
		if sent := tg.next(); len(sent) > 0 {
			t.Fatalf("sent %+v although more time was asked for", sent)
		}
		two[0].Answer(wire.Answer{Kind: wire.AnswerAck})
		after(10 * time.Second) // a minute since the nak
		again := tg.next()
		if len(again) != 1 || again[0].Event.Sequence != 3 || again[0].Attempt != 2 {
			t.Fatalf("sent %+v", again)
		}
		again[0].Answer(wire.Answer{Kind: wire.AnswerAck})
		again[0].Answer(wire.Answer{Kind: wire.AnswerAck})
		if st := b.Status(); st.Finished != 3 || st.Pending != 0 {
			t.Errorf("%+v", st)
		}
		if b.ask.n > 0 {
			t.Error("it was asked who listens on no subject")
		}
	})
	if !tg.closed {
		t.Error("the target is not closed with its pool")
	}
}

func TestWhatATargetDoesNotTakeIsSentAgainAndALostConnectionIsNothingToIt(t *testing.T) {
	tg := &target{}
	tg.refuse(errors.New("not now"))
	withPool(t, config{spec: to(), target: tg}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		tg.refuse(nil)
		after(time.Second)
		sent := tg.next()
		if len(sent) != 1 || sent[0].Attempt != 1 {
			t.Fatalf("sent %+v", sent)
		}
		b.ConnectionLost()
		b.ConnectionBack()
		if sent := tg.next(); len(sent) > 0 {
			t.Errorf("sent %+v", sent)
		}
		sent[0].Answer(wire.Answer{Kind: wire.AnswerAck})
		b.wantAllFinished()
	})
}

func TestAPoolWhoseEventsGoToAURLNeedsATarget(t *testing.T) {
	t.Parallel()
	cfg := pool.Config{Config: core.Config{Record: &wire.Record{Name: "n", Spec: to()}}}
	if _, err := pool.New(cfg); err == nil || !strings.Contains(err.Error(), "deliver.http") {
		t.Error(err)
	}
}
