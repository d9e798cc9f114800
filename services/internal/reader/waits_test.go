package reader

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// What a pool waits for, or passes, instead of reading.

func TestAGapIsNamedAndPassed(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgs: 50})
	e.publish(100)
	s := e.subscribe("s", ">", 20, false, nil)
	s.attach()
	natstest.Await(t, "the events that are left", func() error { return s.got(50, 100) })
	if g := s.pool.Gap(); g == nil || g.From != 21 || g.To != 50 {
		t.Errorf("gap = %+v, want 21 to 50", g)
	}
}

func TestAPoolThatIsToPauseAtAGapGetsNothingAfterIt(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgs: 50})
	e.publish(100)
	s := e.subscribe("s", ">", 20, false, pauses)
	s.attach()
	select {
	case g := <-e.paused:
		if g.From != 21 || g.To != 50 {
			t.Errorf("gap = %+v, want 21 to 50", g)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not paused in 10 s")
	}
	if err := s.got(20, 20); err != nil {
		t.Error(err)
	}
}

func TestDeletedEventsArePassedByAPoolThatPausesAtGaps(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(100)
	stream, err := e.js.Stream(t.Context(), testStore)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	s := e.subscribe("s", ">", 0, false, pauses)
	s.attach()
	natstest.Await(t, "what is left", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.seqs); n != 99 || s.seqs[n-1] != 100 {
			return fmt.Errorf("%d events came", n)
		}
		return nil
	})
}

func TestAStoreThatIsGoneOrAnotherIsLost(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(100)
	s := e.subscribe("s", ">", 0, false, nil)
	s.attach()
	natstest.Await(t, "everything", func() error { return s.got(0, 100) })
	lost := func() error { return s.in(wire.PoolStoreLost, "") }
	if err := e.js.DeleteStream(t.Context(), testStore); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "lost", lost)
	if _, err := e.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}}); err != nil {
		t.Fatal(err)
	}
	e.publish(10)
	natstest.Await(t, "still lost: its sequences mean nothing there", func() error {
		return errors.Join(lost(), s.got(0, 100))
	})
	if p := s.pool.Status(); p.Floor != 100 {
		t.Errorf("the checkpoint moved to %v", p)
	}
}

// loseEnd makes the store one that has lost its end after sequence 10, while s
// looks on.
func (e *env) loseEnd(t *testing.T, s *subscriber) {
	t.Helper()
	if err := e.js.DeleteStream(t.Context(), testStore); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the loss of the store", func() error { return s.in(wire.PoolStoreLost, "does not exist") })
	if _, err := e.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}}); err != nil {
		t.Fatal(err)
	}
	e.publish(10)
}

func TestAStoreThatLostItsEndStaysLostAlthoughItGrows(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(100)
	s := e.subscribe("s", ">", 0, false, nil)
	s.attach()
	natstest.Await(t, "everything", func() error { return s.got(0, 100) })
	e.loseEnd(t, s)
	natstest.Await(t, "its end is lost", func() error { return s.in(wire.PoolStoreLost, "ended at sequence 10") })
	e.publish(110)
	sought := e.subscribe("sought", ">", 100, false, nil) // as after a seek: it has lost nothing
	next := e.subscribe("next", ">", 100, false, func(cfg *pool.Config) { cfg.Entry.LostFrom = s.pool.LostFrom() })
	next.attach()
	sought.attach()
	natstest.Await(t, "the sought one goes on", func() error { return sought.got(100, 120) })
	e.publish(10)
	natstest.Await(t, "and on", func() error { return sought.got(100, 130) })
	if err := errors.Join(s.got(0, 100), next.got(100, 100)); err != nil {
		t.Error(err)
	}
	for _, lost := range []*subscriber{s, next} {
		if err := lost.in(wire.PoolStoreLost, "ended at sequence 10"); err != nil {
			t.Error(err)
		}
		if cp := lost.pool.Status(); cp.Floor != 100 {
			t.Errorf("the checkpoint of %s moved to %v", lost.pool.Name(), cp)
		}
	}
}

func TestAPoolThatIsToBeginBeyondTheStoreWaitsForIt(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(10)
	s := e.subscribe("s", ">", 49, false, nil)
	s.begin = 50
	s.attach()
	natstest.Await(t, "it has not begun", func() error {
		return s.in(wire.PoolNotBegun, "begins at sequence 50; the store is at 10")
	})
	e.publish(30)
	natstest.Await(t, "it says how far the store is", func() error { return s.in(wire.PoolNotBegun, "the store is at 40") })
	e.publish(20)
	natstest.Await(t, "it begins where it should", func() error {
		return errors.Join(s.got(49, 60), s.in(wire.PoolLive, ""))
	})
}

