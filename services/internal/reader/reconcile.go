package reader

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/wire"
)

// makeRound does what is to be done for the store. Rest is how long it may go
// without a look, and without a round.
func (s *Store) makeRound(ctx context.Context, rest time.Duration) outcome {
	s.round.followed = false
	s.mergeArrived()
	if now := time.Now(); now.Sub(s.round.watched) >= s.cfg.tune.look {
		s.round.watched = now
		if s.lookHealth.get().Err == nil {
			s.watchFront()
			s.watchEnd()
			s.restartStalled(ctx)
		}
	}
	s.reconcile(ctx, rest)
	s.reportTrouble()
	return s.outlook(rest)
}

// outlook says when the next round is due.
func (s *Store) outlook(rest time.Duration) outcome {
	failing := s.lookHealth.get().Err != nil
	next := rest + rand.N(rest/2+1) // so that stores that came together do not stay so
	switch again := s.round.origins.again; {
	case failing || s.wantsLook(false) || s.behindLast():
		next = s.cfg.tune.look
	case !again.IsZero() && time.Until(again) < rest:
		next = max(time.Until(again), s.cfg.tune.look)
	}
	return outcome{next: next, failing: failing}
}

// wake has a round made at once. Many that ask for one share it.
func (s *Store) wake() { s.turn.ask(0, s.cfg.tune.pause) }

// wakeSoon has a round made within a second. Readers ask for it with each hole.
func (s *Store) wakeSoon() { s.turn.ask(s.cfg.tune.look, s.cfg.tune.pause) }

// requestLook has the store looked at, at once, and not again within the given time.
func (s *Store) requestLook(since time.Duration) {
	s.looks.requested.Store(true)
	s.turn.ask(0, since)
}

// noteFeed is told how a reader's feed does. One that has just been interrupted may
// be the first to know that the store is gone.
func (s *Store) noteFeed(st feed.State) {
	switch {
	case starved(st):
		s.wake()
	case st.Err != nil && st.Reopened == 1:
		s.requestLook(s.cfg.tune.pause)
	default:
		s.wakeSoon()
	}
}

// reconcile brings readers and members in line with what is.
func (s *Store) reconcile(ctx context.Context, rest time.Duration) {
	looked := s.mustLook(rest)
	var now info
	if looked {
		if now, looked = s.look(ctx); !looked {
			return
		}
	}
	s.closeIdle()
	s.yield()
	if looked {
		s.ensureHead(ctx, now)
		s.widenDrained(ctx, now)
		s.dropCostlyFilters(now)
		s.place(ctx, now)
	}
	s.reopenStale(ctx)
}

// noteInfo notes what the store holds, and judges the holes that were met before.
func (s *Store) noteInfo(now info) {
	s.lock()
	another := !s.info.created.IsZero() && !s.info.created.Equal(now.created) || now.last < s.info.last
	s.info = now
	s.mu.Unlock()
	s.looks.before.Store(s.looks.end.Swap(now.last))
	if another {
		s.loseStore("the store was deleted and created anew, or lost its end")
		s.wake()
		return
	}
	s.begin(now)
	s.judge(now)
}

// loseStore takes all members off their readers: the sequences mean nothing any
// more.
func (s *Store) loseStore(why string) {
	s.closeAll()
	s.lock()
	defer s.mu.Unlock()
	s.info = info{}
	for p := range s.roster.all {
		p.Hold(wire.PoolStoreLost, why)
	}
}

// begin notes for members that begin what the store lacks already: that is no
// loss of theirs.
func (s *Store) begin(now info) {
	s.lock()
	defer s.mu.Unlock()
	for m := range s.roster.open.in {
		if m.state == fresh && !m.pool.HasBegun() {
			m.pool.Began(now.last, now.missing, now.missingKnown)
		}
	}
}
