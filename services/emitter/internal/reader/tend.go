package reader

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// tend brings readers and pools in line with what is.
func (s *Store) tend(ctx context.Context) {
	s.mu.Lock()
	idle := len(s.members) == 0
	s.mu.Unlock()
	if idle {
		s.closeAll()
		return
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now, err := inspect(call, s.js, s.name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		s.lost("the store does not exist")
		return
	case err != nil:
		if ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("store cannot be looked at")
		}
		return
	}
	s.renew(now)
	s.reap()
	if err := s.ensureHead(ctx, now); err != nil {
		s.log.Warn().Err(err).Msg("store cannot be read")
		return
	}
	s.place(ctx, now)
}

func inspect(ctx context.Context, js jetstream.JetStream, name string) (info, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return info{}, err
	}
	c := stream.CachedInfo()
	return info{first: max(c.State.FirstSeq, 1), last: c.State.LastSeq, created: c.Created}, nil
}

// renew notes what the store holds and judges the jumps that readers met.
func (s *Store) renew(now info) {
	s.mu.Lock()
	another := !s.info.created.IsZero() && !s.info.created.Equal(now.created) || now.last < s.info.last
	s.info = now
	readers := s.readers()
	s.mu.Unlock()
	if another {
		s.lost("the store was deleted and created anew, or lost its end")
		return
	}
	for _, r := range readers {
		s.judge(r, now)
	}
}

func (s *Store) readers() []*reader {
	var rs []*reader
	if s.head != nil {
		rs = append(rs, s.head)
	}
	for r := range s.temps {
		rs = append(rs, r)
	}
	return rs
}

// judge tells the pools of r which of its jumps were gaps: ranges that the
// store has dropped from its front.
func (s *Store) judge(r *reader, now info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.jumps {
		if now.first <= j.from {
			continue
		}
		gap := jump{j.from, min(j.to, now.first-1)}
		r.index.Keys(func(p *pool.Pool) {
			m := s.members[p]
			if from := max(gap.from, m.since+1); m != nil && from <= gap.to && !p.Finished(from, gap.to) {
				p.Lost(wire.Gap{From: from, To: gap.to, At: time.Now().UTC(), Generation: m.gen})
			}
		})
	}
	r.jumps = r.jumps[:0]
}

// lost takes all pools off their readers: the sequences mean nothing any more.
func (s *Store) lost(why string) {
	s.closeAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info{}
	for p := range s.members {
		p.StoreLost(why)
	}
}

// reap closes temporary readers that have no pools left.
func (s *Store) reap() {
	s.mu.Lock()
	var done []*reader
	for r := range s.temps {
		r.mu.Lock()
		if r.stopped || r.index.Len() == 0 {
			r.stopped = true
			done = append(done, r)
			delete(s.temps, r)
		}
		r.mu.Unlock()
	}
	s.mu.Unlock()
	for _, r := range done {
		r.close()
	}
}

// ensureHead opens the reader at the head of the store.
func (s *Store) ensureHead(ctx context.Context, now info) error {
	s.mu.Lock()
	have := s.head != nil
	s.mu.Unlock()
	if have {
		return nil
	}
	r := newReader(s, now.last, true)
	if err := r.open(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.head = r
	s.mu.Unlock()
	return nil
}

// place gives each pool that waits a reader.
func (s *Store) place(ctx context.Context, now info) {
	s.mu.Lock()
	var behind []*pool.Pool
	for p, m := range s.members {
		if m.reader != nil || m.full || m.halted || !s.fit(p, m, now) || s.put(p, m, s.head) {
			continue
		}
		behind = append(behind, p)
	}
	free := s.maxReaders - 1 - len(s.temps)
	s.mu.Unlock()
	slices.SortFunc(behind, func(a, b *pool.Pool) int {
		switch pa, pb := a.Position(), b.Position(); {
		case pa < pb:
			return -1
		case pa > pb:
			return 1
		}
		return 0
	})
	for ; free > 0 && len(behind) > 0; free-- {
		n := 1
		from := behind[0].Position()
		for n < len(behind) && behind[n].Position() <= from+groupSpan {
			n++
		}
		s.catchUp(ctx, behind[:n], from)
		behind = behind[n:]
	}
}

// fit reports whether the store still has what p is to read next, and deals
// with it where it has not.
func (s *Store) fit(p *pool.Pool, m *member, now info) bool {
	if !m.created.IsZero() && !m.created.Equal(now.created) {
		p.StoreLost("the store was deleted and created anew: subscribe again, with restart")
		return false
	}
	at := p.Position()
	if at > now.last && !m.ahead {
		m.ahead = true // it may have been read since the store was looked at
		s.wake()
		return false
	}
	if at > now.last {
		p.StoreLost("the store ends before the checkpoint: it lost events; seek or restart the subscription")
		return false
	}
	m.ahead = false
	p.StoreLost("")
	if now.first > at+1 && !p.Finished(at+1, now.first-1) {
		gap := wire.Gap{From: at + 1, To: now.first - 1, At: time.Now().UTC(), Generation: m.gen}
		before := p.Gap()
		if p.Spec().OnGap == wire.GapPause && (before == nil || before.From != gap.From || before.Generation >= m.gen) {
			m.halted = true
			p.Lost(gap)
			s.paused(p.Name(), gap)
			return false
		}
		p.Lost(gap)
	}
	if m.jump != nil && m.jump.from == at+1 {
		p.SkipTo(m.jump.to) // deleted one by one: nothing was there
	}
	m.jump = nil
	p.SkipTo(max(p.Position(), now.first-1))
	return true
}

// catchUp opens a temporary reader for pools that are behind the head.
func (s *Store) catchUp(ctx context.Context, ps []*pool.Pool, from uint64) {
	r := newReader(s, from, false)
	s.mu.Lock()
	for _, p := range ps {
		m := s.members[p]
		if m == nil || m.reader != nil {
			continue
		}
		s.put(p, m, r)
	}
	s.temps[r] = struct{}{}
	s.mu.Unlock()
	if err := r.open(ctx); err != nil {
		s.log.Warn().Err(err).Msg("store cannot be read")
		s.abandon(r)
	}
}

// abandon takes all pools off a reader, so that they wait for another one.
func (s *Store) abandon(r *reader) {
	s.mu.Lock()
	for _, p := range r.stop() {
		if m := s.members[p]; m != nil {
			m.reader = nil
		}
	}
	delete(s.temps, r)
	if s.head == r {
		s.head = nil
	}
	s.mu.Unlock()
	r.close()
}

// lookAfter looks after readers that do not move: a temporary one that has
// nothing left to read has arrived; one that has more to read has stalled.
func (s *Store) lookAfter(ctx context.Context) {
	s.mu.Lock()
	rs, last := s.readers(), s.info.last
	s.mu.Unlock()
	for _, r := range rs {
		switch {
		case r.moved(last):
		case !r.atHead && s.arrived(ctx, r):
			s.merge(r)
		case r.still >= stillLooks:
			s.log.Warn().Uint64("position", r.position.Load()).Uint64("last", last).Msg("reader stalled, opening it anew")
			s.abandon(r)
			s.wake()
		}
	}
}

// arrived finds out whether a temporary reader has nothing left to read up to
// where the head is: the last events may have been deleted, so that no message
// says so. It moves the reader's position there if so.
func (s *Store) arrived(ctx context.Context, r *reader) bool {
	head := s.headPosition()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ci, err := r.cons.Info(call)
	if err != nil || ci.NumPending > 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || ci.Delivered.Stream > r.position.Load() {
		return false // still on its way to us
	}
	r.position.Store(max(r.position.Load(), head))
	return true
}
