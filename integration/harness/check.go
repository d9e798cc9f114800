package harness

import (
	"fmt"
	"slices"
)

// maxFaults bounds how many faults one check shows.
const maxFaults = 5

// RequireSet checks that exactly the events of want were delivered, however
// often, and returns how many deliveries were repeats.
func (r *Recorder) RequireSet(what string, want []uint64) (repeats int) {
	r.env.T.Helper()
	all := r.Deliveries()
	first := sequences(r.First())
	slices.Sort(first)
	wanted := slices.Sorted(slices.Values(want))
	if missing := minus(wanted, first); len(missing) > 0 {
		r.env.T.Errorf("%s: %d of %d events did not come: %v", what, len(missing), len(want), head(missing))
	}
	if extra := minus(first, wanted); len(extra) > 0 {
		r.env.T.Errorf("%s: %d events came that do not match: %v", what, len(extra), head(extra))
	}
	return len(all) - len(first)
}

// RequireExactly checks that exactly the events of want were delivered, each
// once and at its first attempt.
func (r *Recorder) RequireExactly(what string, want []uint64) {
	r.env.T.Helper()
	if repeats := r.RequireSet(what, want); repeats > 0 {
		r.env.T.Errorf("%s: %d deliveries were repeats", what, repeats)
	}
	for _, d := range r.Deliveries() {
		if d.Attempt != 1 {
			r.env.T.Errorf("%s: event %d came at attempt %d", what, d.Sequence, d.Attempt)
			return
		}
	}
}

// RequireOrder checks that first deliveries of one key came in store order.
func (r *Recorder) RequireOrder(what string, key func(Delivery) string) {
	r.env.T.Helper()
	if faults := OutOfOrder(r.First(), key); len(faults) > 0 {
		r.env.T.Errorf("%s: %d deliveries out of order: %v", what, len(faults), faults[:min(len(faults), maxFaults)])
	}
}

// OutOfOrder returns what is wrong with the order of first deliveries.
func OutOfOrder(first []Delivery, key func(Delivery) string) (faults []string) {
	last := make(map[string]uint64)
	for _, d := range first {
		k := key(d)
		if last[k] > d.Sequence {
			faults = append(faults, fmt.Sprintf("%d of %q after %d", d.Sequence, k, last[k]))
		}
		last[k] = max(last[k], d.Sequence)
	}
	return faults
}

// minus returns the members of a, sorted, that are not in b, sorted.
func minus(a, b []uint64) (rest []uint64) {
	for _, v := range a {
		if _, found := slices.BinarySearch(b, v); !found {
			rest = append(rest, v)
		}
	}
	return rest
}

func head(seqs []uint64) []uint64 { return seqs[:min(len(seqs), maxFaults)] }

// SortByArrival orders deliveries of several recorders by when they came.
func SortByArrival(ds []Delivery) {
	slices.SortStableFunc(ds, func(a, b Delivery) int { return a.At.Compare(b.At) })
}
