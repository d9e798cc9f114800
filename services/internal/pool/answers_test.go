package pool_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Outcomes of a delivery, after its answer.
const (
	isFinished = "finished"
	isTried    = "tried again"
	isParked   = "parked"
	isWaiting  = "still waited for"
)

func outcome(b *bed) string {
	st := b.Status()
	switch {
	case st.Finished == 1:
		return isFinished
	case st.Parking == 1:
		return isParked
	case st.Retrying == 1:
		return isTried
	case st.InFlight == 1:
		return isWaiting
	}
	return "nothing of these"
}

func TestAnswer_DecidesWhatBecomesOfTheEvent(t *testing.T) {
	const receipt, refusal = `{"stream":"T","seq":7}`, `{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"T","seq":0}`
	failed := nats.Header{"Nats-Service-Error": {"no stock"}, "Nats-Service-Error-Code": {"500"}}
	for _, tt := range []struct {
		name     string
		deliver  wire.Deliver
		body     string
		header   nats.Header
		want     string
		captured uint64
	}{
		{"any text", wire.Deliver{}, "ok", nil, isFinished, 0},
		{"a refusal in the subscriber's own words", wire.Deliver{}, "-ERR no", nil, isTried, 0},
		{"a service's error", wire.Deliver{}, "", failed, isTried, 0},
		{"a receipt of a stream that is not the target", wire.Deliver{}, receipt, nil, isWaiting, 1},
		{"its refusal", wire.Deliver{}, refusal, nil, isWaiting, 1},
		{"empty where only +ACK counts", wire.Deliver{Ack: wire.AckExplicit}, "", nil, isWaiting, 0},
		{"text where only +ACK counts", wire.Deliver{Ack: wire.AckExplicit}, "ok", nil, isWaiting, 0},
		{"+ACK where only it counts", wire.Deliver{Ack: wire.AckExplicit}, "+ACK", nil, isFinished, 0},
		{"a refusal where only +ACK counts", wire.Deliver{Ack: wire.AckExplicit}, "-NAK", nil, isTried, 0},
		{"a service's error where only +ACK counts", wire.Deliver{Ack: wire.AckExplicit}, "", failed, isTried, 0},
		{"+TERM where only +ACK counts", wire.Deliver{Ack: wire.AckExplicit}, "+TERM no", nil, isParked, 0},
		{"the target's receipt", wire.Deliver{Stream: "T"}, receipt, nil, isFinished, 0},
		{"the target's refusal", wire.Deliver{Stream: "T"}, refusal, nil, isTried, 0},
		{"another stream's receipt", wire.Deliver{Stream: "T"}, `{"stream":"U","seq":7}`, nil, isWaiting, 1},
		{"a subscriber's ack beside the target", wire.Deliver{Stream: "T"}, "+ACK", nil, isWaiting, 0},
		{"a subscriber's refusal beside the target", wire.Deliver{Stream: "T"}, "-NAK", nil, isWaiting, 0},
		{"a subscriber's +TERM beside the target", wire.Deliver{Stream: "T"}, "+TERM", nil, isWaiting, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec()
			s.Deliver.Ack, s.Deliver.Stream = tt.deliver.Ack, tt.deliver.Stream
			withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
				b.offer(1, "a.x")
				settled := b.Answer(b.one("1/1").token, []byte(tt.body), tt.header)
				if got := outcome(b); got != tt.want || settled != (tt.want == isFinished || tt.want == isParked) {
					t.Errorf("the event is %s, settled %v; want %s", got, settled, tt.want)
				}
				if st := b.Status(); st.Captured != tt.captured || (st.HeardAt != nil) != (tt.want != isWaiting) {
					t.Errorf("captured %d, want %d; heard at %v", st.Captured, tt.captured, st.HeardAt)
				}
			})
		})
	}
}

func TestAnswer_OfWhoeverIsNotTheTargetDoesNotSettleAFinishedEvent(t *testing.T) {
	withPool(t, config{spec: spec()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x")
		d := b.one("1/1")
		b.answer(d, "")
		if b.answer(d, `{"stream":"T","seq":7}`) {
			t.Error("a stream's receipt was taken for the subscriber's question whether it was heard")
		}
	})
}

func TestAnswer_TheTextOfTheLastFailureIsInTheReason(t *testing.T) {
	s := spec()
	s.Retry.MaxAttempts = 1
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x")
		ds := b.wantSent("1/1", "2/1")
		b.Answer(ds[0].token, nil, nats.Header{"Nats-Service-Error": {"no stock"}})
		b.answer(ds[1], "+TERM "+strings.Repeat("x", 1<<20))
		if got := b.park.got[0].Reason; got != "answered with an error: no stock, attempt 1 of 1" {
			t.Errorf("reason %q", got)
		}
		if got := len(b.park.got[1].Reason); got > wire.MaxAnswerReason+100 {
			t.Errorf("a reason of a megabyte was kept: %d bytes", got)
		}
	})
}

func TestAnswer_AdvisoriesStaySmallWhateverTheEventIs(t *testing.T) {
	s := spec()
	s.OrderBy = wire.OrderBy{Kind: wire.OrderHeader, Header: "ce-type"}
	s.Retry.MaxAttempts, s.OnExhausted = 1, wire.ExhaustedBlock
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		told := map[string]int{}
		b.notify = func(what string, data map[string]any) {
			for _, v := range data {
				if text, ok := v.(string); ok {
					told[what] = max(told[what], len(text))
				}
			}
		}
		b.Offer(makeEvent(1, "a.x", nats.Header{"ce-type": {strings.Repeat("ä", 30_000)}}, 0))
		b.Flush()
		b.answer(b.one("1/1"), "-NAK")
		after(2 * time.Second)
		b.answer(b.one("1/2"), "+TERM")
		b.park.store()
		for _, what := range []string{wire.AdvPoolBlocked, wire.AdvEventParked} {
			if n := told[what]; n == 0 || n > 300 {
				t.Errorf("%s repeats %d bytes of the event", what, n)
			}
		}
	})
}

func TestDelivery_ToAStreamHasAnIdByWhichRepeatsAreKnown(t *testing.T) {
	s := spec()
	s.Deliver.Stream = "T"
	withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
		b.Offer(makeEvent(1, "a.x", nats.Header{"Nats-Msg-Id": {"of the store"}, "Nats-Expected-Stream": {"S"}}, 0))
		b.Flush()
		h := b.one("1/1").msg.Header
		if h.Get("Nats-Msg-Id") != "S:1:triage" || len(h["Nats-Msg-Id"]) != 1 || h.Get("Nats-Expected-Stream") != "" {
			t.Errorf("headers %v", h)
		}
	})
}
