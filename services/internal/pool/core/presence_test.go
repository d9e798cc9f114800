package core_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// TestPresence_AnAnswerToAnEarlierQuestionSaysNothing: the asker is slow, and
// the item has asked again meanwhile.
func TestPresence_AnAnswerToAnEarlierQuestionSaysNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t, spec())
		s.offer(1, "a.x", "")
		s.step(func() {})
		first := s.asking(s.sent[0])
		s.Told(s.now, first, core.Told{Who: core.Unknown}) // it was not sent
		s.now = s.now.Add(core.AskMax)
		if n := s.Send(s.now, make([]core.Delivery, 1)); n != 0 {
			t.Fatal("sent without being asked about")
		}
		second := s.Effects().Ask
		if second.Item != first.Item || second.Turn == first.Turn {
			t.Fatalf("asked %+v, then %+v", first, second)
		}
		if _, ok := s.SendAsking(s.now, first); ok {
			t.Error("sent for a question that was asked before")
		}
		s.Told(s.now, first, core.Told{Who: core.Nobody})
		if state, why := s.State(); state != "live" {
			t.Errorf("state %s (%s) by the answer to a question that was asked before", state, why)
		}
	})
}

// What asks is sent after a while: much can have become of its pool meanwhile.
func TestPresence_NothingIsSentToAskOnceNothingMayBeSent(t *testing.T) {
	t.Parallel()
	for name, shut := range map[string]func(s *sim){
		"it drains":                        func(s *sim) { s.Drain() },
		"it is closed":                     func(s *sim) { s.Close() },
		"a delivery would become an event": func(s *sim) { s.Captive("the store captures it") },
	} {
		rapid.Check(t, func(t *rapid.T) {
			s := newSim(t, spec())
			s.offer(1, "a.x", "")
			s.step(func() {})
			question := s.asking(s.sent[0])
			shut(s)
			if _, ok := s.SendAsking(s.now, question); ok {
				t.Errorf("%s: sent nevertheless", name)
			}
		})
	}
}

// asking has a delivery answered by nobody, and returns what is asked then.
func (s *sim) asking(d sent) core.Ask {
	a := s.spec.Deliver.ReadAnswer(nil, map[string][]string{"Status": {"503"}, "Nats-Subject": {"target"}})
	s.Answer(s.now, d.token, a)
	s.Send(s.now, make([]core.Delivery, 1))
	return s.Effects().Ask
}
