package core

import (
	"testing"

	"pgregory.net/rapid"
)

func TestMinus_LeavesWhatIsInTheFirstAlone(t *testing.T) {
	t.Parallel()
	drawRanges := rapid.Custom(func(t *rapid.T) (rs [][2]uint64) {
		at := uint64(0)
		for range rapid.IntRange(0, 6).Draw(t, "ranges") {
			from := at + rapid.Uint64Range(1, 4).Draw(t, "gap")
			to := from + rapid.Uint64Range(0, 4).Draw(t, "length")
			rs, at = append(rs, [2]uint64{from, to}), to+1
		}
		return rs
	})
	in := func(rs [][2]uint64, seq uint64) bool {
		for _, r := range rs {
			if r[0] <= seq && seq <= r[1] {
				return true
			}
		}
		return false
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRanges.Draw(t, "a"), drawRanges.Draw(t, "b")
		got := minus(a, b)
		last := uint64(0)
		for _, r := range got {
			if r[0] <= last || r[1] < r[0] {
				t.Fatalf("%v minus %v = %v, which does not ascend", a, b, got)
			}
			last = r[1]
		}
		for seq := range uint64(80) {
			if want := in(a, seq) && !in(b, seq); in(got, seq) != want {
				t.Fatalf("%v minus %v = %v; %d is in it: %v", a, b, got, seq, !want)
			}
		}
	})
}
