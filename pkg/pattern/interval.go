package pattern

import "math/rand/v2"

// interval is a range of numbers.
type interval struct{ lo, hi bound }

// bound is one end of an interval.
type bound struct {
	num  number
	open bool // num itself is outside
	none bool // there is no end on this side
}

// interval returns the numbers for which all comparisons hold.
func (p numeric) interval() interval {
	s := interval{lo: bound{none: true}, hi: bound{none: true}}
	for _, c := range p {
		b := bound{num: c.num, open: c.op == "<" || c.op == ">"}
		if c.op[0] != '<' && compareLow(&b, &s.lo) > 0 {
			s.lo = b
		}
		if c.op[0] != '>' && compareHigh(&b, &s.hi) < 0 {
			s.hi = b
		}
	}
	return s
}

// compareLow orders lower ends: less is one that admits more.
func compareLow(a, b *bound) int {
	if a.none || b.none {
		return -boolCompare(a.none, b.none)
	}
	if c := a.num.compare(b.num); c != 0 {
		return c
	}
	return boolCompare(a.open, b.open)
}

// compareHigh orders upper ends: less is one that admits less.
func compareHigh(a, b *bound) int {
	if a.none || b.none {
		return boolCompare(a.none, b.none)
	}
	if c := a.num.compare(b.num); c != 0 {
		return c
	}
	return -boolCompare(a.open, b.open)
}

// from reports whether x is on the inner side of a lower end.
func (b *bound) from(x *number) bool {
	if b.none {
		return true
	}
	c := x.compare(b.num)
	return c > 0 || c == 0 && !b.open
}

// upTo reports whether x is on the inner side of an upper end.
func (b *bound) upTo(x *number) bool {
	if b.none {
		return true
	}
	c := x.compare(b.num)
	return c < 0 || c == 0 && !b.open
}

func (s *interval) empty() bool {
	if s.lo.none || s.hi.none {
		return false
	}
	c := s.lo.num.compare(s.hi.num)
	return c > 0 || c == 0 && (s.lo.open || s.hi.open)
}

// point reports whether an interval that is not empty holds one number only.
func (s *interval) point() bool {
	return !s.lo.none && !s.hi.none && s.lo.num.compare(s.hi.num) == 0
}

func (s *interval) compare(t *interval) int {
	if c := compareLow(&s.lo, &t.lo); c != 0 {
		return c
	}
	return compareHigh(&s.hi, &t.hi)
}

// intervalTree holds buckets by interval: a search tree in the order of the
// intervals, each node knowing the highest upper end below it, kept in balance by
// random priorities (a treap). Finding the intervals around a
// number visits those and, for each, as many more as the tree is deep.
type intervalTree[K comparable] struct {
	root *intervalNode[K]
	len  int
}

type intervalNode[K comparable] struct {
	bucket      *bucket[K]
	top         *bound // the highest upper end from here on down
	priority    uint32 // not below those of the nodes below
	left, right *intervalNode[K]
}

func (n *intervalNode[K]) interval() *interval { return n.bucket.term.bound }

func (t *intervalTree[K]) empty() bool { return t.root == nil }

