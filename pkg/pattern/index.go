package pattern

// Index holds the patterns of many subscriptions and finds those that match a
// document. An entry is filed under something that it cannot match without,
// and is tried only where a document has that; see the package documentation.
// The zero value is empty and ready to use.
//
// Add and Remove need exclusive access. Match may run in any number of
// goroutines at once while neither of them does.
type Index[K comparable] struct {
	// Paths may be set before the first Add, to share them with other indexes
	// that are asked about the same documents. Nil is paths of its own.
	Paths *Paths

	entries  map[K]*entry[K]
	envelope pathNode[K] // values of the event document, its data excepted
	payload  pathNode[K] // values of the payload
	residual bucket[K]   // entries that must be tried on every document
	unhinted int         // entries filed in the payload without a hint: every payload is read for them
}

type entry[K comparable] struct {
	key       K
	patterns  []*Pattern // envelope patterns first, so that they spare a decode
	slots     []slot[K]  // never grown: the buckets point into it
	hints     []*bucket[K]
	inPayload bool // filed under values of the payload
}

// slot is one entry in one bucket. It knows its position, so that
// taking it out costs the same however full the bucket is.
type slot[K comparable] struct {
	entry *entry[K]
	in    *bucket[K]
	pos   int
}

// bucket holds the entries to try when a document has a certain value.
type bucket[K comparable] struct {
	at    *pathNode[K] // nil for Index.unfiled
	term  term
	slots []*slot[K]
	// hints counts the entries that are filed in the payload and cannot match
	// without this value of the envelope: without any such the payload need
	// not be read.
	hints int
}

func (b *bucket[K]) add(e *entry[K]) {
	e.slots = append(e.slots, slot[K]{entry: e, in: b, pos: len(b.slots)})
	b.slots = append(b.slots, &e.slots[len(e.slots)-1])
}

func (b *bucket[K]) remove(s *slot[K]) {
	last := len(b.slots) - 1
	b.slots[s.pos] = b.slots[last]
	b.slots[s.pos].pos = s.pos
	b.slots[last] = nil
	b.slots = b.slots[:last]
	b.dropIfEmpty()
}

func (b *bucket[K]) dropIfEmpty() {
	if len(b.slots) == 0 && b.hints == 0 && b.at != nil {
		b.at.drop(b)
	}
}

// endsWith tells that the same value, written twice, has already led here.
func (b *bucket[K]) endsWith(e *entry[K]) bool {
	return len(b.slots) > 0 && b.slots[len(b.slots)-1].entry == e
}

// Len returns how many keys the index holds.
func (x *Index[K]) Len() int { return len(x.entries) }

// Add puts key into the index. It matches when all patterns do; nil patterns
// are left out, and a key without patterns matches every document. A key that
// is already there is replaced.
func (x *Index[K]) Add(key K, patterns ...*Pattern) {
	x.Remove(key)
	if x.entries == nil {
		x.entries = make(map[K]*entry[K])
	}
	if x.Paths == nil {
		x.Paths = new(Paths)
	}
	e := &entry[K]{key: key, patterns: make([]*Pattern, 0, len(patterns))}
	for _, needs := range []bool{false, true} {
		for _, p := range patterns {
			if p != nil && p.NeedsPayload() == needs {
				e.patterns = append(e.patterns, p)
				x.Paths.add(p)
			}
		}
	}
	x.entries[key] = e
	x.file(e)
}

// Remove takes key out of the index and reports whether it was there.
func (x *Index[K]) Remove(key K) bool {
	e, ok := x.entries[key]
	if !ok {
		return false
	}
	delete(x.entries, key)
	for i := range e.slots {
		e.slots[i].in.remove(&e.slots[i])
	}
	for _, b := range e.hints {
		b.hints--
		b.dropIfEmpty()
	}
	if e.inPayload && e.hints == nil {
		x.unhinted--
	}
	for _, p := range e.patterns {
		x.Paths.drop(p)
	}
	return true
}

// file puts an entry into the buckets of its cheapest key set, and hints at the values of
// the envelope without which the payload need not be read for it.
func (x *Index[K]) file(e *entry[K]) {
	f := finder[K]{x: x}
	best, ok := f.entry(e)
	if !ok {
		e.slots = make([]slot[K], 0, 1)
		x.residual.add(e)
		return
	}
	e.slots = make([]slot[K], 0, len(best.keys))
	for i := range best.keys {
		p := &best.keys[i]
		e.inPayload = e.inPayload || p.payload
		if b := x.bucket(p); !b.endsWith(e) {
			b.add(e)
		}
	}
	if e.inPayload {
		x.hint(e)
	}
}

func (x *Index[K]) hint(e *entry[K]) {
	f := finder[K]{x: x, noPayload: true}
	keys, ok := f.entry(e)
	if !ok || len(keys.keys) == 0 {
		x.unhinted++
		return
	}
	for i := range keys.keys {
		b := x.bucket(&keys.keys[i])
		b.hints++
		e.hints = append(e.hints, b)
	}
}

func (x *Index[K]) root(payload bool) *pathNode[K] {
	if payload {
		return &x.payload
	}
	return &x.envelope
}

func (x *Index[K]) bucket(p *indexKey) *bucket[K] {
	return x.root(p.payload).reach(p.path).bucket(p.term)
}

// Match judges, in no particular order, every key that the document may match.
// Allow says in how many steps, of which 0 is not to judge it; nil allows each
// its Budget. Judged takes each verdict. What a key costs beyond its steps grows
// with its own size or that of the document, never with their product. Neither
// function may change the index. Match returns how many keys it judged.
func (x *Index[K]) Match(d *Document, allow func(K) int, judged func(K, Verdict)) (tried int) {
	if len(x.entries) == 0 {
		return 0
	}
	s := search[K]{view: view{doc: d, paths: x.Paths}, allow: allow, judged: judged, payload: x.unhinted > 0}
	for _, slot := range x.residual.slots {
		s.try(slot.entry)
	}
	if !x.envelope.empty() {
		s.walk(&x.envelope, s.view.envelope())
	}
	if s.payload {
		s.walk(&x.payload, s.view.payload())
	}
	return s.tried
}
