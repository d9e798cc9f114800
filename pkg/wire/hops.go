package wire

import "strings"

// MaxHops is how often an event may go through Sluice: one that has is parked
// for the reason ParkedLoop, and not delivered again.
const MaxHops = 8

// hopsField is the place of the hops in the compact header.
const hopsField = 6

// Hops returns how often the header of a stored event says that it went through
// Sluice, at most MaxHops; 0 where it says nothing of it. Where several headers
// do, the highest counts. Whoever stores events may write what he likes: a value
// that is no number counts as 1, so that no value lowers what another one says.
func Hops(name string, values []string) (hops int) {
	of := func(value string) string { return value }
	switch {
	case strings.EqualFold(name, HeaderSubscription):
		return 1
	case strings.EqualFold(name, HeaderHops):
	case strings.EqualFold(name, HeaderEvent):
		of = compactHops
	default:
		return 0
	}
	hops = 1
	for _, v := range values {
		hops = max(hops, readHops(of(v)))
	}
	return hops
}

// compactHops returns the hops of a compact header, "" where there are none.
func compactHops(value string) string {
	fields := strings.Fields(value)
	if len(fields) <= hopsField {
		return ""
	}
	return fields[hopsField]
}

// readHops reads a number without sign, however large.
func readHops(text string) (n int) {
	for _, c := range strings.TrimSpace(text) {
		if c < '0' || c > '9' {
			return 0
		}
		n = min(10*n+int(c-'0'), MaxHops)
	}
	return n
}
