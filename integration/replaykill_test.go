package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// replayers are child processes that run replays.
type replayers struct {
	e     *harness.Env
	parts map[string]*harness.Part // by instance
}

func spawnReplayers(e *harness.Env, n int) *replayers {
	e.T.Helper()
	rs := &replayers{e, map[string]*harness.Part{}}
	for range n {
		rs.spawn()
	}
	return rs
}

// spawn starts one more, and learns its name by its session.
func (rs *replayers) spawn() {
	rs.e.T.Helper()
	before := map[string]bool{}
	if len(rs.parts) > 0 {
		before = rs.sessions()
	}
	p := rs.e.Spawn(wire.ServiceReplayer)
	rs.e.Await("the session of a replayer", func() error {
		for instance := range rs.sessions() {
			if !before[instance] && rs.parts[instance] == nil {
				rs.parts[instance] = p
				return nil
			}
		}
		return fmt.Errorf("only %v", before)
	})
}

func (rs *replayers) sessions() map[string]bool {
	rs.e.T.Helper()
	var found map[string]bool
	rs.e.Await("the sessions", func() (err error) {
		found, err = rs.e.Sessions(wire.ServiceReplayer)
		return err
	})
	return found
}

// owner waits until one of them owns a replay, under an epoch above another one. It
// asks no replayer, which may be asleep.
func (rs *replayers) owner(id string, above uint64) *wire.Replay {
	rs.e.T.Helper()
	kv, err := rs.e.JS.KeyValue(rs.e.Context(), wire.DefaultNamespace.BucketReplays())
	if err != nil {
		rs.e.T.Fatal(err)
	}
	var job *wire.Replay
	rs.e.Await("an owner of the replay", func() error {
		entry, err := kv.Get(rs.e.Context(), id)
		if err != nil {
			return err
		}
		job = &wire.Replay{}
		harness.Decode(rs.e.T, entry.Value(), job)
		if rs.parts[job.Owner] == nil || job.Epoch <= above {
			return fmt.Errorf("it is %s, of %q under epoch %d", job.State, job.Owner, job.Epoch)
		}
		return nil
	})
	return job
}

// kill ends one at once.
func (rs *replayers) kill(instance string) {
	rs.parts[instance].Kill()
	delete(rs.parts, instance)
}

// orderReplay gives an order until it is answered: the replayer that was asked may
// be the one that was killed.
func orderReplay(e *harness.Env, id string, order func(context.Context, string) (*wire.Replay, error), want wire.ReplayState) {
	e.T.Helper()
	e.Await(string(want), func() error {
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		r, err := order(ctx, id)
		if err == nil && r.State != want && r.State != wire.ReplayRunning {
			e.T.Fatalf("it is %s after the order", r.State)
		}
		return err
	})
}

const (
	replayedEvents = 6000
	replayRate     = 1500
	replayKills    = 6
	slowEvents     = 3000 // for a replay that outlasts a session
)

// killBed is a store of n events of 50 keys, with a subscription that nobody serves.
func killBed(t *testing.T, n int) (*harness.Env, []uint64) {
	t.Helper()
	e := harness.New(t, harness.OnServer(harness.StartNATS(t)))
	e.Store("EVENTS", "a.>")
	e.Start(wire.ServiceRegistry)
	var want []uint64
	for i := range n {
		want = append(want, e.Publish(fmt.Sprintf("a.%d.x", i%50), "{}"))
	}
	e.Subscribe("sub", client.Spec{
		Store: "EVENTS", Selector: client.Selector{ByStream: []string{"a.>"}}, Start: client.FromNew(), Deliver: client.Deliver{Subject: "live"},
		PoolSize: client.PoolSize{Min: 16, Max: inFlight}, AckWait: 5 * time.Second,
	})
	return e, want
}

