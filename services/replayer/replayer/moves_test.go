package replayer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/mirror"
)

// hasKind reports whether a trigger names the kind of move.
func hasKind(trigger, kind string) bool {
	for k := range strings.SplitSeq(trigger, ",") {
		if k == kind {
			return true
		}
	}
	return false
}

// bubble runs a scheduler in fake time; runs are noted with when they began.
type bubble struct {
	moves *moves
	takes time.Duration // each run

	mu         sync.Mutex
	triggers   []string
	at         []time.Time
	busy       bool
	unobserved int
	err        error
}

func (b *bubble) run(ctx context.Context, trigger string) (int, error) {
	b.mu.Lock()
	if b.busy {
		panic("two runs at once")
	}
	b.busy = true
	b.triggers = append(b.triggers, trigger)
	b.at = append(b.at, time.Now())
	b.mu.Unlock()
	sleep(ctx, b.takes)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = false
	return b.unobserved, b.err
}

// runs returns the triggers of all runs so far.
func (b *bubble) runs() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.triggers)
}

// yields sets what runs return from now on.
func (b *bubble) yields(unobserved int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unobserved, b.err = unobserved, err
}

func conducted(t *testing.T, takes time.Duration, test func(t *testing.T, b *bubble)) {
	clocktest.Run(t, func(t *testing.T) {
		b := &bubble{moves: newMoves(), takes: takes}
		c := scheduler{moves: b.moves, settle: 250 * time.Millisecond, pace: 5 * time.Second, retry: 30 * time.Second, log: zerolog.Nop(), run: b.run}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.schedule(ctx) }()
		test(t, b)
		cancel()
		<-ended
	})
}

func TestABurstOfMovesIsOneRun(t *testing.T) {
	t.Parallel()
	conducted(t, 0, func(t *testing.T, b *bubble) {
		for range 100 {
			b.moves.add(movePool)
			b.moves.add(moveLease)
			<-time.After(2 * time.Millisecond) // fake time
		}
		<-time.After(time.Minute)
		if len(b.runs()) != 1 || b.runs()[0] != "pool,lease" {
			t.Errorf("runs %q, want one for pool,lease", b.runs())
		}
	})
}

func TestMovesWithoutEndDoNotHoldRunsUpForever(t *testing.T) {
	t.Parallel()
	conducted(t, 0, func(t *testing.T, b *bubble) {
		for range 100 { // 10 s of them
			b.moves.add(movePool)
			<-time.After(100 * time.Millisecond)
		}
		if n := len(b.runs()); n < 4 || n > 6 {
			t.Errorf("%d runs in 10 s, want one every 2 s", n)
		}
	})
}

func TestMovesDuringARunMakeExactlyOneMore(t *testing.T) {
	t.Parallel()
	conducted(t, 5*time.Second, func(t *testing.T, b *bubble) {
		b.moves.add(moveElected)
		<-time.After(time.Second)
		for range 1000 {
			b.moves.add(movePool)
		}
		<-time.After(time.Minute)
		if strings.Join(b.runs(), " ") != "elected pool" {
			t.Errorf("runs %q, want elected, then pool", b.runs())
		}
	})
}

func TestWhatStaysUnobservedIsRunAgainOnThePeriod(t *testing.T) {
	t.Parallel()
	conducted(t, 0, func(t *testing.T, b *bubble) {
		b.yields(1, nil)
		b.moves.add(moveElected)
		<-time.After(95 * time.Second)
		if strings.Join(b.runs(), " ") != "elected retry retry retry" {
			t.Errorf("runs %q, want three on the period of 30 s", b.runs())
		}
		b.yields(0, nil)
		<-time.After(time.Hour)
		if len(b.runs()) != 5 {
			t.Errorf("%d runs, want 5: one more, and then rest", len(b.runs()))
		}
	})
}

func TestAFailedRunIsRepeatedWithGrowingPauses(t *testing.T) {
	t.Parallel()
	conducted(t, 0, func(t *testing.T, b *bubble) {
		b.yields(0, errors.New("JetStream is away"))
		b.moves.add(moveElected)
		<-time.After(10 * time.Minute)
		if n := len(b.runs()); n < 15 || n > 60 {
			t.Errorf("%d runs in 10 min, want a few dozen at most", n)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if first, later := b.at[1].Sub(b.at[0]), b.at[len(b.at)-1].Sub(b.at[len(b.at)-2]); first > 2*time.Second || later < 10*time.Second {
			t.Errorf("pauses of %v and later %v, want them to grow up to the period", first, later)
		}
	})
}

// Subscriptions that come and go, three a second, are no moves of leadership.
func TestPoolsThatComeAndGoAreReconciledAtAPace(t *testing.T) {
	t.Parallel()
	conducted(t, 10*time.Millisecond, func(t *testing.T, b *bubble) {
		b.moves.note(movePool, false)
		<-time.After(time.Second)
		if n := len(b.runs()); n != 1 {
			t.Errorf("%d runs after the first pool, want one at once", n)
		}
		for range 180 {
			b.moves.note(movePool, false)
			<-time.After(333 * time.Millisecond)
		}
		if n := len(b.runs()); n < 12 || n > 14 {
			t.Errorf("%d runs in a minute, want one every 5 s", n)
		}
		<-time.After(time.Minute)
		n := len(b.runs())
		<-time.After(time.Minute)
		if got := len(b.runs()); got != n {
			t.Errorf("%d runs without a move", got-n)
		}
	})
}

func TestAMoveOfLeadershipWaitsForNoPace(t *testing.T) {
	t.Parallel()
	conducted(t, 0, func(t *testing.T, b *bubble) {
		b.moves.note(movePool, false)
		<-time.After(time.Second)
		b.moves.note(movePool, false) // due in four seconds
		<-time.After(time.Second)
		b.moves.add(moveLease)
		moved := time.Now()
		<-time.After(time.Second)
		if got := strings.Join(b.runs(), " "); got != "pool pool,lease" {
			t.Fatalf("runs %q, want the second with the lease", got)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if late := b.at[1].Sub(moved); late != 250*time.Millisecond {
			t.Errorf("the run came %v after the move, want it once that has settled", late)
		}
	})
}

func TestOnlyAnotherHolderIsAMoveOfLeadership(t *testing.T) {
	t.Parallel()
	entry := func(value string) mirror.Entry {
		return mirror.Entry{Key: "k", Value: []byte(value), Deleted: value == ""}
	}
	h := holders{last: map[string]holder{}}
	for i, tt := range []struct {
		entry          string
		moved, another bool
	}{
		{`{"owner":"a","epoch":1}`, true, false},
		{`{"owner":"a","epoch":1,"checkpoint":{}}`, false, false},
		{`{"owner":"a","epoch":2}`, true, false},
		{`{"owner":"b","epoch":3}`, true, true},
		{`{"owner":"","epoch":3}`, true, true},
		{`{"owner":"a","epoch":4}`, true, true},
		{``, true, false},
		{``, false, false},
		{`{"owner":"b","epoch":9}`, true, false},
	} {
		if moved, another := h.moved("k", entry(tt.entry)); moved != tt.moved || another != tt.another {
			t.Errorf("step %d, %s: moved %v, another %v", i, tt.entry, moved, another)
		}
	}
}
