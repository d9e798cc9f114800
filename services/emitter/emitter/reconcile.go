package emitter

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

const (
	// retryAfter is how long a pool waits whose action failed.
	retryAfter = 250 * time.Millisecond
	// compareEvery is how often every pool is looked at, whatever was heard, or
	// more seldom where it would take more than one in compareShare of the time.
	compareEvery = 10 * time.Second
	compareShare = 100
	maxCompare   = time.Minute
	// maxActions bounds the actions under way at once, but for those that
	// drain: waiting costs nothing, and there are no more of them than pools.
	maxActions = 32
	// actTimeout bounds one action beyond its drain.
	actTimeout = 10 * time.Second
)

// dirty asks for a look at a pool.
func (s *Service) dirty(name string) {
	if !wire.ValidName(name) {
		return
	}
	s.mu.Lock()
	s.toLook[name] = struct{}{}
	s.mu.Unlock()
	s.wake()
}

// allDirty asks for a look at every pool that is known from anywhere.
func (s *Service) allDirty() {
	s.mu.Lock()
	s.lookAll = true
	s.mu.Unlock()
	s.wake()
}

func (s *Service) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// reconcile looks at pools and acts until ctx ends; it returns once no action
// is under way any more.
func (s *Service) reconcile(ctx context.Context) error {
	compare := time.NewTicker(compareEvery)
	defer compare.Stop()
	again := time.NewTicker(retryAfter)
	defer again.Stop()
	idle := time.NewTicker(s.common.SessionTTL / 2)
	defer idle.Stop()
	var actions sync.WaitGroup
	defer actions.Wait()
	var due time.Time // of the next comparison
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		case <-s.reconnects:
			s.reconnected()
		case now := <-compare.C:
			if !now.Before(due) {
				s.allDirty()
			}
		case <-again.C:
			s.retryFailed()
		case <-idle.C:
			s.findIdle(time.Now())
			s.left.expire(time.Now(), 10*s.common.SessionTTL)
		}
		if !s.session.Valid() || !s.synced() {
			continue // what is dirty stays so
		}
		live := s.candidates()
		if s.takeAll() {
			begun := time.Now()
			s.compare(live)
			due = begun.Add(comparedAgain(time.Since(begun)))
		}
		for _, name := range s.takeDirty() {
			if s.settled(name, live) {
				continue // as mostly after what we wrote ourselves
			}
			if err := s.slots.Acquire(ctx, 1); err != nil {
				return nil
			}
			s.begin(name)
			actions.Go(func() {
				defer s.slots.Release(1)
				s.look(ctx, name)
			})
		}
	}
}

// watchSession acts on changes of the session until ctx ends. It waits for
// nothing else, so that no hand-over delays it.
func (s *Service) watchSession(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.session.Changes():
			s.sessionChanged()
		}
	}
}

// sessionChanged stops every pool when the session can no longer be trusted:
// others may have taken them over.
func (s *Service) sessionChanged() {
	if s.session.Valid() {
		s.ready.OK()
		s.allDirty()
		return
	}
	s.ready.Fail("the session cannot be renewed, so no pool can be kept")
	s.idle.Blind()
	var wg sync.WaitGroup
	for _, h := range s.allHoldings() { // at once: a write that is under way holds up its own pool only
		wg.Go(func() { s.abandon(h) })
	}
	wg.Wait()
}

// abandon stops a pool whose session has lapsed, and keeps where it stood.
func (s *Service) abandon(h *holding) {
	s.lose(h, "the session could not be renewed in time")
	h.mu.Lock()
	defer h.mu.Unlock()
	s.left.keep(h.entry, time.Now())
}

// synced reports whether the copies of the buckets are complete.
func (s *Service) synced() bool {
	for _, ch := range []<-chan struct{}{s.recordCopy.Synced(), s.poolCopy.Synced(), s.peers.Synced()} {
		select {
		case <-ch:
		default:
			return false
		}
	}
	return true
}

// comparedAgain is after which time everything is compared again, where it took
// so long.
func comparedAgain(took time.Duration) time.Duration {
	return min(max(compareEvery, compareShare*took), maxCompare) // it may have been the machine that stood still
}

// takeAll reports whether every pool is to be looked at, which is then no longer so.
func (s *Service) takeAll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.lookAll
	s.lookAll = false
	return all
}

