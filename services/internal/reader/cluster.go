package reader

import (
	"cmp"
	"math"
	"slices"
)

// waiter is a member that waits for a reader, and its position, which does not
// change meanwhile.
type waiter struct {
	member *member
	at     uint64
}

// running is a temporary reader, and where it is.
type running struct {
	reader *reader
	at     uint64
}

// group is pools for one reader: one that runs, or, if that is nil, a new one
// that begins where the first of the pools is.
type group struct {
	reader *reader
	pools  []waiter
}

// cluster shares pools among the readers that run and new ones; all come in the
// order of their positions. Each pool goes to the reader that is next below it,
// since a pool ignores what it has read already. New readers, as many as are free,
// begin after the largest gaps, if these are larger than span. Pools below which
// there is nothing wait for the next reader.
func cluster(pools []waiter, readers []running, span uint64, free int) (groups []group, left []waiter) {
	begin := beginnings(pools, readers, span, free)
	for i, p := range pools {
		for ; len(readers) > 0 && readers[0].at <= p.at; readers = readers[1:] {
			groups = append(groups, group{reader: readers[0].reader})
		}
		if len(begin) > 0 && begin[0] == i {
			groups, begin = append(groups, group{}), begin[1:]
		}
		if len(groups) == 0 {
			left = append(left, p)
			continue
		}
		last := &groups[len(groups)-1]
		last.pools = append(last.pools, p)
	}
	return groups, left
}

// beginnings returns, in order, which of the pools new readers are to begin at.
func beginnings(pools []waiter, readers []running, span uint64, free int) []int {
	type gap struct {
		before int
		size   uint64
	}
	var gaps []gap
	var below *uint64 // what is nearest below; nothing is below the first
	for i, p := range pools {
		for ; len(readers) > 0 && readers[0].at <= p.at; readers = readers[1:] {
			below = &readers[0].at
		}
		if below == nil {
			gaps = append(gaps, gap{i, math.MaxUint64})
		} else if size := p.at - *below; size > span {
			gaps = append(gaps, gap{i, size})
		}
		below = &pools[i].at
	}
	slices.SortStableFunc(gaps, func(a, b gap) int { return cmp.Compare(b.size, a.size) })
	var begin []int
	for _, g := range gaps[:min(max(free, 0), len(gaps))] {
		begin = append(begin, g.before)
	}
	slices.Sort(begin)
	return begin
}
