package pattern

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
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

// scanner reads one JSON text (RFC 8259, UTF-8 only) in a single pass into
// nodes. Strings without escapes and numbers share the text's memory.
type scanner struct {
	s        string
	pos      int
	maxDepth int
	// strict is for patterns: members keep their order, and an escaped half
	// of a surrogate pair is refused, not replaced.
	strict bool
	stack  []node // children of the containers that are still open
	chunk  []node // where closed containers' children are kept
	err    *syntaxError
}

// decodePayload reads an event's payload.
func decodePayload(data []byte) (*node, *syntaxError) {
	return decode(&scanner{s: string(data), maxDepth: maxPayloadDepth})
}

// decodePattern reads a pattern's text.
func decodePattern(data []byte) (*node, *syntaxError) {
	return decode(&scanner{s: string(data), maxDepth: maxPatternDepth, strict: true})
}

func decode(p *scanner) (*node, *syntaxError) {
	if i := invalidUTF8(p.s); i >= 0 {
		return nil, &syntaxError{i, "invalid UTF-8"}
	}
	root := p.value(0)
	p.space()
	if p.err == nil && p.pos < len(p.s) {
		p.fail("something follows the value")
	}
	if p.err != nil {
		return nil, p.err
	}
	return &root, nil
}

func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
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
	p.space()
	if p.pos < len(p.s) {
		return p.s[p.pos]
	}
	return 0
}

func (p *scanner) value(depth int) node {
	switch c := p.next(); {
	case c == '{' || c == '[':
		if depth >= p.maxDepth {
			p.fail(fmt.Sprintf("nested deeper than %d levels", p.maxDepth))
			return node{}
		}
		p.pos++
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case c == '"':
		return node{kind: kindString, text: p.str()}
	case c == '-' || isDigit(c):
		return node{kind: kindNumber, text: p.number()}
	case p.word("null"):
		return node{kind: kindNull}
	case p.word("true"):
		return node{kind: kindTrue}
	case p.word("false"):
		return node{kind: kindFalse}
	}
	p.fail("want a value")
	return node{}
}

func (p *scanner) word(w string) bool {
	if !strings.HasPrefix(p.s[p.pos:], w) {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *scanner) array(depth int) node {
	mark := len(p.stack)
	if p.next() == ']' {
		p.pos++
		return node{kind: kindArray}
	}
	for p.err == nil {
		p.stack = append(p.stack, p.value(depth))
		if p.closes(']') {
			break
		}
	}
	return node{kind: kindArray, kids: p.keep(mark)}
}

func (p *scanner) object(depth int) node {
	mark := len(p.stack)
	if p.next() == '}' {
		p.pos++
		return node{kind: kindObject}
	}
	for p.err == nil {
		if p.next() != '"' {
			p.fail("want a field name in double quotes")
			break
		}
		key := p.str()
		if p.next() != ':' {
			p.fail("want a colon after the field name")
			break
		}
		p.pos++
		member := p.value(depth)
		member.key = key
		p.stack = append(p.stack, member)
		if p.closes('}') {
			break
		}
	}
	kids := p.keep(mark)
	if !p.strict {
		seal(kids)
	}
	return node{kind: kindObject, kids: kids}
}

// closes passes a comma, or the closing bracket and then returns true.
func (p *scanner) closes(bracket byte) bool {
	switch p.next() {
	case bracket:
		p.pos++
		return true
	case ',':
		p.pos++
	default:
		p.fail("want a comma or " + string(bracket))
	}
	return false
}

// keep moves the open container's children off the stack to where they stay.
// Chunks keep one small allocation per container out of a decode.
func (p *scanner) keep(mark int) []node {
	kids := p.stack[mark:]
	if cap(p.chunk)-len(p.chunk) < len(kids) {
		p.chunk = make([]node, 0, max(len(kids), min(64, len(p.s)/8)))
	}
	from := len(p.chunk)
	p.chunk = append(p.chunk, kids...)
	clear(kids)
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

// accept passes one of the given bytes, if it is there.
func (p *scanner) accept(set string) bool {
	if p.pos < len(p.s) && strings.IndexByte(set, p.s[p.pos]) >= 0 {
		p.pos++
		return true
	}
	return false
}

func (p *scanner) number() string {
	from := p.pos
	p.accept("-")
	if !p.accept("0") && !p.digits() {
		p.fail("want a digit")
		return ""
	}
	if p.accept(".") && !p.digits() {
		p.fail("want a digit after the point")
		return ""
	}
	if p.accept("eE") {
		p.accept("+-")
		if !p.digits() {
			p.fail("want a digit in the exponent")
			return ""
		}
	}
	return p.s[from:p.pos]
}

// str reads a string; the scanner stands on its opening quote.
func (p *scanner) str() string {
	p.pos++
	from := p.pos
	for p.pos < len(p.s) {
		switch c := p.s[p.pos]; {
		case c == '"':
			p.pos++
			return p.s[from : p.pos-1]
		case c == '\\':
			return p.escaped(from)
		case c < ' ':
			p.fail("control character in a string: write it as an escape")
			return ""
		}
		p.pos++
	}
	p.fail("the string does not end")
	return ""
}

// escaped reads the rest of a string from its first backslash on.
func (p *scanner) escaped(from int) string {
	out := []byte(p.s[from:p.pos])
	for p.pos < len(p.s) {
		switch c := p.s[p.pos]; {
		case c == '"':
			p.pos++
			return string(out)
		case c == '\\':
			out = utf8.AppendRune(out, p.escape())
			continue
		case c < ' ':
			p.fail("control character in a string: write it as an escape")
			return ""
		default:
			out = append(out, c)
		}
		p.pos++
	}
	p.fail("the string does not end")
	return ""
}

// escape reads one escape sequence, or the two of a surrogate pair.
func (p *scanner) escape() rune {
	p.pos++
	if p.pos >= len(p.s) {
		return 0
	}
	c := p.s[p.pos]
	if c == 'u' {
		return p.unicodeEscape()
	}
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		p.pos++
		return rune("\"\\/\b\f\n\r\t"[i])
	}
	p.fail("unknown escape")
	return 0
}

func (p *scanner) unicodeEscape() rune {
	at := p.pos
	r, ok := p.hex4()
	if !ok {
		p.fail(`want four hexadecimal digits after \u`)
		return 0
	}
	if !utf16.IsSurrogate(r) {
		return r
	}
	if strings.HasPrefix(p.s[p.pos:], `\u`) {
		back := p.pos
		p.pos++
		low, ok := p.hex4()
		if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
			return pair
		}
		p.pos = back
	}
	if p.strict {
		p.pos = at
		p.fail("half of a surrogate pair: write both halves or the character itself")
	}
	return utf8.RuneError
}

// hex4 reads the u under the scanner and four hexadecimal digits.
func (p *scanner) hex4() (rune, bool) {
	if p.pos+5 > len(p.s) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.s[p.pos+1 : p.pos+5]) {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	p.pos += 5
	return r, true
}
