package feed

import (
	"strings"
	"time"
)

const (
	ackPrefix = "$JS.ACK."
	// Tokens of an ack subject behind the prefix, old and new; newer servers may
	// add some to the new one.
	oldTokens = 7 // <stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
	newTokens = 9 // <domain>.<account>.<the same>
)

// place is where a message stands, as its reply subject has it.
type place struct {
	stream, consumer string
	sequence         uint64 // in the stream
	number           uint64 // among what the consumer delivered
	at               time.Time
	pending          uint64 // how many more the consumer has to deliver
}

// parse reads the reply subject of a delivered message.
func parse(reply string) (p place, ok bool) {
	rest, ok := strings.CutPrefix(reply, ackPrefix)
	if !ok {
		return p, false
	}
	switch n := strings.Count(rest, ".") + 1; {
	case n == oldTokens:
	case n >= newTokens:
		_, rest, _ = strings.Cut(rest, ".")
		_, rest, _ = strings.Cut(rest, ".")
	default:
		return p, false
	}
	p.stream, rest, _ = strings.Cut(rest, ".")
	p.consumer, rest, _ = strings.Cut(rest, ".")
	_, rest, _ = strings.Cut(rest, ".") // how often it was delivered: once
	var ns uint64
	for _, n := range []*uint64{&p.sequence, &p.number, &ns, &p.pending} {
		var token string
		token, rest, _ = strings.Cut(rest, ".")
		if *n, ok = number(token); !ok {
			return place{}, false
		}
	}
	p.at = time.Unix(0, int64(ns))
	return p, true
}

// number reads a decimal number of at most 64 bits.
func number(digits string) (n uint64, ok bool) {
	if digits == "" || len(digits) > 20 {
		return 0, false
	}
	for i := range len(digits) {
		d := uint64(digits[i] - '0')
		if d > 9 || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