// compare glances at every pool that is known from anywhere, and makes those dirty
// that are not settled.
func (s *Service) compare(live []string) {
	var names []string
	for _, h := range s.allHoldings() {
		if !s.settled(h.name, live) {
			names = append(names, h.name)
		}
	}
	for _, name := range s.stored() {
		if s.holding(name) == nil && !s.settled(name, live) {
			names = append(names, name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.toLook[name] = struct{}{}
	}
}

// takeDirty returns the pools to look at, but for those that are being acted
// on; these stay dirty.
func (s *Service) takeDirty() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.toLook {
		if _, busy := s.busy[name]; !busy {
			names = append(names, name)
			delete(s.toLook, name)
		}
	}
	return names
}

// begin notes that a pool is being acted on.
func (s *Service) begin(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[name] = struct{}{}
}

// settled reports whether a glance shows that there is nothing to do about a pool.
// It waits for no write that is under way.
func (s *Service) settled(name string, live []string) bool {
	v := s.glance(name, live)
	if h := s.holding(name); h != nil {
		v.Held = h.known()
	}
	return v.Settled()
}

// stored are the names of the pools that have a record or an entry, in no order.
func (s *Service) stored() []string {
	var names []string
	s.recordCopy.Each(func(e mirror.Entry) {
		if wire.ValidName(e.Key) {
			names = append(names, e.Key)
		}
	})
	s.poolCopy.Each(func(e mirror.Entry) {
		if r, ok := s.recordCopy.Get(e.Key); (!ok || r.Deleted) && wire.ValidName(e.Key) {
			names = append(names, e.Key)
		}
	})
	return names
}

// look decides about one pool and acts. It has a slot.
func (s *Service) look(ctx context.Context, name string) {
	v := s.view(name)
	action := claim.Decide(v)
	var err error
	if action != claim.None && ctx.Err() == nil {
		err = s.act(context.WithoutCancel(ctx), name, action, v)
	}
	s.mu.Lock()
	delete(s.busy, name)
	if err != nil || action == claim.None && v.Contested {
		s.failed[name] = struct{}{}
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.rarely.Warn().Err(err).Str("subscription", name).Stringer("action", action).Msg("pool not reconciled yet")
	default:
		s.wake() // it may have become dirty while it was busy
	}
}

// retryFailed makes the pools dirty whose action failed, or has to wait.
func (s *Service) retryFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.failed {
		s.toLook[name] = struct{}{}
	}
	clear(s.failed)
}

// view gathers what a decision is made from. Where the glance says that there is
// nothing to do it lacks what record and entry say.
func (s *Service) view(name string) claim.View {
	v := s.glance(name, s.candidates())
	v.Held = s.held(name, v.PoolRevision) // last: what it has written must not look like somebody else's
	if !v.Settled() {
		s.decode(&v, name)
	}
	return v
}

// glance gathers what can be known about a pool without decoding anything, but
// for what is held, where live are the instances that may own pools: every
// checkpoint, of ours and of our peers, makes its pool dirty, and a full
// comparison all of them.
func (s *Service) glance(name string, live []string) claim.View {
	v := claim.View{Me: s.instance, Rightful: claim.Rightful(name, s.idle.Candidates(name, live))}
	r, ok := s.recordCopy.Get(name)
	if ok {
		v.RecordRevision, v.Deleted = r.Revision, r.Deleted && !r.Absent
	}
	older := ok && r.Created.Before(s.poolCopy.Created()) // than all that the pools' bucket can tell
	e, ok := s.poolCopy.Get(name)
	if ok && !e.Absent {
		v.PoolRevision = e.Revision
		v.Named = bytes.Contains(e.Value, []byte(s.instance)) // which JSON has no need to escape
	}
	v.Vanished = ok && e.Absent || !ok && older
	v.Awaited = s.vanished.Note(name, v.Vanished, time.Now())
	return v
}

func (s *Service) held(name string, seen uint64) *claim.Held {
	h := s.holding(name)
	if h == nil {
		return nil
	}
	return h.held(seen)
}

// decode adds what record and entry say, at revisions that may be newer than
// those of the glance.
func (s *Service) decode(v *claim.View, name string) {
	defer func() { v.Held = s.held(name, v.PoolRevision) }() // last, as in glance
	if e, ok := s.recordCopy.Get(name); ok {
		v.RecordRevision, v.Deleted = e.Revision, e.Deleted && !e.Absent
		if !e.Deleted {
			rec, err := subscription.DecodeRecord(subscription.Mirrored(e), s.ns)
			if err != nil {
				s.rarely.Error().Err(err).Str("subscription", name).Uint64("revision", e.Revision).Msg("record cannot be read")
			}
			v.Record = rec
		}
	}
	e, ok := s.poolCopy.Get(name)
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
		s.rarely.Error().Err(err).Str("subscription", name).Uint64("revision", e.Revision).Msg("pool entry cannot be read")
		v.PoolCorrupt, v.PoolNewer = true, errors.Is(err, subscription.ErrNewerSchema)
		return
	}
	v.Pool = p
	v.OwnerAlive = p.Owner != "" && s.peers.Alive(p.Owner)
	s.idle.Claimed(name, p.Owner, p.Epoch)
	v.Contested = s.contests.Paused(name, time.Now())
}

// candidates are the instances that may own pools.
func (s *Service) candidates() []string {
	var ids []string
	for _, session := range s.peers.Live() {
		if !session.Draining {
			ids = append(ids, session.Instance)
		}
	}
	return ids
}

func (s *Service) holding(name string) *holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holdings[name]
}

func (s *Service) allHoldings() []*holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	hs := make([]*holding, 0, len(s.holdings))
	for _, h := range s.holdings {
		hs = append(hs, h)
	}
	return hs
}
