package check

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// muchMore is by how many events a backlog has to have grown.
const muchMore = 1000

// growing is how long a backlog has grown although the subscriber had nothing
// to do. The zero value: it has not.
type growing struct {
	since    time.Time
	position uint64        // where the pool stood at since
	backlog  uint64        // how large the backlog was at since
	now      uint64        // how large the backlog is now
	watched  time.Duration // how much of the time since then was watched
	looks    int
}

// next is the growth after a look, at which the backlog was so large; idle says
// whether the subscriber would have taken more, and watched how much of the time
// since the look before counts.
func (g growing) next(backlog, position uint64, idle bool, at time.Time, watched time.Duration) growing {
	switch {
	case !idle || backlog == 0:
		return growing{}
	case g.looks == 0 || backlog <= g.now:
		return growing{since: at, position: position, backlog: backlog, now: backlog, looks: 1}
	}
	g.now = backlog
	g.looks++
	g.watched += watched
	return g
}

// slow reports whether that is more than a burst.
func (g growing) slow(patience time.Duration) bool {
	return g.watched >= patience && g.now >= g.backlog+muchMore
}

// idle reports whether a pool's subscriber would take more than the pool gets:
// it holds less than may be in flight, and nothing else keeps it.
func idle(rec *wire.Record, p *Pool, st wire.PoolStatus) bool {
	reads := st.State == wire.PoolLive || st.State == wire.PoolCatchingUp
	return reads && !rec.Paused && p.Next.Behind && st.Unreadable == "" && st.Unparked == "" &&
		st.Retrying == 0 && st.Parking == 0 && !breakerOpen(st) && st.Pending < max(st.Limit, 1)
}

// slowReading judges whether a store is read for a pool more slowly than it is
// written.
func (j *judge) slowReading(rec *wire.Record, p *Pool, st wire.PoolStatus, prev progress, now *progress) {
	store := j.s.Stores[rec.Spec.Store]
	if !store.Known || !store.Exists || otherStore(rec, store) {
		return
	}
	var was growing
	if prev.claim == now.claim {
		was = prev.growing
	}
	backlog := store.Last - min(store.Last, st.Position)
	// Like a stall it is watched in steps, so that one late look proves nothing.
	watched := max(0, min(now.at.Sub(prev.at), step(j.cfg.StallAfter)))
	g := was.next(backlog, st.Position, idle(rec, p, st), now.at, watched)
	now.growing = g
	if !g.slow(j.cfg.StallAfter) {
		return
	}
	over := now.at.Sub(g.since)
	read, grown := st.Position-min(st.Position, g.position), g.now-g.backlog
	j.raise(finding{
		kind: wire.IssueSlowReading, name: rec.Name, uid: rec.UID,
		detail: fmt.Sprintf("the store is read more slowly than it is written: the backlog has grown by %d events in %s, while the subscriber has nothing to do",
			grown, over.Round(time.Millisecond)),
		evidence: map[string]any{
			"owner": st.Owner, "epoch": st.Epoch, "state": string(st.State), "position": st.Position, "store_last": store.Last,
			"backlog": backlog, "grown": grown, "looks": g.looks, "over_ms": over.Milliseconds(),
			"read_per_second": perSecond(read, over), "written_per_second": perSecond(read+grown, over),
			"in_flight": st.InFlight, "limit": st.Limit, "pending": st.Pending,
		},
	}, g.since)
}

func perSecond(n uint64, over time.Duration) uint64 { return uint64(float64(n) / over.Seconds()) }
