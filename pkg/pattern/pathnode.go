package pattern

// pathNode is one step of the paths under which entries are filed, and holds the
// buckets of the values there. Each kind of term has a structure of its own in
// which a look-up does not visit the buckets that the value does not lead to.
type pathNode[K comparable] struct {
	parent   *pathNode[K]
	name     string
	children map[string]*pathNode[K]

	classes  [termText + 1]*bucket[K] // the buckets of any value, any scalar, any string
	strings  map[string]*bucket[K]
	others   map[string]*bucket[K] // by scalar.appendKey
	folds    map[string]*bucket[K] // by appendFold
	prefixes trie[K]
	suffixes trie[K]
	ranges   intervalTree[K]
}

// empty reports whether nothing is filed here or below.
func (t *pathNode[K]) empty() bool {
	return len(t.children) == 0 && t.classes == [termText + 1]*bucket[K]{} &&
		len(t.strings) == 0 && len(t.others) == 0 && len(t.folds) == 0 &&
		t.prefixes.empty() && t.suffixes.empty() && t.ranges.empty()
}

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

// exact returns the map of a kind that is looked up by its text alone.
func (t *pathNode[K]) exact(k termKind) *map[string]*bucket[K] {
	switch k {
	case termString:
		return &t.strings
	case termOther:
		return &t.others
	}
	return &t.folds
}

// bucket returns the bucket of a term, made if it is not there.
func (t *pathNode[K]) bucket(of term) *bucket[K] {
	b := t.find(&of)
	if b == nil {
		b = &bucket[K]{at: t, term: of}
		t.put(b)
	}
	return b
}

func (t *pathNode[K]) find(of *term) *bucket[K] {
	switch of.kind {
	case termPresent, termScalar, termText:
		return t.classes[of.kind]
	case termPrefix:
		return t.prefixes.get(of.text)
	case termSuffix:
		return t.suffixes.get(reverse(of.text))
	case termRange:
		return t.ranges.get(of.bound)
	}
	return (*t.exact(of.kind))[of.text]
}

func (t *pathNode[K]) put(b *bucket[K]) {
	switch of := &b.term; of.kind {
	case termPresent, termScalar, termText:
		t.classes[of.kind] = b
	case termPrefix:
		t.prefixes.put(of.text, b)
	case termSuffix:
		t.suffixes.put(reverse(of.text), b)
	case termRange:
		t.ranges.put(b)
	default:
		m := t.exact(of.kind)
		if *m == nil {
			*m = make(map[string]*bucket[K])
		}
		(*m)[of.text] = b
	}
}

// drop removes an empty bucket and the path that led only to it.
func (t *pathNode[K]) drop(b *bucket[K]) {
	switch of := &b.term; of.kind {
	case termPresent, termScalar, termText:
		t.classes[of.kind] = nil
	case termPrefix:
		t.prefixes.remove(of.text)
	case termSuffix:
		t.suffixes.remove(reverse(of.text))
	case termRange:
		t.ranges.remove(of.bound)
	default:
		delete(*t.exact(of.kind), of.text)
	}
	for t.parent != nil && t.empty() {
		delete(t.parent.children, t.name)
		t = t.parent
	}
}

// selectivity estimates how many entries are tried whenever one under the term is.
func (t *pathNode[K]) selectivity(of *term) int {
	n := 0
	switch of.kind {
	case termPrefix:
		n = t.prefixes.selectivity(of.text)
	case termSuffix:
		n = t.suffixes.selectivity(reverse(of.text))
	case termRange:
		n = t.ranges.selectivity(of.bound)
	}
	if b := t.find(of); b != nil {
		n += len(b.slots)
	}
	return n
}
