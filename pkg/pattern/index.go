package pattern

// Index holds the patterns of many subscriptions and finds those that match a
// document. An entry is found through one value that it cannot match without,
// if it has one; the others are tried one by one. The zero value is empty and
// ready to use.
//
// Add and Remove need exclusive access. Match may run in any number of
// goroutines at once while neither of them does.
type Index[K comparable] struct {
	entries   map[K]*entry[K]
	envelope  pathNode[K] // keys of values of the event document, its data excepted
	payload   pathNode[K] // keys of values of the payload
	unindexed bucket[K]   // entries without any
}

type entry[K comparable] struct {
	key      K
	patterns []*Pattern // envelope patterns first, so that they spare a decode
	slots    []*slot[K]
}

// slot is one entry's place in one bucket. It knows its position, so that
// taking it out costs the same however full the bucket is.
type slot[K comparable] struct {
	entry *entry[K]
	in    *bucket[K]
	pos   int
}

// bucket holds the entries to try when a document has a certain value.
type bucket[K comparable] struct {
	slots []*slot[K]
	path  *pathNode[K] // nil for unindexed
	value string
}

func (b *bucket[K]) add(e *entry[K]) {
	s := &slot[K]{entry: e, in: b, pos: len(b.slots)}
	b.slots = append(b.slots, s)
	e.slots = append(e.slots, s)
}

func (b *bucket[K]) remove(s *slot[K]) {
	last := len(b.slots) - 1
	b.slots[s.pos] = b.slots[last]
	b.slots[s.pos].pos = s.pos
	b.slots[last] = nil
	b.slots = b.slots[:last]
	if last == 0 && b.path != nil {
		b.path.drop(b.value)
	}
}

// Len returns how many keys the index holds.
func (x *Index[K]) Len() int { return len(x.entries) }

// Add puts key into the index. It matches when all patterns do; nil patterns
// are left out, and a key without patterns matches every document. A key that
// is already there is replaced.
func (x *Index[K]) Add(key K, patterns ...*Pattern) {
	x.Remove(key)
	e := &entry[K]{key: key}
	for _, needs := range []bool{false, true} {
		for _, p := range patterns {
			if p != nil && p.NeedsPayload() == needs {
				e.patterns = append(e.patterns, p)
			}
		}
	}
	if x.entries == nil {
		x.entries = make(map[K]*entry[K])
	}
	x.entries[key] = e
	x.place(e)
}

// Remove takes key out of the index and reports whether it was there.
func (x *Index[K]) Remove(key K) bool {
	e, ok := x.entries[key]
	if !ok {
		return false
	}
	delete(x.entries, key)
	for _, s := range e.slots {
		s.in.remove(s)
	}
	return true
}

// Match calls found once for every key whose patterns all match the document,
// in no particular order. Found must not change the index.
func (x *Index[K]) Match(d *Document, found func(K)) {
	try := func(e *entry[K]) {
		for _, p := range e.patterns {
			if !p.Match(d) {
				return
			}
		}
		found(e.key)
	}
	for _, s := range x.unindexed.slots {
		try(s.entry)
	}
	if !x.envelope.bare() {
		x.envelope.walk(d.envelope(), try)
	}
	if !x.payload.bare() {
		x.payload.walk(d.payload(), try)
	}
}
