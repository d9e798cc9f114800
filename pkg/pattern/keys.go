package pattern

// termKind is what an entry can be filed under at one path.
type termKind uint8

const (
	termPresent termKind = iota // any value, {} and [] included
	termScalar                  // any scalar
	termText                    // any string
	termString                  // one string
	termOther                   // one scalar that is not a string
	termFold                    // one string, whatever its case
	termPrefix                  // strings that begin so
	termSuffix                  // strings that end so
	termRange                   // numbers in a range
)

// term is a value, or a class of values, that a leaf asks for.
type term struct {
	kind  termKind
	text  string    // the key among its kind
	bound *interval // the range, of a termRange
}

// weight is a guess at how often a term holds when nothing is known about it,
// in terms of one value being 1.
func (t *term) weight() int {
	switch t.kind {
	case termString, termOther, termFold:
		return 1
	case termPrefix, termSuffix:
		return max(2, 16>>len(t.text))
	case termRange:
		return 8
	}
	return 32
}

// indexKey is what an entry is filed under: a term at a path.
type indexKey struct {
	payload bool // path begins at the payload, not at the event document
	path    []string
	term    term
}

// keySet is a set of keys of which a document that matches holds at least one.
// Without keys nothing can match.
type keySet struct {
	keys []indexKey
	cost int // how often an entry filed so is likely to be tried without matching
}

// payloadHandicap is how many more entries in a bucket of the envelope are
// still preferred over an entry alone in a bucket of the payload, because
// walking the payload may mean reading it.
const payloadHandicap = 8

// finder finds the cheapest key set to file an entry under. A value that
// thousands of patterns share says little, and the next leaf may be one's own.
type finder[K comparable] struct {
	x         *Index[K]
	noPayload bool // only keys of the envelope
}

// location is where in the document a part of a pattern stands.
type location[K comparable] struct {
	payload bool
	path    []string
	filed   *pathNode[K] // nil: nobody is filed there or below
}

func (r *location[K]) step(name string) location[K] {
	next := location[K]{payload: r.payload, path: append(r.path[:len(r.path):len(r.path)], name)}
	if r.filed != nil {
		next.filed = r.filed.children[name]
	}
	return next
}

// entry returns the cheapest key set of all patterns, as all of them must match.
func (f *finder[K]) entry(e *entry[K]) (best keySet, ok bool) {
	for _, p := range e.patterns {
		w, found := f.pattern(p)
		if found && (!ok || w.cost < best.cost) {
			best, ok = w, true
		}
	}
	return best, ok
}

func (f *finder[K]) pattern(p *Pattern) (keySet, bool) {
	switch {
	case p.root == nil:
		return keySet{}, true
	case p.event:
		return f.object(p.root, location[K]{filed: &f.x.envelope})
	case f.noPayload:
		return keySet{}, false
	}
	root := location[K]{payload: true, filed: &f.x.payload}
	if w, ok := f.object(p.root, root); ok {
		return w, true
	}
	// At least there must be a payload that is JSON.
	return f.keySet([]term{{kind: termPresent}}, &root), true
}

// object returns the cheapest key set of all clauses, as all of them must hold.
func (f *finder[K]) object(o *object, at location[K]) (best keySet, ok bool) {
	for i := range o.clauses {
		w, found := f.clause(&o.clauses[i], at)
		if found && (!ok || w.cost < best.cost) {
			best, ok = w, true
		}
	}
	return best, ok
}

func (f *finder[K]) clause(c *clause, at location[K]) (keySet, bool) {
	if c.any != nil {
		return f.any(c.any, at)
	}
	next := location[K]{payload: true, filed: &f.x.payload}
	if !c.envelope {
		next = at.step(c.name)
	} else if f.noPayload {
		return keySet{}, false
	}
	if c.object != nil {
		return f.object(c.object, next)
	}
	if c.leaf.absent {
		return keySet{}, false
	}
	return f.keySet(c.leaf.terms(), &next), true
}

// any joins a key set of each pattern of a $or: whichever holds, its keys lead to
// the entry. If one of them has no key set there is none.
func (f *finder[K]) any(list []*object, at location[K]) (all keySet, ok bool) {
	for _, o := range list {
		w, found := f.object(o, at)
		if !found {
			return keySet{}, false
		}
		all.keys = append(all.keys, w.keys...)
		all.cost += w.cost
	}
	return all, true
}

func (f *finder[K]) keySet(terms []term, at *location[K]) keySet {
	w := keySet{keys: make([]indexKey, len(terms))}
	if at.payload {
		w.cost = payloadHandicap
	}
	for i := range terms {
		t := &terms[i]
		w.keys[i] = indexKey{at.payload, at.path, *t}
		w.cost += t.weight()
		if at.filed != nil {
			w.cost += at.filed.selectivity(t)
		}
	}
	return w
}

// terms returns what a leaf that does not accept absence asks for: at least
// one of them holds for each value that it accepts.
func (l *leaf) terms() []term {
	if l.present {
		return []term{{kind: termPresent}}
	}
	terms := make([]term, 0, len(l.literals.list)+len(l.tests))
	for i := range l.literals.list {
		terms = append(terms, l.literals.list[i].term())
	}
	for _, t := range l.tests {
		terms = t.appendTerm(terms)
	}
	return terms
}

func (s *scalar) term() term {
	if s.kind == kindString {
		return term{kind: termString, text: s.text}
	}
	return term{kind: termOther, text: string(s.appendKey(nil))}
}

func (p prefix) appendTerm(ts []term) []term {
	return append(ts, affixTerm(termPrefix, string(p)))
}

func (p suffix) appendTerm(ts []term) []term {
	return append(ts, affixTerm(termSuffix, string(p)))
}

func affixTerm(k termKind, text string) term {
	if text == "" {
		return term{kind: termText}
	}
	return term{kind: k, text: text}
}

func (p ignoreCase) appendTerm(ts []term) []term {
	return append(ts, term{kind: termFold, text: string(appendFold(nil, string(p)))})
}

// A wildcard is filed by the longer of what it begins and ends with.
func (w wildcard) appendTerm(ts []term) []term {
	first, last := w[0], w[len(w)-1]
	switch {
	case len(w) == 1:
		return append(ts, term{kind: termString, text: first})
	case len(last) > len(first):
		return append(ts, affixTerm(termSuffix, last))
	}
	return append(ts, affixTerm(termPrefix, first))
}

func (anythingBut) appendTerm(ts []term) []term { return append(ts, term{kind: termScalar}) }

func (p numeric) appendTerm(ts []term) []term {
	s := p.interval()
	if s.empty() {
		return ts
	}
	if s.point() {
		one := scalar{kind: kindNumber, num: s.lo.num}
		return append(ts, one.term())
	}
	return append(ts, term{kind: termRange, bound: &s})
}
