package pattern

import "sync"

// Paths are the parts of documents that patterns look at. A document reads
// only those. Indexes that are asked about the same documents share one Paths,
// so that what the first of them reads is enough for all; see Index.Paths. The
// zero value is empty and ready to use. Paths must not be copied.
//
// Paths change with Add and Remove of the indexes that share them, which need
// exclusive access to all of those.
type Paths struct {
	envelope, payload wanted
	grown             uint64    // counts the paths that were new
	scratch           sync.Pool // holds *scratch
}

// scratch is what one reading of a payload leaves to the next.
type scratch struct {
	stack []node // empty
	kept  int    // how many nodes there were
}

// readPayload reads what is wanted of a payload.
func (t *Paths) readPayload(data []byte) (*node, *syntaxError) {
	last, _ := t.scratch.Get().(*scratch)
	if last == nil {
		last = new(scratch)
	}
	p := scanner{s: data, maxDepth: maxPayloadDepth, scratch: *last}
	root, err := decode(&p, &t.payload)
	*last = p.scratch
	t.scratch.Put(last)
	return root, err
}

// wanted is a value of which something is to be read: itself if it is a
// scalar, and of its members those that are wanted. The elements of an array
// are wanted as the array is. Nil wants nothing.
type wanted struct {
	all      bool // with everything below
	uses     int  // by clauses of patterns
	children map[string]*wanted
}

func everything() *wanted { return &wanted{all: true} }

func (w *wanted) nothingBelow() bool { return !w.all && len(w.children) == 0 }

func (w *wanted) member(name string) *wanted {
	if w.all {
		return w
	}
	return w.children[name]
}

// add makes what a pattern looks at wanted.
func (t *Paths) add(p *Pattern) { t.count(p, 1) }

// drop undoes one add of the pattern.
func (t *Paths) drop(p *Pattern) { t.count(p, -1) }

func (t *Paths) count(p *Pattern, by int) {
	switch {
	case p.root == nil:
	case p.event:
		t.countObject(&t.envelope, p.root, by)
	default:
		t.countObject(&t.payload, p.root, by)
	}
}

func (t *Paths) countObject(w *wanted, o *object, by int) {
	for i := range o.clauses {
		c := &o.clauses[i]
		for _, alternative := range c.any {
			t.countObject(w, alternative, by)
		}
		if c.any == nil {
			t.countMember(w, c, by)
		}
	}
}

func (t *Paths) countMember(w *wanted, c *clause, by int) {
	inner := &t.payload
	if !c.envelope {
		inner = t.reach(w, c.name)
	}
	inner.uses += by
	if c.object != nil {
		t.countObject(inner, c.object, by)
	}
	if inner.uses == 0 && !c.envelope {
		delete(w.children, c.name)
	}
}

func (t *Paths) reach(w *wanted, name string) *wanted {
	inner := w.children[name]
	if inner == nil {
		inner = new(wanted)
		if w.children == nil {
			w.children = make(map[string]*wanted)
		}
		w.children[name] = inner
		t.grown++
	}
	return inner
}
