package pattern

// Verdict is what came of judging a document.
type Verdict uint8

// The verdicts.
const (
	NoMatch   Verdict = iota
	Matches           // every pattern holds
	TooCostly         // it would take more steps than there were: nobody knows
)

func (v Verdict) String() string {
	switch v {
	case NoMatch:
		return "no match"
	case Matches:
		return "match"
	}
	return "too costly to judge"
}

// Budget is how many steps the patterns of one subscription may take on one
// event. A step is a field, an element of an array or an alternative that is
// looked at once; long texts are counted as the functions below have it. So the
// count depends on pattern and document alone, on no clock and no other load.
//
// The goal is that no subscription keeps its neighbours on a store waiting for
// more than 100 ms. Of the kinds of steps in BenchmarkStep the dearest takes
// 40 ns on two busy cores, and most take 15. So 2^21 steps take 30 to 80 ms,
// and reading an event of 1 MB, once for all, takes most of what is left.
const Budget = 1 << 21

// spend takes steps from what is left, and reports whether there were so many.
// It is asked before the work, so that none is done beyond the budget. Once it
// has said no it says nothing else.
func (v *view) spend(steps int) bool {
	v.left -= steps
	return v.left >= 0
}

// compared is what it costs beyond one step to compare n bytes with others.
func compared(n int) int { return n >> 6 }

// scanned is what it costs beyond one step to search, hash or parse n bytes.
func scanned(n int) int { return n >> 4 }

// folded is what it costs beyond one step to compare n bytes whatever their case.
func folded(n int) int { return n >> 2 }

// lookup is what it costs beyond one step to find a member of an object by its
// name. All that the object has count, not only those that were kept: which
// those are depends on what other patterns want.
func lookup(members uint32, name string) int {
	return int(min(members, linearMembers)>>4) * (1 + compared(len(name)))
}

// judge holds all patterns against the document, within what is left.
func (v *view) judge(patterns ...*Pattern) Verdict {
	verdict := Matches
	for _, p := range patterns {
		if !p.match(v) {
			verdict = NoMatch
			break
		}
	}
	if v.left < 0 {
		return TooCostly
	}
	return verdict
}
