package pattern

import (
	"fmt"
	"sync/atomic"
)

// Limits of one pattern. What matching may cost has a bound of its own, see
// Budget.
const (
	// MaxBytes is the size of a pattern's text: that of a whole request.
	MaxBytes = 64 << 10
	// MaxDepth is how many pattern objects may stand inside each other,
	// those of $or included.
	MaxDepth = 32
	// MaxLeaves is how many alternatives a pattern may have in all its
	// leaves, members of anything-but and comparisons of numeric included.
	MaxLeaves = 4096
)

// Pattern is a parsed pattern. It does not change and is safe for concurrent
// use. Only ParseEvent and ParsePayload make one; the zero value matches
// nothing.
type Pattern struct {
	root  *object
	event bool // over the event document, not over the payload alone
	text  string
	size  int                   // leaves, as MaxLeaves counts them
	paths atomic.Pointer[Paths] // made when it is first matched by itself
}

// ParseEvent reads a pattern over the event document (selector.by_event_pattern).
// At its top, and in the patterns of a $or at its top, only the fields of the
// event document may stand. Any error is an *Error with every fault.
func ParseEvent(raw []byte) (*Pattern, error) { return parse(raw, true) }

// ParsePayload reads a pattern over the JSON payload alone
// (selector.by_event_payload). Any error is an *Error with every fault.
func ParsePayload(raw []byte) (*Pattern, error) { return parse(raw, false) }

func parse(raw []byte, event bool) (*Pattern, error) {
	if len(raw) > MaxBytes {
		return nil, &Error{[]Fault{{Reason: fmt.Sprintf("%d bytes: want at most %d", len(raw), MaxBytes)}}}
	}
	tree, err := decodePattern(raw)
	if err != nil {
		return nil, &Error{[]Fault{{Reason: err.Error()}}}
	}
	var c compiler
	root := c.root(tree, event)
	if len(c.faults) > 0 {
		return nil, &Error{c.faults}
	}
	return &Pattern{root: root, event: event, text: string(tree.appendJSON(nil)), size: c.leaves}, nil
}

// String returns the pattern as compact JSON. Parsed again it is the same
// pattern.
func (p *Pattern) String() string { return p.text }

// Size is how many alternatives the pattern has in all its leaves, at most
// MaxLeaves. In an Index it takes at most twice as many places.
func (p *Pattern) Size() int { return p.size }

// NeedsPayload reports whether the pattern can ask for the payload. Matching
// one that does not never decodes it; matching one that does decodes it only
// when everything else holds.
func (p *Pattern) NeedsPayload() bool { return !p.event || p.root != nil && p.root.data }

// Match reports whether the pattern holds for the document, as far as Budget
// goes. A document that many patterns are matched against is better given to an
// Index.
func (p *Pattern) Match(d *Document) bool {
	v, _ := p.Judge(d, Budget)
	return v == Matches
}

// Judge holds the pattern against the document in so many steps at most. It
// returns how many are left, negative where they were too few.
func (p *Pattern) Judge(d *Document, steps int) (v Verdict, left int) {
	paths := p.paths.Load()
	if paths == nil {
		paths = new(Paths)
		paths.add(p)
		p.paths.Store(paths)
	}
	w := view{doc: d, paths: paths, left: steps}
	v = w.judge(p)
	return v, w.left
}

func (p *Pattern) match(v *view) bool {
	if p.root == nil {
		return false
	}
	if p.event {
		return p.root.holds(v, v.envelope())
	}
	body := v.payload()
	return body != nil && p.root.match(v, body)
}
