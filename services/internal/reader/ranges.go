package reader

import "slices"

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
