package reader

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/wire"
)

// makeRound does what is to be done for the store. The next round is due in a while.
// 0 is when the store has rested, for which it may also go without a look. Failing is
// a store that could not be looked at.
func (s *Store) makeRound(ctx context.Context, rest time.Duration) (next time.Duration, failing bool) {
	s.looks.woken.Store(false) // first: what happens from now on is for the next round
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
	failing = s.lookHealth.get().Err != nil
	switch again := time.Until(s.round.origins.again); {
	case failing || s.wantsLook() || s.behindLast():
		return s.cfg.tune.look, failing
	case !s.round.origins.again.IsZero() && again < rest:
		return max(again, s.cfg.tune.look), failing
	default:
		return 0, failing
	}
}

// wake has a round made at once. Many that ask for one share it.
func (s *Store) wake() { s.turn.ask(0, s.cfg.tune.pause) }

// wakeSoon has a round made within a second. Readers ask for it with each hole.
func (s *Store) wakeSoon() {
	if !s.looks.woken.Load() && !s.looks.woken.Swap(true) {
		s.turn.ask(s.cfg.tune.look, s.cfg.tune.pause)
	}
}

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
	for m := range s.roster.fresh.in {
		if !m.pool.HasBegun() {
			m.pool.Began(now.last, now.missing, now.missingKnown)
		}
	}
}
