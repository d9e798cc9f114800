package reader

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// maxHoles bounds the sequences that a store may lack for its list of them to be
// asked for: the server writes each of them out, some 8 bytes.
const maxHoles = 20_000

// ranges are sequences, each range with its first and its last; they ascend and
// are disjoint.
type ranges [][2]uint64

// rangesOf joins sequences that follow each other.
func rangesOf(seqs []uint64) (rs ranges) {
	slices.Sort(seqs)
	for _, seq := range seqs {
		if n := len(rs); n > 0 && seq <= rs[n-1][1]+1 {
			rs[n-1][1] = seq
			continue
		}
		rs = append(rs, [2]uint64{seq, seq})
	}
	return rs
}

// within returns what of the ranges lies in from..to.
func (rs ranges) within(from, to uint64) (part ranges) {
	begin, _ := slices.BinarySearchFunc(rs, from, func(r [2]uint64, from uint64) int {
		if r[1] < from {
			return -1
		}
		return 1
	})
	for _, r := range rs[begin:] {
		if r[0], r[1] = max(r[0], from), min(r[1], to); r[0] > r[1] {
			break
		}
		part = append(part, r)
	}
	return part
}

// count is how many sequences there are.
func (rs ranges) count() (n uint64) {
	for _, r := range rs {
		n += r[1] - r[0] + 1
	}
	return n
}

// findHoles adds to a look at the store which sequences it lacks between its
// first and its last, where somebody needs to know: a pool that begins, or one
// whose reader asks for a part of the events and has passed something.
func (s *Store) findHoles(ctx context.Context, now *info) error {
	if now.deleted == 0 {
		now.holesKnown = true
		return nil
	}
	if now.deleted > maxHoles || !s.needsHoles(*now) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.name)
	if err != nil {
		return fmt.Errorf("look at what store %q lacks: %w", s.name, err)
	}
	i, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return fmt.Errorf("look at what store %q lacks: %w", s.name, err)
	}
	now.holes, now.holesKnown = rangesOf(i.State.Deleted), true
	return nil
}

func (s *Store) needsHoles(now info) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	partly := func(js jumps) bool {
		return slices.ContainsFunc(js, func(j jump) bool { return !j.all && max(j.from, now.first) <= min(j.to, j.last) })
	}
	for _, m := range s.crowds.judging.in {
		if partly(m.passed) {
			return true
		}
	}
	for p := range s.crowds.fresh.in {
		if !p.HasBegun() && p.Position() < now.last {
			return true
		}
	}
	return slices.ContainsFunc(s.readers(), func(r *reader) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return partly(r.jumps)
	})
}

// begin notes for pools that begin what the store lacks already: that is no
// loss of theirs.
func (s *Store) begin(now info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.crowds.fresh.in {
		if !p.HasBegun() {
			p.Began(now.last, now.holes, now.holesKnown)
		}
	}
}

// passHoles deals with a pool that left its reader where the stream left out a
// range, above the front of the store, and reports whether it may go on behind.
func (s *Store) passHoles(p *pool.Pool, m *member, now info) bool {
	j := m.jump
	if j == nil || j.from != p.Position()+1 {
		return true
	}
	if lost := p.NotRead(j.middle(now)); len(lost) > 0 && !s.pass(p, m, m.gap(wire.GapMiddle, lost)) {
		return false
	}
	p.SkipTo(j.to)
	return true
}
