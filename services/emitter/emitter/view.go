package emitter

import (
	"bytes"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/lease"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

// viewer sees each pool as a decision needs it: as its record and entry say, who
// should own it, and whether this instance does.
type viewer struct {
	me       string
	ns       wire.Namespace
	copies   copies
	peers    *lease.Peers
	holdings *holdings
	idle     *claim.Idle
	vanished claim.Vanished
	contests *claim.Contests
	log      zerolog.Logger // for what many pools may share
}

// synced reports whether the copies of the buckets are complete.
func (w *viewer) synced() bool {
	for _, ch := range []<-chan struct{}{w.copies.records.Synced(), w.copies.pools.Synced(), w.peers.Synced()} {
		select {
		case <-ch:
		default:
			return false
		}
	}
	return true
}

// candidates are the instances that may own pools.
func (w *viewer) candidates() []string {
	var ids []string
	for _, session := range w.peers.Live() {
		if !session.Draining {
			ids = append(ids, session.Instance)
		}
	}
	return ids
}

// unsettled are all pools but those of which a glance shows that there is nothing to
// do, where live are the candidates.
func (w *viewer) unsettled(live []string) []string {
	var names []string
	for _, h := range w.holdings.all() {
		if !w.settled(h.name, live) {
			names = append(names, h.name)
		}
	}
	for _, name := range w.copies.names() {
		if w.holdings.of(name) == nil && !w.settled(name, live) {
			names = append(names, name)
		}
	}
	return names
}

// settled reports whether a glance shows that there is nothing to do about a pool.
// It waits for no write that is under way.
func (w *viewer) settled(name string, live []string) bool {
	v := w.glance(name, live).View
	if h := w.holdings.of(name); h != nil {
		v.Held = h.known()
	}
	return v.Settled()
}

// of gathers what a decision about a pool is made from. Where the glance says that there is
// nothing to do it lacks what record and entry say.
func (w *viewer) of(name string) claim.View {
	g := w.glance(name, w.candidates())
	if h := w.holdings.of(name); h != nil { // last: what it has written must not look like somebody else's
		g.Held = h.held(g.PoolRevision)
	}
	if g.Settled() {
		return g.View
	}
	return w.decode(g)
}

// glance is what can be known about a pool without decoding its record and entry.
type glance struct {
	claim.View
	record, entry mirror.Entry // zero: the copy has none
}

// glance looks at a pool, and leaves out whether it is held. A full comparison does
// so for every pool, and finds most settled.
func (w *viewer) glance(name string, live []string) glance {
	g := glance{View: claim.View{Me: w.me, Rightful: claim.Rightful(name, w.idle.Candidates(name, live))}}
	var recorded, entered bool
	g.record, recorded = w.copies.records.Get(name)
	g.entry, entered = w.copies.pools.Get(name)
	g.RecordRevision, g.Deleted = g.record.Revision, g.record.Deleted && !g.record.Absent
	older := recorded && g.record.Created.Before(w.copies.pools.Created()) // than all that the pools' bucket can tell
	if !g.entry.Absent {
		g.PoolRevision = g.entry.Revision
		g.Named = bytes.Contains(g.entry.Value, []byte(w.me)) // which JSON has no need to escape
	}
	g.Vanished = g.entry.Absent || !entered && older
	g.Awaited = w.vanished.Note(name, g.Vanished, time.Now())
	return g
}

// decode returns the view of a glance with what record and entry say.
func (w *viewer) decode(g glance) claim.View {
	v := g.View
	if e := g.record; e.Key != "" && !e.Deleted {
		rec, err := subscription.DecodeRecord(e, w.ns)
		if err != nil {
			w.log.Error().Err(err).Str("subscription", e.Key).Uint64("revision", e.Revision).Msg("record cannot be read")
		}
		v.Record = rec
	}
	e := g.entry
	if e.Key == "" || e.Deleted {
		return v
	}
	p, err := subscription.DecodePool(e)
	if err != nil {
		w.log.Error().Err(err).Str("subscription", e.Key).Uint64("revision", e.Revision).Msg("pool entry cannot be read")
		v.PoolCorrupt, v.PoolNewer = true, errors.Is(err, subscription.ErrNewerSchema)
		return v
	}
	v.Pool = p
	v.OwnerAlive = p.Owner != "" && w.peers.Alive(p.Owner)
	w.idle.Claimed(e.Key, p.Owner, p.Epoch)
	v.Contested = w.contests.Paused(e.Key, time.Now())
	return v
}

// copies are the local copies of the buckets.
type copies struct{ records, pools *mirror.Mirror }

func newCopies(records, pools mirror.Bucket, queue *workQueue, opts mirror.Options) copies {
	opts.OnChange = func(name string) { queue.add(name) }
	ofPools := opts
	ofPools.Same = sameClaim
	return copies{mirror.New(records, opts), mirror.New(pools, ofPools)}
}

// beforePlace begins, in an entry as Sluice writes it, what changes with every
// checkpoint. Who owns the pool, and by what record it runs, stands before it.
var beforePlace = []byte(`"checkpoint":`)

// sameClaim reports whether an entry was written by the same claim as the one
// before: it says nothing new but where the pool stands, so nobody has to look at
// the pool. Entries in which others wrote the members in another order are told of,
// or found by the next comparison of everything.
func sameClaim(was, now mirror.Entry) bool {
	old, _, _ := bytes.Cut(was.Value, beforePlace)
	claim, _, found := bytes.Cut(now.Value, beforePlace)
	return found && bytes.Equal(old, claim) && bytes.Contains(claim, []byte(`"owner":`))
}

// kick has both listed anew: watches may have missed something.
func (c copies) kick() {
	c.records.Kick()
	c.pools.Kick()
}

// names are those of the pools that have a record or an entry, in no order.
func (c copies) names() []string {
	var names []string
	c.records.Each(func(e mirror.Entry) {
		if wire.ValidName(e.Key) {
			names = append(names, e.Key)
		}
	})
	c.pools.Each(func(e mirror.Entry) {
		if r, ok := c.records.Get(e.Key); (!ok || r.Deleted) && wire.ValidName(e.Key) {
			names = append(names, e.Key)
		}
	})
	return names
}

// passOver looks for pools that other instances should claim and do not, and
// leaves those instances out of the hashing that have had their time. It returns
// the pools that are somebody else's by that.
func (w *viewer) passOver(now time.Time) (names []string) {
	live := w.candidates()
	w.idle.Live(live, now)
	if len(live) < 2 {
		return nil
	}
	for _, name := range w.copies.names() {
		candidates := w.idle.Candidates(name, live)
		rightful := claim.Rightful(name, candidates)
		if rightful == w.me || rightful == "" || !w.waits(name, rightful) {
			w.idle.Settled(name)
			continue
		}
		left := w.idle.Waits(name, candidates, now)
		for _, instance := range left {
			w.log.Warn().Str("subscription", name).Str("idle", instance).
				Msg("an instance does not claim a pool that it should have, it is passed over")
		}
		if len(left) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// waits reports whether a pool would be claimed or removed here, if it were not
// another's who should do it.
func (w *viewer) waits(name, rightful string) bool {
	if w.holdings.of(name) != nil {
		return false
	}
	if e, ok := w.copies.pools.Get(name); ok && !e.Deleted && !w.idle.Suspects(rightful) &&
		bytes.Contains(e.Value, []byte(`"owner":"`+rightful+`"`)) {
		return false // as nearly always, and cheap to tell
	}
	g := w.glance(name, nil)
	g.Rightful = w.me
	return claim.Decide(w.decode(g)) != claim.None
}

// owned are the epochs of the pools that the entries show as an instance's.
func (w *viewer) owned(instance string) map[string]uint64 {
	owned := map[string]uint64{}
	for _, e := range w.copies.pools.Live() {
		if !bytes.Contains(e.Value, []byte(instance)) {
			continue
		}
		if p, err := subscription.DecodePool(e); err == nil && p.Owner == instance {
			owned[e.Key] = p.Epoch
		}
	}
	return owned
}
