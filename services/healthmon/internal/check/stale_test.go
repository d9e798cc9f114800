package check

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// passing is a world with an ephemeral subscription whose subscriber no probe
// finds.
func passing() *world {
	w := newWorld()
	w.rec().Spec.ExpireAfter = wire.Duration(time.Minute)
	w.Listeners["triage.issues"] = Listeners{Known: true}
	return w
}

// hear makes the owner hear a subscriber at the given time of its clock.
func (w *world) hear(at time.Time) {
	w.status(func(s *wire.PoolStatus) { s.HeardAt = &at })
}

func TestAnEphemeralSubscriptionExpiresAfterItsTimeAlsoUnderANewLeader(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.rec().Spec.ExpireAfter = wire.Duration(time.Minute)
	w.Listeners["triage.issues"] = Listeners{Known: true}
	if res := w.judge(0); show(res.Issues) != "stale_subscriptions triage" || len(res.Expired) != 0 || res.Recheck != time.Minute {
		t.Fatalf("issues %q, expired %v, recheck %s, want stale, not expired, 1m", show(res.Issues), res.Expired, res.Recheck)
	}
	w.mem = Memory{Issues: w.mem.Issues, Statuses: w.mem.Statuses} // what a new leader reads back
	if res := w.judge(59 * time.Second); len(res.Expired) != 0 || res.Recheck != time.Second {
		t.Fatalf("after 59s: expired %v, recheck %s, want none, 1s", res.Expired, res.Recheck)
	}
	if res := w.judge(time.Second); !res.Expired["triage"] {
		t.Fatalf("after 60s: expired %v, want triage", res.Expired)
	}
	w.rec().UID, w.pool().UID = "u2", "u2"
	w.status(func(s *wire.PoolStatus) { s.UID = "u2" })
	if res := w.judge(time.Second); len(res.Expired) != 0 {
		t.Errorf("a new subscription of the same name has expired with the time of the old one")
	}
}

func TestASubscriberThatComesBackStartsTheTimeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.rec().Spec.ExpireAfter = wire.Duration(time.Minute)
	w.Listeners["triage.issues"] = Listeners{Known: true}
	w.judge(0)
	w.Listeners["triage.issues"] = Listeners{Known: true, Count: 1}
	w.judge(50 * time.Second)
	w.Listeners["triage.issues"] = Listeners{Known: true}
	w.judge(5 * time.Second)
	if res := w.judge(30 * time.Second); len(res.Expired) != 0 {
		t.Errorf("expired %v 30s after the subscriber left again, want none", res.Expired)
	}
}

func TestASubscriberThatNoProbeFindsIsSeenByItsAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer func(s *wire.PoolStatus, at *time.Time)
		clock  time.Duration // of the emitter, ahead of ours
	}{
		{"any answer", func(s *wire.PoolStatus, at *time.Time) { s.HeardAt = at }, 0},
		{"it finished one", func(s *wire.PoolStatus, at *time.Time) { s.LastAckAt = at }, 0},
		{"it works on one", func(s *wire.PoolStatus, at *time.Time) { s.ExtendedAt = at }, 0},
		{"by a clock that is behind", func(s *wire.PoolStatus, at *time.Time) { s.HeardAt = at }, -time.Hour},
		{"by a clock that is ahead", func(s *wire.PoolStatus, at *time.Time) { s.HeardAt = at }, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := passing()
			w.judge(0)
			for n := range 10 {
				at := w.At.Add(20*time.Second + tt.clock) // 10s before the next sweep
				w.status(func(s *wire.PoolStatus) { tt.answer(s, &at) })
				if res := w.judge(30 * time.Second); len(res.Expired) != 0 {
					t.Fatalf("sweep %d: expired %v with an answer 10s ago", n, res.Expired)
				}
			}
			slack := 10 * time.Second // clocks that differ tell only between which sweeps it was
			if tt.clock == 0 {
				slack = 0
			}
			if res := w.judge(50*time.Second - 1); len(res.Expired) != 0 {
				t.Errorf("expired %v, less than a minute after the last answer", res.Expired)
			}
			if res := w.judge(1 + slack); !res.Expired["triage"] {
				t.Errorf("expired %v a minute after the last answer, want triage; issues %+v", res.Expired, res.Issues)
			}
		})
	}
}

