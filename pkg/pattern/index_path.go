package pattern

// equality is a leaf that a pattern cannot match without and that only asks
// for literal values: a way to find the pattern.
type equality struct {
	payload bool // path begins at the payload, not at the event document
	path    []string
	values  []scalar
}

// equalities collects them from a pattern. Those inside a $or are not among
// them, as another of its patterns may match without.
func (p *Pattern) equalities() []equality {
	if p.root == nil {
		return nil
	}
	return p.root.equalities(nil, equality{payload: !p.event})
}

func (o *object) equalities(all []equality, at equality) []equality {
	for i := range o.clauses {
		c := &o.clauses[i]
		here := equality{payload: at.payload, path: append(at.path[:len(at.path):len(at.path)], c.name)}
		if c.envelope {
			here = equality{payload: true}
		}
		switch {
		case c.object != nil:
			all = c.object.equalities(all, here)
		case c.leaf != nil && c.leaf.onlyLiterals():
			here.values = c.leaf.literals.list
			all = append(all, here)
		}
	}
	return all
}

func (l *leaf) onlyLiterals() bool {
	return !l.absent && !l.present && len(l.tests) == 0
}

// payloadHandicap is how many more entries in a bucket of the envelope are
// still preferred over an entry alone in a bucket of the payload, because
// walking the payload may mean decoding it.
const payloadHandicap = 8

// place puts an entry where the fewest others are: a value that thousands of
// patterns share says little, and the next leaf may be one's own.
func (x *Index[K]) place(e *entry[K]) {
	var best *equality
	cost := 0
	for _, p := range e.patterns {
		for _, q := range p.equalities() {
			if c := x.crowd(&q); best == nil || c < cost {
				best, cost = &q, c
			}
		}
	}
	if best == nil {
		x.unindexed.add(e)
		return
	}
	at := x.rootOf(best).reach(best.path)
	for i := range best.values {
		if b := at.bucket(&best.values[i]); !b.endsWith(e) {
			b.add(e)
		}
	}
}

// endsWith tells that the same value, written twice, has already led here.
func (b *bucket[K]) endsWith(e *entry[K]) bool {
	return len(b.slots) > 0 && b.slots[len(b.slots)-1].entry == e
}

func (x *Index[K]) rootOf(q *equality) *pathNode[K] {
	if q.payload {
		return &x.payload
	}
	return &x.envelope
}

// crowd estimates how often an entry placed at q would be tried in vain.
func (x *Index[K]) crowd(q *equality) int {
	n := len(q.values)
	if q.payload {
		n += payloadHandicap
	}
	at := x.rootOf(q)
	for _, name := range q.path {
		if at = at.children[name]; at == nil {
			return n
		}
	}
	for i := range q.values {
		if b := at.values[string(q.values[i].appendKey(nil))]; b != nil {
			n += len(b.slots)
		}
	}
	return n
}

// pathNode is one step of the paths under which entries are registered.
type pathNode[K comparable] struct {
	parent   *pathNode[K]
	name     string
	children map[string]*pathNode[K]
	values   map[string]*bucket[K]
}

func (t *pathNode[K]) bare() bool { return len(t.children) == 0 && len(t.values) == 0 }

// reach returns the node at path, made if it is not there.
func (t *pathNode[K]) reach(path []string) *pathNode[K] {
	for _, name := range path {
		child := t.children[name]
		if child == nil {
			child = &pathNode[K]{parent: t, name: name}
			if t.children == nil {
				t.children = make(map[string]*pathNode[K])
			}
			t.children[name] = child
		}
		t = child
	}
	return t
}

func (t *pathNode[K]) bucket(v *scalar) *bucket[K] {
	key := string(v.appendKey(nil))
	b := t.values[key]
	if b == nil {
		b = &bucket[K]{path: t, value: key}
		if t.values == nil {
			t.values = make(map[string]*bucket[K])
		}
		t.values[key] = b
	}
	return b
}

// drop removes an empty bucket and the path that led only to it.
func (t *pathNode[K]) drop(value string) {
	delete(t.values, value)
	for t.bare() && t.parent != nil {
		delete(t.parent.children, t.name)
		t = t.parent
	}
}

// gather is the walk of one Match. An entry lies under one path only, but an
// array may lead to it by several elements: the values below one path are
// deduplicated when there is more than one.
type gather[K comparable] struct {
	try  func(*entry[K])
	seen map[*entry[K]]struct{} // nil outside arrays
}

func (t *pathNode[K]) walk(v *node, try func(*entry[K])) {
	g := gather[K]{try: try}
	g.walk(t, v)
}

func (g *gather[K]) walk(t *pathNode[K], v *node) {
	if v == nil {
		return
	}
	if v.kind == kindArray {
		if g.seen == nil {
			g.seen = make(map[*entry[K]]struct{})
			defer func() { g.seen = nil }()
		}
		v.elements(func(e *node) bool {
			g.step(t, e)
			return true
		})
		return
	}
	g.step(t, v)
}

// step looks at one value that is not an array.
func (g *gather[K]) step(t *pathNode[K], v *node) {
	if v.kind.scalar() {
		g.scalar(t, v)
		return
	}
	if len(t.children) <= len(v.kids) {
		for name, child := range t.children {
			g.walk(child, v.get(name))
		}
		return
	}
	for i := range v.kids {
		m := &v.kids[i]
		if child := t.children[m.key]; child != nil && v.get(m.key) == m { // not a name given again later
			g.walk(child, m)
		}
	}
}

func (g *gather[K]) scalar(t *pathNode[K], v *node) {
	if len(t.values) == 0 {
		return
	}
	var buf [64]byte
	s := toScalar(v)
	b := t.values[string(s.appendKey(buf[:0]))]
	if b == nil {
		return
	}
	for _, slot := range b.slots {
		if g.seen != nil {
			if _, again := g.seen[slot.entry]; again {
				continue
			}
			g.seen[slot.entry] = struct{}{}
		}
		g.try(slot.entry)
	}
}
