package reader

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

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
