package pattern

import "strings"

// object is a pattern object: all of its clauses must hold for one value.
type object struct {
	clauses []clause // those that need the payload come last
	data    bool     // some clause needs the payload of an event document
}

// clause is one field of a pattern object, or its $or. Exactly one of object,
// leaf and any is set.
type clause struct {
	name     string
	envelope bool // name is data at the top of an event document
	data     bool // needs the payload of an event document
	object   *object
	leaf     *leaf
	any      []*object
}

// leaf is a list of alternatives.
type leaf struct {
	absent   bool // has {"exists": false}
	present  bool // has {"exists": true}
	literals set
	tests    []test
	want     string // the source, for Explain
}

// test is an operator held against one scalar.
type test interface {
	// appendTerm appends what an Index files the test under: a term that holds
	// for every scalar for which the test does, or none if there is no such.
	appendTerm(ts []term) []term
}

// match holds an object against a value, or against one element of an array.
// In an empty array, as in anything that is not an object, nothing exists.
func (o *object) match(d *view, v *node) bool {
	if v == nil || v.kind != kindArray {
		return o.holds(d, v)
	}
	found, empty := false, true
	d.each(v, func(e *node) bool {
		empty = false
		found = o.holds(d, e)
		return !found
	})
	return found || empty && o.holds(d, nil)
}

// each is node.elements, with a step for each value.
func (v *view) each(n *node, yield func(*node) bool) bool {
	if n.kind != kindArray {
		return yield(n)
	}
	for i := range n.kids {
		if !v.spend(1) || !v.each(&n.kids[i], yield) {
			return false
		}
	}
	return true
}

// holds holds an object against a value that is not an array.
func (o *object) holds(d *view, v *node) bool {
	for i := range o.clauses {
		if !d.spend(1) || !o.clauses[i].holds(d, v) {
			return false
		}
	}
	return true
}

func (c *clause) holds(d *view, v *node) bool {
	switch {
	case c.any != nil:
		for _, o := range c.any {
			if o.holds(d, v) {
				return true
			}
			if d.left < 0 {
				return false
			}
		}
		return false
	case c.leaf != nil:
		return c.leaf.match(d, c.member(d, v))
	}
	return c.object.match(d, c.member(d, v))
}

// member returns what the clause is about.
func (c *clause) member(d *view, v *node) *node {
	switch {
	case c.envelope:
		return d.payload()
	case v == nil || v.kind != kindObject || !d.spend(lookup(v.members, c.name)):
		return nil
	}
	return v.get(c.name)
}

func (l *leaf) match(d *view, v *node) bool {
	if v == nil {
		return l.absent
	}
	if l.present {
		return true
	}
	found := false
	d.each(v, func(e *node) bool {
		found = e.kind.scalar() && l.matchScalar(d, e)
		return !found
	})
	return found
}

func (l *leaf) matchScalar(d *view, n *node) bool {
	if n.kind == kindNumber && !d.spend(1+scanned(len(n.text))) {
		return false
	}
	s := toScalar(n)
	if l.literals.has(d, s) {
		return true
	}
	for _, t := range l.tests {
		if !d.spend(1) {
			return false
		}
		if holds(d, t, s) {
			return true
		}
	}
	return false
}

// holds reports whether a test does for a scalar. It takes the steps that this
// needs beyond the first one from the view. It is no method of the interface,
// through which a view would have to be made on the heap.
func holds(v *view, t test, s scalar) bool {
	switch t := t.(type) {
	case prefix:
		return t.holds(v, s)
	case suffix:
		return t.holds(v, s)
	case ignoreCase:
		return t.holds(v, s)
	case wildcard:
		return t.holds(v, s)
	case numeric:
		return t.holds(v, s)
	case anythingBut:
		return t.holds(v, s)
	}
	return false
}

// scalar is a value that a leaf is held against, or a literal of a pattern.
type scalar struct {
	kind kind
	text string
	num  number // the value, of a kindNumber
}

func toScalar(n *node) scalar {
	s := scalar{kind: n.kind, text: n.text}
	if n.kind == kindNumber {
		s.num = parseNumber(n.text)
	}
	return s
}

func (s *scalar) equal(t *scalar) bool {
	if s.kind != t.kind {
		return false
	}
	switch s.kind {
	case kindString:
		return s.text == t.text
	case kindNumber:
		return s.num.compare(t.num) == 0
	}
	return true
}

// appendKey appends a text that is the same for equal scalars only.
func (s *scalar) appendKey(buf []byte) []byte {
	buf = append(buf, '0'+byte(s.kind))
	if s.kind == kindNumber {
		return s.num.appendKey(buf)
	}
	return append(buf, s.text...)
}

// hashFrom is the size from which a set is hashed: below, comparing each
// member is quicker.
const hashFrom = 9

// set is a list of literals. One of thousands, held against an array of
// thousands, must not cost their product.
type set struct {
	list []scalar
	keys map[string]struct{}
}

func (s *set) add(v scalar) {
	s.list = append(s.list, v)
	if len(s.list) < hashFrom {
		return
	}
	if s.keys == nil {
		s.keys = make(map[string]struct{})
		for i := range s.list {
			s.keys[string(s.list[i].appendKey(nil))] = struct{}{}
		}
	}
	s.keys[string(v.appendKey(nil))] = struct{}{}
}

func (s *set) has(d *view, v scalar) bool {
	if s.keys != nil {
		if !d.spend(2 + scanned(len(v.text))) {
			return false
		}
		var buf [64]byte
		_, ok := s.keys[string(v.appendKey(buf[:0]))]
		return ok
	}
	for i := range s.list {
		literal := &s.list[i]
		if !d.spend(1 + compared(min(len(literal.text), len(v.text)))) {
			return false
		}
		if literal.equal(&v) {
			return true
		}
	}
	return false
}

// The operators.
type (
	prefix      string
	suffix      string
	ignoreCase  string
	anythingBut struct {
		set  set
		test test // instead of the set, if not nil
	}
	comparison struct {
		op  string
		num number
	}
	numeric []comparison // all must hold
)

func (p prefix) holds(v *view, s scalar) bool {
	return s.kind == kindString && v.spend(compared(len(p))) && strings.HasPrefix(s.text, string(p))
}

func (p suffix) holds(v *view, s scalar) bool {
	return s.kind == kindString && v.spend(compared(len(p))) && strings.HasSuffix(s.text, string(p))
}

func (p ignoreCase) holds(v *view, s scalar) bool {
	return s.kind == kindString && v.spend(folded(min(len(p), len(s.text)))) && strings.EqualFold(s.text, string(p))
}

func (p anythingBut) holds(v *view, s scalar) bool {
	if p.test != nil {
		return !holds(v, p.test, s)
	}
	return !p.set.has(v, s)
}

func (p numeric) holds(v *view, s scalar) bool {
	if s.kind != kindNumber {
		return false
	}
	for _, c := range p {
		if !v.spend(1+compared(min(len(s.text), c.num.size()))) || !c.holds(s.num.compare(c.num)) {
			return false
		}
	}
	return true
}

func (c comparison) holds(sign int) bool {
	switch c.op {
	case "<":
		return sign < 0
	case "<=":
		return sign <= 0
	case "=":
		return sign == 0
	case ">=":
		return sign >= 0
	}
	return sign > 0
}
