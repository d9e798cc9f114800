package pattern

import (
	"unicode"
	"unicode/utf8"
)

// appendFold appends a text that is the same for exactly those strings that
// strings.EqualFold holds equal.
func appendFold(buf []byte, s string) []byte {
	for i, r := range s { // what is no character reads as U+FFFD, there as here
		if r < utf8.RuneSelf {
			buf = append(buf, foldASCII(s[i]))
		} else {
			buf = utf8.AppendRune(buf, foldRune(r))
		}
	}
	return buf
}

func foldASCII(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - ('a' - 'A') // capitals are the least, also of k and s with their kin beyond ASCII
	}
	return c
}

// foldRune returns the least of the characters that simple folding makes equal.
func foldRune(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}
