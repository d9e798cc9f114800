package reader

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/match"
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

func TestPoolsOfAHeadThatHasFallenBehindAreNotLive(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	s := bare(e)
	r := newReader(s, 100, match.Filters{"e.0.made"})
	r.atHead.Store(true)
	s.head.Store(r)
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
		if st, _ := first.State(); st != want {
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
	if st, _ := second.State(); st != wire.PoolCatchingUp {
		t.Errorf("one that comes is %s", st)
	}
	r.position.Store(49_990)
	looks(1, 50_000)
	want("near the end", wire.PoolLive)
	first.Detach(49_990)
	first.Live(true)
	want("without a reader", wire.PoolCatchingUp)
}
