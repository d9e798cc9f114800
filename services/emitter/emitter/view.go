package emitter

import (
	"bytes"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/lease"
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
	v := w.glance(name, live)
	if h := w.holdings.of(name); h != nil {
		v.Held = h.known()
	}
	return v.Settled()
}

// of gathers what a decision about a pool is made from. Where the glance says that there is
// nothing to do it lacks what record and entry say.
func (w *viewer) of(name string) claim.View {
	v := w.glance(name, w.candidates())
	v.Held = w.held(name, v.PoolRevision) // last: what it has written must not look like somebody else's
	if !v.Settled() {
		w.decode(&v, name)
	}
	return v
}

// glance gathers what can be known about a pool without decoding anything, but
// for what is held: a full comparison looks at every pool, and finds most settled.
func (w *viewer) glance(name string, live []string) claim.View {
	v := claim.View{Me: w.me, Rightful: claim.Rightful(name, w.idle.Candidates(name, live))}
	r, ok := w.copies.records.Get(name)
	if ok {
		v.RecordRevision, v.Deleted = r.Revision, r.Deleted && !r.Absent
	}
	older := ok && r.Created.Before(w.copies.pools.Created()) // than all that the pools' bucket can tell
	e, ok := w.copies.pools.Get(name)
	if ok && !e.Absent {
		v.PoolRevision = e.Revision
		v.Named = bytes.Contains(e.Value, []byte(w.me)) // which JSON has no need to escape
	}
	v.Vanished = ok && e.Absent || !ok && older
	v.Awaited = w.vanished.Note(name, v.Vanished, time.Now())
	return v
}

func (w *viewer) held(name string, seen uint64) *claim.Held {
	h := w.holdings.of(name)
	if h == nil {
		return nil
	}
	return h.held(seen)
}

// decode adds what record and entry say, at revisions that may be newer than
// those of the glance.
func (w *viewer) decode(v *claim.View, name string) {
	defer func() { v.Held = w.held(name, v.PoolRevision) }() // last, as in glance
	if e, ok := w.copies.records.Get(name); ok {
		v.RecordRevision, v.Deleted = e.Revision, e.Deleted && !e.Absent
		if !e.Deleted {
			rec, err := subscription.DecodeRecord(subscription.Mirrored(e), w.ns)
			if err != nil {
				w.log.Error().Err(err).Str("subscription", name).Uint64("revision", e.Revision).Msg("record cannot be read")
			}
			v.Record = rec
		}
	}
	e, ok := w.copies.pools.Get(name)
	if !ok {
		return
	}
	if !e.Absent {
		v.PoolRevision = e.Revision
	}
	if e.Deleted {
		return
	}
	p, err := subscription.DecodePool(subscription.Mirrored(e))
	if err != nil {
		w.log.Error().Err(err).Str("subscription", name).Uint64("revision", e.Revision).Msg("pool entry cannot be read")
		v.PoolCorrupt, v.PoolNewer = true, errors.Is(err, subscription.ErrNewerSchema)
		return
	}
	v.Pool = p
	v.OwnerAlive = p.Owner != "" && w.peers.Alive(p.Owner)
	w.idle.Claimed(name, p.Owner, p.Epoch)
	v.Contested = w.contests.Paused(name, time.Now())
}