func TestAnAnswerIsNotForgottenWithTheLeader(t *testing.T) {
	t.Parallel()
	w := passing()
	w.hear(start.Add(-time.Minute))
	w.judge(0)
	w.mem = readBack(t, w.mem)
	w.hear(start.Add(50 * time.Second))
	if res := w.judge(time.Minute); len(res.Expired) != 0 {
		t.Errorf("expired %v under a new leader, with an answer 10s ago", res.Expired)
	}
	w = passing()
	w.hear(start.Add(-time.Minute))
	w.judge(0)
	w.mem = readBack(t, w.mem)
	if res := w.judge(time.Minute); !res.Expired["triage"] {
		t.Errorf("expired %v under a new leader, want triage: nothing was answered", res.Expired)
	}
}

func TestInModePublishAFinishedEventIsNoSubscriber(t *testing.T) {
	t.Parallel()
	w := passing()
	w.rec().Spec.Deliver.Mode = wire.ModePublish
	w.judge(0)
	at := start.Add(50 * time.Second)
	w.status(func(s *wire.PoolStatus) { s.LastAckAt = &at })
	if res := w.judge(time.Minute); !res.Expired["triage"] {
		t.Errorf("expired %v, want triage", res.Expired)
	}
}

func TestNothingExpiresWhileItsOwnerIsSilent(t *testing.T) {
	t.Parallel()
	w := passing()
	w.hear(start.Add(-time.Minute))
	w.judge(0)
	statuses, answered := w.Statuses, w.Answered
	w.Statuses, w.Answered = nil, nil
	if res := w.judge(time.Hour); len(res.Expired) != 0 {
		t.Errorf("expired %v while nobody knows what the owner hears", res.Expired)
	}
	w.Statuses, w.Answered = statuses, answered
	if res := w.judge(time.Second); !res.Expired["triage"] {
		t.Errorf("expired %v once the owner says that it heard nobody, want triage", res.Expired)
	}
}

func TestAnAnswerCountsAlsoWhereTheProbeOfThatSweepFailed(t *testing.T) {
	t.Parallel()
	w := passing()
	w.judge(0)
	w.hear(start.Add(55 * time.Second))
	w.Listeners["triage.issues"] = Listeners{}
	w.judge(58 * time.Second)
	w.Listeners["triage.issues"] = Listeners{Known: true}
	if res := w.judge(4 * time.Second); len(res.Expired) != 0 {
		t.Errorf("expired %v 7s after an answer", res.Expired)
	}
	w = newWorld()
	w.judge(0)
	w.hear(start.Add(5 * time.Second))
	w.Listeners["triage.issues"] = Listeners{}
	w.judge(6 * time.Second)
	w.Listeners["triage.issues"] = Listeners{Known: true}
	if res := w.judge(time.Second); len(res.Issues) != 0 {
		t.Errorf("issues = %+v 2s after an answer, want none", res.Issues)
	}
}

func TestASubscriptionWhoseEventsGoToAURLIsNeverStale(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.judge(0)
	w.Listeners["triage.issues"] = Listeners{Known: true}
	if res := w.judge(cfg.Grace); show(res.Issues) != "stale_subscriptions triage" {
		t.Fatalf("%+v, want it stale while it has a subject", res.Issues)
	}
	w.Records[0].Record.Spec.Deliver = wire.Deliver{HTTP: &wire.HTTP{URL: "https://h"}, Mode: wire.ModeAck}
	if res := w.judge(cfg.Grace); len(res.Issues) > 0 {
		t.Errorf("%+v, want none", res.Issues)
	}
}

func TestASubscriptionIsStaleOnlyAGraceAfterTheLastAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.judge(0)
	w.Listeners["triage.issues"] = Listeners{Known: true}
	w.hear(start.Add(30 * time.Second))
	if res := w.judge(35 * time.Second); len(res.Issues) != 0 || res.Recheck != cfg.Grace {
		t.Fatalf("5s after an answer: issues %+v, recheck %s, want none, %s", res.Issues, res.Recheck, cfg.Grace)
	}
	if res := w.judge(cfg.Grace - 1); len(res.Issues) != 0 {
		t.Fatalf("just before the grace is over: %+v", res.Issues)
	}
	if res := w.judge(1); show(res.Issues) != "stale_subscriptions triage" {
		t.Errorf("a grace later: %+v, want it stale", res.Issues)
	}
}
