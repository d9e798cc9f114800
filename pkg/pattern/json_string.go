package pattern

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string; the scanner stands on its opening quote.
func (p *scanner) str() string {
	from := p.pos + 1
	p.pos++
	for p.plain() {
		if p.s[p.pos] == '\\' {
			return p.escaped(from)
		}
		p.rune()
	}
	if p.err != nil {
		return ""
	}
	p.pos++
	return p.text(from, p.pos-1)
}

// skipString passes a string that is not wanted.
func (p *scanner) skipString() {
	p.pos++
	for p.plain() {
		if p.s[p.pos] == '\\' {
			p.escape()
		} else {
			p.rune()
		}
	}
	if p.err == nil {
		p.pos++
	}
}

// escaped reads the rest of a string from its first backslash on.
func (p *scanner) escaped(from int) string {
	out := append([]byte(nil), p.s[from:p.pos]...)
	for {
		at := p.pos
		special := p.plain()
		if p.err != nil {
			return ""
		}
		out = append(out, p.s[at:p.pos]...)
		if !special {
			p.pos++
			return string(out)
		}
		if p.s[p.pos] == '\\' {
			out = utf8.AppendRune(out, p.escape())
			continue
		}
		at = p.pos
		p.rune()
		out = append(out, p.s[at:p.pos]...)
	}
}

// plain passes the characters of a string that need no look. It returns true
// on a backslash or a character beyond ASCII, and false on the closing quote
// or, after an error, at the end.
func (p *scanner) plain() bool {
	for p.pos+8 <= len(p.s) {
		if m := unusual(binary.LittleEndian.Uint64(p.s[p.pos:])); m != 0 {
			p.pos += bits.TrailingZeros64(m) / 8
			break
		}
		p.pos += 8
	}
	for ; p.pos < len(p.s); p.pos++ {
		switch c := p.s[p.pos]; {
		case c == '"':
			return false
		case c == '\\' || c >= utf8.RuneSelf:
			return true
		case c < ' ':
			p.fail("control character in a string: write it as an escape")
			return false
		}
	}
	p.fail("the string does not end")
	return false
}

// unusual marks, in the top bit of each of eight bytes, those that are not
// plain. Marks above the lowest may be wrong, since a subtraction borrows.
func unusual(w uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, backslash := w^ones*'"', w^ones*'\\'
	return ((quote-ones)&^quote | (backslash-ones)&^backslash | (w-ones*' ')&^w | w) & tops
}

// rune passes one character beyond ASCII.
func (p *scanner) rune() {
	r, size := utf8.DecodeRune(p.s[p.pos:])
	if r == utf8.RuneError && size <= 1 {
		p.fail("invalid UTF-8")
		return
	}
	p.pos += size
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
	if rest := p.s[p.pos:]; len(rest) > 1 && rest[0] == '\\' && rest[1] == 'u' {
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
	for _, c := range p.s[p.pos+1 : p.pos+5] {
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
