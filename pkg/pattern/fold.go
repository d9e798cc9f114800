package pattern

import (
	"unicode"
	"unicode/utf8"
)

// appendFold appends a text that is the same for exactly those strings that
// strings.EqualFold holds equal.
func appendFold(buf []byte, s string) []byte {
	for _, r := range s { // what is no character reads as U+FFFD, there as here
		buf = utf8.AppendRune(buf, foldRune(r))
	}
	return buf
}

// foldRune returns the least of the characters that simple folding makes equal.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A' // capitals are the least, also of k and s with their kin beyond ASCII
		}
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}
