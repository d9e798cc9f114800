package reader

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPoolsAreSharedAmongReaders(t *testing.T) {
	t.Parallel()
	const k = 1000
	for _, tt := range []struct {
		name    string
		pools   []uint64
		readers []uint64
		free    int
		want    string // the pools of each group; a new reader's first, a running one's position in front
	}{
		{"nobody", nil, nil, 3, "[] left []"},
		{"near each other", []uint64{0, 10 * k, 20 * k}, nil, 3, "[[0 10000 20000]] left []"},
		{"a gap is worth a reader", []uint64{0, 10*k + 1}, nil, 3, "[[0] [10001]] left []"},
		{"the largest gaps", []uint64{0, 20 * k, 80 * k, 95 * k, 200 * k}, nil, 3, "[[0 20000] [80000 95000] [200000]] left []"},
		{"equal gaps", []uint64{0, 20 * k, 40 * k}, nil, 2, "[[0] [20000 40000]] left []"},
		{"none is free", []uint64{0, 20 * k}, nil, 0, "[] left [0 20000]"},
		{"near a reader", []uint64{100 * k}, []uint64{95 * k}, 3, "[95000:[100000]] left []"},
		{"far from a reader", []uint64{100 * k}, []uint64{50 * k}, 3, "[50000:[] [100000]] left []"},
		{"far from a reader, and none is free", []uint64{100 * k}, []uint64{50 * k}, 0, "[50000:[100000]] left []"},
		{"the nearest one below", []uint64{99 * k, 100 * k}, []uint64{10 * k, 99 * k, 101 * k}, 0, "[10000:[] 99000:[99000 100000]] left []"},
		{"below all readers, and none is free", []uint64{5, 100 * k}, []uint64{50 * k}, 0, "[50000:[100000]] left [5]"},
		{"below all readers comes first", []uint64{5, 6, 500 * k}, []uint64{50 * k}, 1, "[[5 6] 50000:[500000]] left []"},
		{"one too many in use", []uint64{5}, []uint64{50}, -1, "[] left [5]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := draw(cluster(waiters(tt.pools), readersAt(tt.readers), 10*k, tt.free)); got != tt.want {
				t.Errorf("cluster = %s, want %s", got, tt.want)
			}
		})
	}
}

func waiters(at []uint64) []waiter {
	var ws []waiter
	for _, n := range at {
		ws = append(ws, waiter{at: n})
	}
	return ws
}

func readersAt(at []uint64) []running {
	var rs []running
	for _, n := range at {
		r := &reader{}
		r.position.Store(n)
		rs = append(rs, running{r, n})
	}
	return rs
}

func draw(groups []group, left []waiter) string {
	at := func(ws []waiter) string {
		out := []uint64{}
		for _, w := range ws {
			out = append(out, w.at)
		}
		return fmt.Sprint(out)
	}
	out := []string{}
	for _, g := range groups {
		if g.reader != nil {
			out = append(out, fmt.Sprint(g.reader.position.Load())+":"+at(g.pools))
		} else {
			out = append(out, at(g.pools))
		}
	}
	return fmt.Sprint(out) + " left " + at(left)
}

func TestEveryPoolIsServedIfAReaderIsFree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		positions := rapid.SliceOf(rapid.Uint64Range(0, 300))
		pools, readers := positions.Draw(t, "pools"), positions.Draw(t, "readers")
		span, free := rapid.Uint64Range(0, 50).Draw(t, "span"), rapid.IntRange(0, 4).Draw(t, "free")
		slices.Sort(pools)
		slices.Sort(readers)
		groups, left := cluster(waiters(pools), readersAt(readers), span, free)
		if free > 0 && len(left) > 0 {
			t.Fatalf("%d pools wait although a reader is free", len(left))
		}
		var served, begun int
		for _, g := range groups {
			served += len(g.pools)
			from := uint64(0)
			if g.reader != nil {
				from = g.reader.position.Load()
			} else {
				begun++
				from = g.pools[0].at
			}
			for _, p := range g.pools {
				if p.at < from {
					t.Fatalf("the pool at %d is behind its reader at %d", p.at, from)
				}
			}
		}
		if begun > free {
			t.Errorf("%d new readers, and %d are free", begun, free)
		}
		if served+len(left) != len(pools) {
			t.Errorf("%d served and %d waiting, of %d", served, len(left), len(pools))
		}
	})
}

// A quadratic way takes seconds for this.
func TestTenThousandScatteredPoolsAreSharedAtOnce(t *testing.T) {
	t.Parallel()
	var pools []uint64
	for i := range uint64(100_000) {
		pools = append(pools, i*20_000)
	}
	began := time.Now()
	groups, left := cluster(waiters(pools), nil, 10_000, 15)
	if len(groups) != 15 || len(left) > 0 {
		t.Errorf("%d readers, and %d pools wait", len(groups), len(left))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}
