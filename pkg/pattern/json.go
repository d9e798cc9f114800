package pattern

import (
	"bytes"
	"fmt"
	"unsafe"
)

// Nesting that the scanner follows: enough for any payload in use, and far
// from what a goroutine's stack could not hold.
const (
	maxPayloadDepth = 512
	maxPatternDepth = 4 * MaxDepth // a level of a pattern is up to two of JSON
)

// syntaxError says where a text stops being JSON.
type syntaxError struct {
	offset int
	reason string
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("not valid JSON at byte %d: %s", e.offset, e.reason)
}

// scanner reads one JSON text (RFC 8259, UTF-8 only) in a single pass. Of what
// is wanted it makes nodes; all else is only checked. Strings without escapes
// and numbers share the text's memory.
type scanner struct {
	s        []byte
	pos      int
	maxDepth int
	// strict is for patterns: members keep their order, and an escaped half
	// of a surrogate pair is refused, not replaced.
	strict  bool
	scratch        // its stack holds the children of the containers that are still open
	chunk   []node // where closed containers' children are kept
	err     *syntaxError
}

// byteOrderMark, U+FEFF in UTF-8, is written by some before the JSON. RFC 8259
// allows to pass over it.
var byteOrderMark = []byte("\ufeff")

// decodePayload reads all of an event's payload, which must not change as long
// as the nodes are in use.
func decodePayload(data []byte) (*node, *syntaxError) {
	return decode(&scanner{s: data, maxDepth: maxPayloadDepth}, everything())
}

// decodePattern reads a pattern's text.
func decodePattern(data []byte) (*node, *syntaxError) {
	return decode(&scanner{s: bytes.Clone(data), maxDepth: maxPatternDepth, strict: true}, everything())
}

func decode(p *scanner, w *wanted) (*node, *syntaxError) {
	p.chunk = make([]node, 0, p.kept)
	p.kept = 0
	if !p.strict && bytes.HasPrefix(p.s, byteOrderMark) {
		p.pos = len(byteOrderMark)
	}
	root := p.value(w, 0)
	p.space()
	if p.err == nil && p.pos < len(p.s) {
		p.fail("something follows the value")
	}
	if p.err != nil {
		return nil, p.err
	}
	return &root, nil
}

// fail keeps the first error and moves to the end, which ends every loop.
func (p *scanner) fail(reason string) {
	if p.err == nil {
		p.err = &syntaxError{min(p.pos, len(p.s)), reason}
	}
	p.pos = len(p.s)
}

