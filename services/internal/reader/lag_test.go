package reader

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/match"
)

func TestTheHeadFallsBehindAndComesBack(t *testing.T) {
	t.Parallel()
	type look struct {
		behind, growth uint64
		fallen         bool
	}
	for _, tt := range []struct {
		name  string
		looks []look
	}{
		{"near to the end", []look{{0, 0, false}, {1000, 0, false}, {1000, 0, false}, {1000, 0, false}}},
		{"a burst", []look{{50_000, 50_000, false}, {20_000, 0, false}, {0, 0, false}, {50_000, 0, false}}},
		{"a backlog", []look{{1001, 0, false}, {1001, 0, false}, {1001, 0, true}, {1001, 0, true}}},
		{"a backlog that grows", []look{{20_000, 1500, false}, {21_000, 1500, false}, {22_000, 1500, true}}},
		{"much, of a store where that is little", []look{{20_000, 10_000, false}, {20_000, 10_000, false}, {20_000, 10_000, false}}},
		{"it comes back", []look{{5000, 0, false}, {5000, 0, false}, {5000, 0, true}, {900, 0, true}, {251, 0, true}, {250, 0, false}}},
		{"back is within a look", []look{{9000, 2000, false}, {9000, 2000, false}, {9000, 2000, true}, {2001, 2000, true}, {2000, 2000, false}}},
		{"far behind, but not in a row", []look{{5000, 0, false}, {5000, 0, false}, {1000, 0, false}, {5000, 0, false}, {5000, 0, false}, {5000, 0, true}}},
		{"it falls behind again", []look{{5000, 0, false}, {5000, 0, false}, {5000, 0, true}, {0, 0, false}, {5000, 0, false}, {5000, 0, false}, {5000, 0, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var l lag
			for i, k := range tt.looks {
				if l = l.next(k.behind, k.growth); l.fallen != k.fallen {
					t.Errorf("after look %d it has fallen behind: %v", i+1, l.fallen)
				}
			}
		})
	}
}

func TestLag_WhatIsNotAskedForKeepsNobodyBehind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                      string
		pending, at, last, behind uint64
	}{
		{"nothing is pending", 0, 100, 50_000, 0},
		{"some is pending, of much", 30, 100, 50_000, 49_900},
		{"more is pending than the last look saw", 60_000, 100, 50_000, 60_000},
		{"beyond what the last look saw", 7, 60_000, 50_000, 7},
		{"at the end", 0, 50_000, 50_000, 0},
	} {
		if got := behind(tt.pending, tt.at, tt.last); got != tt.behind {
			t.Errorf("%s: %d behind, want %d", tt.name, got, tt.behind)
		}
	}
}

// withHead is a reader at the head of a store without JetStream.
func (s *Store) withHead(at uint64) *reader {
	r := newReader(s, at, match.Filters{"e.0.made"})
	r.atHead.Store(true)
	s.head.Store(r)
	return r
}

// Far behind is measured by how the store grows, as far as the reader knows.
func TestLag_AStoreThatGrowsFastIsFurtherAhead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	for _, tt := range []struct {
		name    string
		last    []uint64 // what each look at the store shows
		pending uint64   // of the reader, which is at 100 and a thousand further at each look
		fallen  bool
	}{
		{"it does not grow", []uint64{50_000, 50_000, 50_000}, 30, true},
		{"it grows", []uint64{10_000, 30_000, 50_000, 70_000}, 30, false},
		{"only the reader knows", []uint64{100, 100, 100, 100}, 2500, false},
		{"not as fast", []uint64{100, 100, 100, 100}, 3500, true},
	} {
		s := bare(e)
		r := s.withHead(100)
		for i, last := range tt.last {
			r.position.Store(100 + 1000*uint64(i))
			r.pending.Store(tt.pending)
			s.info.last = last
			s.watchEnd()
		}
		if r.lag.fallen != tt.fallen {
			t.Errorf("%s: fallen behind %v", tt.name, r.lag.fallen)
		}
	}
}

func TestPoolsOfAHeadThatHasFallenBehindAreNotLive(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	s := bare(e)
	r := s.withHead(100)
	first, _ := e.idle(t, "first", 100)
	if ok, err := join(r, first, 100); !ok || err != nil {
		t.Fatal(ok, err)
	}
	looks := func(n int, last uint64) {
		for range n {
			s.info.last = last
			s.watchEnd()
		}
	}
	want := func(when string, want wire.PoolState) {
		t.Helper()
		if st := first.Status().State; st != want {
			t.Errorf("%s it is %s, want %s", when, st, want)
		}
	}
	looks(5, 50_000)
	want("while nothing of that is asked for", wire.PoolLive)
	r.noteBacklog(30)
	looks(2, 50_000)
	want("after a moment", wire.PoolLive)
	looks(1, 50_000)
	want("far from the end", wire.PoolCatchingUp)
	second, _ := e.idle(t, "second", 100)
	if ok, err := join(r, second, 100); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if st := second.Status().State; st != wire.PoolCatchingUp {
		t.Errorf("one that comes is %s", st)
	}
	r.position.Store(49_990)
	looks(1, 50_000)
	want("near the end", wire.PoolLive)
	first.Detach(49_990)
	first.Live(true)
	want("without a reader", wire.PoolCatchingUp)
}
