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

func (w wildcard) holds(s scalar) bool {
	if s.kind != kindString {
		return false
	}
	text, last := s.text, len(w)-1
	if last == 0 {
		return text == w[0]
	}
	text, ok := strings.CutPrefix(text, w[0])
	if !ok || !strings.HasSuffix(text, w[last]) {
		return false
	}
	text = text[:len(text)-len(w[last])]
	for _, piece := range w[1:last] {
		i := strings.Index(text, piece)
		if i < 0 {
			return false
		}
		text = text[i+len(piece):]
	}
	return true
}
