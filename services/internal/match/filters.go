package match

import (
	"slices"
	"strings"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/subjects"
)

// Filters are what a JetStream consumer asks for: one filter, or a few subjects
// without wildcards. Nil is every subject; empty, but not nil, is none.
type Filters []string

// maxLiterals is how many filters a consumer asks for at once, and only where
// none has a wildcard. With several filters nats-server visits, for each message
// that it delivers, every subject of a part of the stream that they match. That
// is cheap for a few subjects, and without limit for wildcards.
const maxLiterals = 4

// With returns filters that match whatever f does, or m asks for.
func (f Filters) With(m *selector.Matcher) Filters {
	if f == nil || m.Subjects() == nil {
		return nil
	}
	all := slices.Clone(f)
	for _, s := range m.Subjects() {
		if all = all.with(s); all == nil {
			return nil
		}
	}
	return all
}

// with returns f and a further filter, or one filter in place of all.
func (f Filters) with(filter string) Filters {
	if slices.ContainsFunc(f, func(wide string) bool { return subjects.Covers(wide, filter) }) {
		return f
	}
	f = slices.DeleteFunc(f, func(narrow string) bool { return subjects.Covers(filter, narrow) })
	f = append(f, filter)
	if len(f) == 1 || len(f) <= maxLiterals && !strings.ContainsAny(strings.Join(f, ""), "*>") {
		return f
	}
	one := f[0]
	for _, next := range f[1:] {
		one = span(one, next)
	}
	// What begins with a wildcard selects little, and has every subject visited.
	if first, _, _ := strings.Cut(one, "."); first == "*" || first == ">" {
		return nil
	}
	return Filters{one}
}

// span returns the narrowest filter that matches whatever one of two does.
func span(f, g string) string {
	a, b := strings.Split(f, "."), strings.Split(g, ".")
	for i := range min(len(a), len(b)) {
		if a[i] == ">" || b[i] == ">" || (i+1 == len(a)) != (i+1 == len(b)) {
			return strings.Join(append(a[:i], ">"), ".")
		}
		if a[i] != b[i] {
			a[i] = "*"
		}
	}
	return strings.Join(a, ".")
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
			if subjects.Overlap(f, g) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
