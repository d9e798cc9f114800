package match

import (
	"slices"
	"strings"

	"github.com/sluicehq/sluice/pkg/selector"
)

// Filters is a set of subject filters none of which covers another, as a
// JetStream consumer wants them. Nil is every subject; empty, but not nil, is
// none.
type Filters []string

// With returns the filters and those of m. It is every subject if m asks for
// that, or if there would be more than most.
func (f Filters) With(m *selector.Matcher, most int) Filters {
	if f == nil || m.Subjects() == nil {
		return nil
	}
	all := slices.Clone(f)
	for _, s := range m.Subjects() {
		if slices.ContainsFunc(all, func(wide string) bool { return covers(wide, s) }) {
			continue
		}
		all = slices.DeleteFunc(all, func(narrow string) bool { return covers(s, narrow) })
		if all = append(all, s); len(all) > most {
			return nil
		}
	}
	return all
}

// maxCompared bounds how many filters are compared with each other.
const maxCompared = 256

// atOnce is how many of the filters one subject may match at most, or more.
func atOnce(filters []string) int {
	wild := slices.DeleteFunc(slices.Clone(filters), func(f string) bool { return !inTrie(f) })
	if len(wild) > maxCompared {
		return len(wild)
	}
	most := 0
	for _, f := range wild {
		n := 0
		for _, g := range wild {
			if overlap(f, g) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// overlap reports whether some subject matches both filters.
func overlap(f, g string) bool {
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

// covers reports whether a filter matches every subject that another matches.
func covers(wide, narrow string) bool {
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