func (t *intervalTree[K]) get(of *interval) *bucket[K] {
	for n := t.root; n != nil; {
		switch c := of.compare(n.interval()); {
		case c == 0:
			return n.bucket
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

// put adds the bucket of an interval that is not there.
func (t *intervalTree[K]) put(b *bucket[K]) {
	left, right := t.root.split(b.term.bound)
	n := &intervalNode[K]{bucket: b, priority: rand.Uint32()}
	n.mend()
	t.root = join(join(left, n), right)
	t.len++
}

// remove takes out the bucket of an interval that is there.
func (t *intervalTree[K]) remove(of *interval) {
	t.root = t.root.remove(of)
	t.len--
}

func (n *intervalNode[K]) remove(of *interval) *intervalNode[K] {
	switch c := of.compare(n.interval()); {
	case c == 0:
		return join(n.left, n.right)
	case c < 0:
		n.left = n.left.remove(of)
	default:
		n.right = n.right.remove(of)
	}
	n.mend()
	return n
}

// split parts a tree into what lies before an interval and what lies behind it.
func (n *intervalNode[K]) split(at *interval) (left, right *intervalNode[K]) {
	switch {
	case n == nil:
		return nil, nil
	case n.interval().compare(at) < 0:
		n.right, right = n.right.split(at)
		left = n
	default:
		left, n.left = n.left.split(at)
		right = n
	}
	n.mend()
	return left, right
}

// join makes one tree of two of which the left one lies before the right one.
func join[K comparable](left, right *intervalNode[K]) *intervalNode[K] {
	switch {
	case left == nil:
		return right
	case right == nil:
		return left
	case left.priority > right.priority:
		left.right = join(left.right, right)
		left.mend()
		return left
	}
	right.left = join(left, right.left)
	right.mend()
	return right
}

// mend finds top again after something below has changed.
func (n *intervalNode[K]) mend() {
	n.top = &n.interval().hi
	for _, kid := range [...]*intervalNode[K]{n.left, n.right} {
		if kid != nil && compareHigh(kid.top, n.top) > 0 {
			n.top = kid.top
		}
	}
}

// oftenAgain is from how many buckets on that a search met more than once it
// keeps account of what is left in the trees of intervals.
const oftenAgain = 64

// walk hits the bucket of each interval that x lies in. An array of thousands of
// numbers in thousands of intervals must not cost their product: one that was
// hit counts no more, so the numbers that follow do not lead to it.
func (t *intervalTree[K]) walk(s *search[K], x *number) {
	t.root.walk(s, x, s.again >= oftenAgain)
}

func (n *intervalNode[K]) walk(s *search[K], x *number, account bool) {
	if n == nil {
		return
	}
	if top := s.top(n); top == nil || !top.upTo(x) {
		return
	}
	n.left.walk(s, x, account)
	if n.interval().lo.from(x) { // else what lies behind does not begin early enough either
		if n.interval().hi.upTo(x) {
			s.hit(n.bucket)
		}
		n.right.walk(s, x, account)
	}
	if account {
		s.settle(n)
	}
}

// top is the highest upper end of the intervals at or below n that are still to be
// hit, or more; nil if there are none.
func (s *search[K]) top(n *intervalNode[K]) *bound {
	if top, known := s.tops[n]; known {
		return top
	}
	return n.top
}

// settle finds top again after some intervals may have been hit.
func (s *search[K]) settle(n *intervalNode[K]) {
	var top *bound
	if _, met := s.buckets[n.bucket]; !met {
		top = &n.interval().hi
	}
	for _, kid := range [...]*intervalNode[K]{n.left, n.right} {
		if kid == nil {
			continue
		}
		if end := s.top(kid); end != nil && (top == nil || compareHigh(end, top) > 0) {
			top = end
		}
	}
	if s.tops == nil {
		s.tops = make(map[*intervalNode[K]]*bound)
	}
	s.tops[n] = top
}

// maxOverlap bounds the work of an estimate. Where more intervals than this lie
// over each other, one more is taken to be met as often as any.
const maxOverlap = 64

// selectivity estimates how many intervals a number in one lies in, by those around
// its end.
func (t *intervalTree[K]) selectivity(of *interval) int {
	end := &of.lo
	if end.none {
		end = &of.hi
	}
	if n := t.root.around(&end.num, maxOverlap); n < maxOverlap {
		return n
	}
	return t.len
}

// around counts the intervals that x lies in, up to a limit.
func (n *intervalNode[K]) around(x *number, limit int) int {
	if n == nil || limit <= 0 || !n.top.upTo(x) {
		return 0
	}
	total := n.left.around(x, limit)
	if !n.interval().lo.from(x) {
		return total
	}
	if n.interval().hi.upTo(x) {
		total++
	}
	return total + n.right.around(x, limit-total)
}