func (p *scanner) space() {
	for p.pos < len(p.s) {
		switch p.s[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// next skips white space and returns the byte there, 0 at the end.
func (p *scanner) next() byte {
	if p.pos < len(p.s) && p.s[p.pos] > ' ' { // no white space is usual
		return p.s[p.pos]
	}
	p.space()
	if p.pos < len(p.s) {
		return p.s[p.pos]
	}
	return 0
}

// text is a part of the text without a copy of it. Nobody changes the text
// while it is in use: it is a payload (see Event.Data) or a copy of our own.
func (p *scanner) text(from, to int) string {
	if from == to {
		return ""
	}
	return unsafe.String(&p.s[from], to-from)
}

// value reads one value. If nothing of it is wanted the node is of no use.
func (p *scanner) value(w *wanted, depth int) node {
	if w == nil {
		p.skip(depth)
		return node{}
	}
	switch c := p.next(); {
	case c == '{':
		return p.object(w, depth)
	case c == '[':
		return p.array(w, depth)
	case c == '"':
		return node{kind: kindString, text: p.str()}
	case c == '-' || isDigit(c):
		from := p.pos
		p.number()
		return node{kind: kindNumber, text: p.text(from, p.pos)}
	}
	return node{kind: p.word()}
}

// skip checks a value of which nothing is wanted.
func (p *scanner) skip(depth int) {
	switch c := p.next(); {
	case c == '"':
		p.skipString()
	case c == '{':
		for more := p.enter(depth, '}'); more; more = p.more('}') {
			p.skipName()
			p.skip(depth + 1)
		}
	case c == '[':
		for more := p.enter(depth, ']'); more; more = p.more(']') {
			p.skip(depth + 1)
		}
	case c == '-' || isDigit(c):
		p.number()
	default:
		p.word()
	}
}

// word reads null, true or false.
func (p *scanner) word() kind {
	for k, w := range [...]string{kindNull: "null", kindFalse: "false", kindTrue: "true"} {
		if rest := p.s[p.pos:]; len(rest) >= len(w) && string(rest[:len(w)]) == w {
			p.pos += len(w)
			return kind(k)
		}
	}
	p.fail("want a value")
	return kindNull
}

func (p *scanner) array(w *wanted, depth int) node {
	mark := len(p.stack)
	for more := p.enter(depth, ']'); more; more = p.more(']') {
		p.stack = append(p.stack, p.value(w, depth+1))
	}
	return node{kind: kindArray, kids: p.keep(mark)}
}

func (p *scanner) object(w *wanted, depth int) node {
	mark, members := len(p.stack), uint32(0)
	for more := p.enter(depth, '}'); more; more = p.more('}') {
		members++
		key, inner := p.name(w)
		if inner == nil {
			p.skip(depth + 1)
			continue
		}
		member := p.value(inner, depth+1)
		member.key = key
		p.stack = append(p.stack, member)
	}
	kids := p.keep(mark)
	if !p.strict {
		seal(kids)
	}
	return node{kind: kindObject, members: members, kids: kids}
}

// enter passes an opening bracket and reports whether a member follows, not
// the closing bracket, which it passes as well.
func (p *scanner) enter(depth int, closing byte) bool {
	if depth >= p.maxDepth {
		p.fail(fmt.Sprintf("nested deeper than %d levels", p.maxDepth))
		return false
	}
	p.pos++
	if p.next() == closing {
		p.pos++
		return false
	}
	return true
}

// more passes a comma, after which a member follows, or the closing bracket.
func (p *scanner) more(closing byte) bool {
	switch p.next() {
	case closing:
		p.pos++
		return false
	case ',':
		p.pos++
		return true
	}
	p.fail("want a comma or " + string(closing))
	return false
}

// name reads a member's name, and says what of the member is wanted.
func (p *scanner) name(w *wanted) (string, *wanted) {
	if w.nothingBelow() {
		p.skipName()
		return "", nil
	}
	if p.next() != '"' {
		p.fail("want a field name in double quotes")
		return "", nil
	}
	key := p.str()
	p.colon()
	return key, w.member(key)
}

func (p *scanner) skipName() {
	if p.next() != '"' {
		p.fail("want a field name in double quotes")
		return
	}
	p.skipString()
	p.colon()
}

func (p *scanner) colon() {
	if p.next() != ':' {
		p.fail("want a colon after the field name")
		return
	}
	p.pos++
}

// keep moves the open container's children off the stack to where they stay.
// Chunks keep one small allocation per container out of a decode.
func (p *scanner) keep(mark int) []node {
	kids := p.stack[mark:]
	if len(kids) == 0 {
		return nil
	}
	if cap(p.chunk)-len(p.chunk) < len(kids) {
		p.chunk = make([]node, 0, max(len(kids), min(2*cap(p.chunk), 64), 8))
	}
	p.kept += len(kids)
	from := len(p.chunk)
	p.chunk = append(p.chunk, kids...)
	clear(kids) // so that the stack keeps no text alive
	p.stack = p.stack[:mark]
	return p.chunk[from:len(p.chunk):len(p.chunk)]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (p *scanner) digits() bool {
	from := p.pos
	for p.pos < len(p.s) && isDigit(p.s[p.pos]) {
		p.pos++
	}
	return p.pos > from
}

// accept passes one of two bytes, if it is there.
func (p *scanner) accept(a, b byte) bool {
	if p.pos < len(p.s) && (p.s[p.pos] == a || p.s[p.pos] == b) {
		p.pos++
		return true
	}
	return false
}

// number passes a number; the scanner stands on its sign or first digit.
func (p *scanner) number() {
	p.accept('-', '-')
	if !p.accept('0', '0') && !p.digits() {
		p.fail("want a digit")
		return
	}
	if p.accept('.', '.') && !p.digits() {
		p.fail("want a digit after the point")
		return
	}
	if p.accept('e', 'E') {
		p.accept('+', '-')
		if !p.digits() {
			p.fail("want a digit in the exponent")
		}
	}
}
