package pattern

import (
	"errors"
	"strings"
)

var errEscape = errors.New(`a backslash escapes only * and \: write \\ for a backslash`)

// wildcard is the literal pieces between the stars. A single piece has no
// star around it. Taking the leftmost place for each middle piece is enough
// for any match, so there is no backtracking and the cost is linear.
type wildcard []string

func parseWildcard(s string) (wildcard, error) {
	var pieces wildcard
	var piece strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*':
			pieces = append(pieces, piece.String())
			piece.Reset()
		case '\\':
			i++
			if i == len(s) || s[i] != '*' && s[i] != '\\' {
				return nil, errEscape
			}
			piece.WriteByte(s[i])
		default:
			piece.WriteByte(s[i])
		}
	}
	return append(pieces, piece.String()), nil
}

func (w wildcard) holds(v *view, s scalar) bool {
	if s.kind != kindString {
		return false
	}
	text, last := s.text, len(w)-1
	if last == 0 {
		return v.spend(compared(len(w[0]))) && text == w[0]
	}
	if !v.spend(compared(len(w[0]) + len(w[last]))) {
		return false
	}
	text, ok := strings.CutPrefix(text, w[0])
	if !ok || !strings.HasSuffix(text, w[last]) {
		return false
	}
	text = text[:len(text)-len(w[last])]
	for _, piece := range w[1:last] {
		if text, ok = v.cutAfter(text, piece); !ok {
			return false
		}
	}
	return true
}

// firstPart is how much of a text is searched and paid for at first.
const firstPart = 64

// cutAfter returns what follows the first piece in text. It searches larger and
// larger parts: the piece may be found soon in a long text, which must not be
// paid for whole.
func (v *view) cutAfter(text, piece string) (after string, ok bool) {
	for size := max(firstPart, 2*len(piece)); ; size *= 2 {
		part := text[:min(len(text), size)]
		if !v.spend(1 + scanned(len(part))) {
			return "", false
		}
		if i := strings.Index(part, piece); i >= 0 {
			return text[i+len(piece):], true
		}
		if len(part) == len(text) {
			return "", false
		}
		text = text[len(part)-len(piece)+1:]
	}
}