func TestWhatWasReadBeyondTheStoreIsLostAndNotUnbegun(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	e.publish(10)
	read := e.subscribe("read", ">", 55, false, nil)
	ranges := e.subscribe("ranges", ">", 49, false, func(cfg *pool.Config) { cfg.Entry.Checkpoint.Ranges = [][2]uint64{{52, 55}} })
	below := e.subscribe("below", ">", 4, false, func(cfg *pool.Config) { cfg.Entry.Checkpoint.Ranges = [][2]uint64{{6, 55}} })
	for _, s := range []*subscriber{read, ranges, below} {
		s.begin = 50
		s.attach()
		natstest.Await(t, "the end is lost", func() error { return s.in(wire.PoolStoreLost, "ended at sequence 10") })
		if err := s.got(100, 100); err != nil {
			t.Error(err)
		}
	}
}

func TestAPoolThatFindsNoReaderFreeSaysSo(t *testing.T) {
	t.Parallel()
	e := newEnvOf(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, 2) // the head and one more
	const last = 10_000
	e.publish(last)
	first := e.subscribe("first", ">", 100, true, nil)
	second := e.subscribe("second", ">", 0, false, nil)
	first.attach()
	natstest.Await(t, "the first one reads", func() error {
		if first.pool.Status().Pending == 0 {
			return errors.New("nothing came")
		}
		return nil
	})
	second.attach()
	natstest.Await(t, "the second waits", func() error { return second.in(wire.PoolNoReader, "all 2 readers") })
	if err := second.got(0, 0); err != nil {
		t.Error(err)
	}
	first.release()
	natstest.Await(t, "both have arrived", func() error {
		return errors.Join(first.got(100, last), second.got(0, last), first.in(wire.PoolLive, ""), second.in(wire.PoolLive, ""))
	})
}

func TestAPoolThatIsAheadJoinsAReaderWhenNoneIsFree(t *testing.T) {
	t.Parallel()
	e := newEnvOf(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, 2)
	last := int(defaultTuning().span) + 10_000
	e.publish(last)
	first := e.subscribe("first", ">", 0, true, nil)
	second := e.subscribe("second", ">", uint64(last-5000), false, nil)
	first.attach()
	natstest.Await(t, "the first one reads", func() error {
		if first.pool.Status().Pending == 0 {
			return errors.New("nothing came")
		}
		return nil
	})
	second.attach()
	natstest.Await(t, "the second arrives, with no reader but that of the first", func() error {
		return errors.Join(second.got(uint64(last-5000), uint64(last)), second.in(wire.PoolLive, ""))
	})
	first.release()
	natstest.Await(t, "so does the first", func() error { return errors.Join(first.got(0, uint64(last)), first.in(wire.PoolLive, "")) })
}

func TestAGapIsPassedOnlyOnceThePauseForItIsOver(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgs: 50})
	e.publish(100)
	again := func(gap wire.Gap) func(*pool.Config) {
		return func(cfg *pool.Config) {
			pauses(cfg)
			cfg.Record.Generation = 6 // the gap was met at 5
			cfg.Entry.Gap = &gap
		}
	}
	changed := e.subscribe("changed", ">", 20, false, again(wire.Gap{From: 21, To: 50, Generation: 5}))
	changed.attach()
	select {
	case g := <-e.paused:
		if g.From != 21 || g.To != 50 || g.Generation != 6 {
			t.Errorf("gap = %+v, want 21 to 50 at generation 6", g)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not paused in 10 s: a change of the record passed for a pause")
	}
	if err := changed.got(20, 20); err != nil {
		t.Error(err)
	}
	resumed := e.subscribe("resumed", ">", 20, false, again(wire.Gap{From: 21, To: 50, Generation: 5, Paused: true}))
	resumed.attach()
	natstest.Await(t, "what is left", func() error { return resumed.got(50, 100) })
	if g := resumed.pool.Gap(); g.Generation != 5 {
		t.Errorf("gap = %+v: it was told already", g)
	}
	more := e.subscribe("more", ">", 20, false, again(wire.Gap{From: 21, To: 40, Generation: 5, Paused: true}))
	more.attach()
	natstest.Await(t, "what is left", func() error { return more.got(50, 100) })
	if g := more.pool.Gap(); g.To != 50 || g.Generation != 6 || !g.Paused {
		t.Errorf("gap = %+v, want it to 50, seen at generation 6", g)
	}
}
