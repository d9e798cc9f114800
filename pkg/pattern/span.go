package pattern

import "math/rand/v2"

// span is a range of numbers.
type span struct{ lo, hi bound }

// bound is one end of a span.
type bound struct {
	num  number
	open bool // num itself is outside
	none bool // there is no end on this side
}

// span returns the numbers for which all comparisons hold.
func (p numeric) span() span {
	s := span{lo: bound{none: true}, hi: bound{none: true}}
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

func (s *span) empty() bool {
	if s.lo.none || s.hi.none {
		return false
	}
	c := s.lo.num.compare(s.hi.num)
	return c > 0 || c == 0 && (s.lo.open || s.hi.open)
}

// point reports whether a span that is not empty holds one number only.
func (s *span) point() bool {
	return !s.lo.none && !s.hi.none && s.lo.num.compare(s.hi.num) == 0
}

func (s *span) compare(t *span) int {
	if c := compareLow(&s.lo, &t.lo); c != 0 {
		return c
	}
	return compareHigh(&s.hi, &t.hi)
}

// spans holds buckets by span: a search tree in the order of the spans, each
// node knowing the highest upper end below it, kept in balance by random
// priorities (an interval tree over a treap). Finding the spans around a
// number visits those and, for each, as many more as the tree is deep.
type spans[K comparable] struct {
	root *spanNode[K]
	len  int
}

type spanNode[K comparable] struct {
	bucket      *bucket[K]
	top         *bound // the highest upper end from here on down
	priority    uint32 // not below those of the nodes below
	left, right *spanNode[K]
}

func (n *spanNode[K]) span() *span { return n.bucket.term.bound }

func (t *spans[K]) empty() bool { return t.root == nil }

func (t *spans[K]) get(of *span) *bucket[K] {
	for n := t.root; n != nil; {
		switch c := of.compare(n.span()); {
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

// put adds the bucket of a span that is not there.
func (t *spans[K]) put(b *bucket[K]) {
	left, right := t.root.split(b.term.bound)
	n := &spanNode[K]{bucket: b, priority: rand.Uint32()}
	n.mend()
	t.root = join(join(left, n), right)
	t.len++
}

// remove takes out the bucket of a span that is there.
func (t *spans[K]) remove(of *span) {
	t.root = t.root.remove(of)
	t.len--
}

func (n *spanNode[K]) remove(of *span) *spanNode[K] {
	switch c := of.compare(n.span()); {
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

// split parts a tree into what lies before a span and what lies behind it.
func (n *spanNode[K]) split(at *span) (left, right *spanNode[K]) {
	switch {
	case n == nil:
		return nil, nil
	case n.span().compare(at) < 0:
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
func join[K comparable](left, right *spanNode[K]) *spanNode[K] {
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
func (n *spanNode[K]) mend() {
	n.top = &n.span().hi
	for _, kid := range [...]*spanNode[K]{n.left, n.right} {
		if kid != nil && compareHigh(kid.top, n.top) > 0 {
			n.top = kid.top
		}
	}
}

// oftenAgain is from how many buckets on that a search met more than once it
// keeps account of what is left in the trees of spans.
const oftenAgain = 64

// walk hits the bucket of each span that x lies in. An array of thousands of
// numbers in thousands of spans must not cost their product: a span that was
// hit counts no more, so the numbers that follow do not lead to it.
func (t *spans[K]) walk(s *search[K], x *number) {
	t.root.walk(s, x, s.again >= oftenAgain)
}

func (n *spanNode[K]) walk(s *search[K], x *number, account bool) {
	if n == nil {
		return
	}
	if top := s.top(n); top == nil || !top.upTo(x) {
		return
	}
	n.left.walk(s, x, account)
	if n.span().lo.from(x) { // else what lies behind does not begin early enough either
		if n.span().hi.upTo(x) {
			s.hit(n.bucket)
		}
		n.right.walk(s, x, account)
	}
	if account {
		s.settle(n)
	}
}

// top is the highest upper end of the spans at or below n that are still to be
// hit, or more; nil if there are none.
func (s *search[K]) top(n *spanNode[K]) *bound {
	if top, known := s.tops[n]; known {
		return top
	}
	return n.top
}

// settle finds top again after some spans may have been hit.
func (s *search[K]) settle(n *spanNode[K]) {
	var top *bound
	if _, met := s.buckets[n.bucket]; !met {
		top = &n.span().hi
	}
	for _, kid := range [...]*spanNode[K]{n.left, n.right} {
		if kid == nil {
			continue
		}
		if end := s.top(kid); end != nil && (top == nil || compareHigh(end, top) > 0) {
			top = end
		}
	}
	if s.tops == nil {
		s.tops = make(map[*spanNode[K]]*bound)
	}
	s.tops[n] = top
}

// maxOverlap bounds the work of an estimate. Where more spans than this lie
// over each other, one more is taken to be met as often as any.
const maxOverlap = 64

// crowd estimates how many spans a number in a span lies in, by those around
// its end.
func (t *spans[K]) crowd(of *span) int {
	end := &of.lo
	if end.none {
		end = &of.hi
	}
	if n := t.root.around(&end.num, maxOverlap); n < maxOverlap {
		return n
	}
	return t.len
}

// around counts the spans that x lies in, up to a limit.
func (n *spanNode[K]) around(x *number, limit int) int {
	if n == nil || limit <= 0 || !n.top.upTo(x) {
		return 0
	}
	total := n.left.around(x, limit)
	if !n.span().lo.from(x) {
		return total
	}
	if n.span().hi.upTo(x) {
		total++
	}
	return total + n.right.around(x, limit-total)
}
