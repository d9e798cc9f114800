package pattern

// search is one Match: a walk of the document and the path nodes side by side.
type search[K comparable] struct {
	view    view
	allow   func(K) int // nil: Budget for each
	judged  func(K, Verdict)
	payload bool // some entry in the payload may match
	tried   int

	// An array, or a name given twice, may lead to a bucket more than once,
	// and several buckets to an entry. Both are looked at once.
	buckets map[*bucket[K]]struct{}
	entries map[*entry[K]]struct{}

	again int                         // how often a bucket was met that had been
	tops  map[*intervalNode[K]]*bound // what is left of intervalNode.top; see intervalTree.walk

	fold []byte // scratch
}

func (s *search[K]) walk(t *pathNode[K], v *node) {
	if v == nil {
		return
	}
	s.hit(t.classes[termPresent])
	v.elements(func(e *node) bool {
		if e.kind == kindObject {
			s.members(t, e)
		} else {
			s.scalar(t, e)
		}
		return true
	})
}

// fewChildren is up to how many children of a node are rather searched for in
// an object than its members among the children.
const fewChildren = 4

func (s *search[K]) members(t *pathNode[K], v *node) {
	if len(t.children) <= fewChildren {
		for name, child := range t.children {
			s.walk(child, v.get(name))
		}
		return
	}
	for i := range v.kids {
		m := &v.kids[i]
		if child := t.children[m.key]; child != nil {
			s.walk(child, m)
		}
	}
}

func (s *search[K]) scalar(t *pathNode[K], v *node) {
	s.hit(t.classes[termScalar])
	if v.kind == kindString {
		s.text(t, v.text)
		return
	}
	if len(t.others) == 0 && t.ranges.empty() {
		return
	}
	var buf [64]byte
	value := toScalar(v)
	s.hit(t.others[string(value.appendKey(buf[:0]))])
	if v.kind == kindNumber {
		t.ranges.walk(s, &value.num)
	}
}

func (s *search[K]) text(t *pathNode[K], text string) {
	s.hit(t.classes[termText])
	s.hit(t.strings[text])
	t.prefixes.walk(s, text)
	t.suffixes.walkBack(s, text)
	if len(t.folds) > 0 {
		s.fold = appendFold(s.fold[:0], text)
		s.hit(t.folds[string(s.fold)])
	}
}

// hit tries the entries of a bucket, which may be nil.
func (s *search[K]) hit(b *bucket[K]) {
	if b == nil {
		return
	}
	if !first(&s.buckets, b) {
		s.again++
		return
	}
	if b.hints > 0 {
		s.payload = true
	}
	for _, slot := range b.slots {
		if e := slot.entry; len(e.slots) == 1 || first(&s.entries, e) {
			s.try(e)
		}
	}
}

// first reports whether p was not yet in the set, and puts it there.
func first[P comparable](set *map[P]struct{}, p P) bool {
	if _, again := (*set)[p]; again {
		return false
	}
	if *set == nil {
		*set = make(map[P]struct{})
	}
	(*set)[p] = struct{}{}
	return true
}

func (s *search[K]) try(e *entry[K]) {
	if s.view.left = Budget; s.allow != nil {
		s.view.left = s.allow(e.key)
	}
	if s.view.left <= 0 {
		return
	}
	s.tried++
	s.judged(e.key, s.view.judge(e.patterns...))
}