// TestReplayersThatAreKilledLoseNothing kills the one that runs a replay, again
// and again, wherever it is by then: between a delivery and its answer, before or
// after a write, in a claim.
func TestReplayersThatAreKilledLoseNothing(t *testing.T) {
	t.Parallel()
	e, want := killBed(t, replayedEvents)
	rs := spawnReplayers(e, 2)
	random := seeded(t)
	again := e.Record("again", harness.Ack)
	job := startReplay(e, client.Replay{From: client.FromAll(), Deliver: &client.Deliver{Subject: "again"}, Rate: replayRate})
	epoch := uint64(0)
	for i := range replayKills {
		again.AwaitCount((i + 1) * replayedEvents / (replayKills + 2))
		pause(t.Context(), random, 200*time.Millisecond)
		now := rs.owner(job.ID, epoch)
		epoch = now.Epoch
		rs.kill(now.Owner)
		if i%2 == 1 { // also while nobody runs it
			orderReplay(e, job.ID, e.Client.PauseReplay, wire.ReplayPaused)
			pause(t.Context(), random, 500*time.Millisecond)
			orderReplay(e, job.ID, e.Client.ResumeReplay, wire.ReplayPending)
		}
		rs.spawn()
	}
	job = awaitReplay(e, job.ID, wire.ReplayFinished)
	repeats := again.RequireSet("the replay", want)
	again.RequireOrder("the replay", harness.Delivery.Stream)
	if job.Finished != replayedEvents || job.Parked != 0 || job.Total != replayedEvents || job.Checkpoint.Floor != replayedEvents {
		t.Errorf("finished as %+v, floor %d", job.ReplayCounts, job.Checkpoint.Floor)
	}
	// What was out, and what was answered since the last write, comes again.
	if most := replayKills * (inFlight + replayRate*int(unwritten.Milliseconds())/1000*2); repeats > most {
		t.Errorf("%d repeats after %d kills: want at most %d", repeats, replayKills, most)
	}
	if len(advisories(t, e, wire.AdvReplayFinished, "sub")) != 1 {
		t.Error("its end was not told once")
	}
}

// TestAReplayerThatSleepsWritesNothingWhenItWakesUp has it that a claim ends when
// somebody else claims.
func TestAReplayerThatSleepsWritesNothingWhenItWakesUp(t *testing.T) {
	t.Parallel()
	e, want := killBed(t, slowEvents)
	rs := spawnReplayers(e, 2)
	again := e.Record("again", harness.Ack)
	job := startReplay(e, client.Replay{From: client.FromAll(), Deliver: &client.Deliver{Subject: "again"}, Rate: slowEvents / 12})
	again.AwaitCount(200)
	first := rs.owner(job.ID, 0)
	rs.parts[first.Owner].Freeze(true)
	second := rs.owner(job.ID, first.Epoch)
	if second.Owner == first.Owner {
		t.Fatalf("%s claimed while it slept", second.Owner)
	}
	rs.parts[first.Owner].Freeze(false)
	for range 20 { // while the first finds out
		now := rs.owner(job.ID, first.Epoch)
		if now.Owner != second.Owner || now.Epoch != second.Epoch {
			t.Fatalf("%s under epoch %d took it from %s under %d", now.Owner, now.Epoch, second.Owner, second.Epoch)
		}
		pause(t.Context(), rand.New(rand.NewPCG(1, 1)), 100*time.Millisecond)
	}
	job = awaitReplay(e, job.ID, wire.ReplayFinished)
	again.RequireSet("the replay", want)
	if job.Finished != slowEvents || job.Epoch != second.Epoch {
		t.Errorf("finished as %+v under epoch %d, want %d", job.ReplayCounts, job.Epoch, second.Epoch)
	}
}

// TestAReplayIsHandedOverWithoutRepeats ends its replayer as an update would.
func TestAReplayIsHandedOverWithoutRepeats(t *testing.T) {
	t.Parallel()
	e, want := killBed(t, replayedEvents)
	rs := spawnReplayers(e, 2)
	again := e.Record("again", harness.Ack)
	job := startReplay(e, client.Replay{From: client.FromAll(), Deliver: &client.Deliver{Subject: "again"}, Rate: replayRate})
	again.AwaitCount(1000)
	first := rs.owner(job.ID, 0)
	rs.parts[first.Owner].Stop()
	second := rs.owner(job.ID, first.Epoch)
	if second.Owner == first.Owner {
		t.Fatalf("%s claimed after its end", second.Owner)
	}
	awaitReplay(e, job.ID, wire.ReplayFinished)
	got := again.Sequences()
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%d deliveries of %d events", len(got), len(want))
	}
}
