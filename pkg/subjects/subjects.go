// Package subjects compares NATS subjects and filters, which have the wildcards * and
// >. A literal subject is the filter that matches it alone.
package subjects

import "strings"

// Covers reports whether a filter matches every subject that another one matches.
func Covers(wide, narrow string) bool {
	for {
		w, wRest, wMore := strings.Cut(wide, ".")
		if w == ">" {
			return true
		}
		n, nRest, nMore := strings.Cut(narrow, ".")
		if n == ">" || w != "*" && w != n {
			return false
		}
		if !wMore || !nMore {
			return wMore == nMore
		}
		wide, narrow = wRest, nRest
	}
}

// Overlap reports whether some subject matches both filters.
func Overlap(f, g string) bool {
	for {
		a, aRest, aMore := strings.Cut(f, ".")
		b, bRest, bMore := strings.Cut(g, ".")
		switch {
		case a == ">" || b == ">":
			return true
		case a != b && a != "*" && b != "*":
			return false
		case !aMore || !bMore:
			return aMore == bMore
		}
		f, g = aRest, bRest
	}
}
