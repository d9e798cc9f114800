package claim

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestPauseGrowsWithTheLossesOfAPool(t *testing.T) {
	t.Parallel()
	for losses, want := range []time.Duration{0, 0, firstPause, 2 * firstPause, 4 * firstPause} {
		if got := pause(losses); got != want {
			t.Errorf("pause after %d losses = %v, want %v", losses, got, want)
		}
	}
	if got := pause(1 << 20); got != maxPause {
		t.Errorf("pause after very many losses = %v, want %v", got, maxPause)
	}
}

func TestContestsAreForgotten(t *testing.T) {
	t.Parallel()
	var c Contests
	now := time.Now()
	for range 20 {
		c.Lost("p", now)
	}
	if !c.Paused("p", now) || c.Paused("q", now) {
		t.Errorf("paused: p %v, q %v, want p alone", c.Paused("p", now), c.Paused("q", now))
	}
	now = now.Add(calmAfter)
	c.Lost("q", now)
	if c.Lost("p", now); c.Paused("p", now) || len(c.pools) != 2 {
		t.Errorf("paused %v after its first loss for long, %d pools known", c.Paused("p", now), len(c.pools))
	}
}

// Two instances, each of which takes the other for dead, decide in turns, as
// quickly as they can.
func TestAFightOverAPoolIsSlowAndSomebodyAlwaysServesIt(t *testing.T) {
	t.Parallel()
	const (
		step   = 10 * time.Millisecond
		minute = time.Minute
	)
	entry := &wire.Pool{UID: "u1", Epoch: 1}
	rev, claims, unserved := uint64(1), 0, 0
	contests := map[string]*Contests{"a": {}, "b": {}}
	held := map[string]*Held{}
	start := time.Now()
	for now := start; now.Sub(start) < minute; now = now.Add(step) {
		for _, me := range []string{"a", "b"} {
			switch Decide(View{
				Me: me, Rightful: me, Record: &wire.Record{UID: "u1", Generation: 1}, RecordRevision: 1,
				Pool: entry, PoolRevision: rev, Held: held[me], Contested: contests[me].Paused("p", now),
			}) {
			case Claim:
				rev++
				claims++
				entry = &wire.Pool{Owner: me, UID: "u1", Epoch: rev}
				held[me] = &Held{UID: "u1", Generation: 1, Epoch: rev, Revision: rev, RecordRevision: 1}
			case Drop:
				contests[me].Lost("p", now)
				held[me] = nil
			}
		}
		if held["a"] == nil && held["b"] == nil {
			unserved++
		}
	}
	if claims > 30 || claims < 2 {
		t.Errorf("%d claims in a minute", claims)
	}
	if unserved != 0 {
		t.Errorf("served by nobody for %d steps", unserved)
	}
}
