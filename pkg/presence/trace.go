package presence

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Listeners is who would get a message on a subject.
type Listeners struct {
	// Known is false where the servers did not tell: then an absence of
	// listeners means nothing.
	Known bool
	// Subscriptions counts core subscriptions, a queue group once.
	Subscriptions int
	// Streams are the JetStream streams that would store it.
	Streams []string
	// Reason says why it is not known.
	Reason string
}

// None reports whether it is known that nobody listens. A stream is nobody, but
// the one that is the target; "" is none.
func (l Listeners) None(target string) bool {
	return l.Known && l.Subscriptions == 0 && (target == "" || !slices.Contains(l.Streams, target))
}

// Kinds of connection that pass a message on to another server.
const (
	kindRouter  = 1
	kindGateway = 2
	kindLeaf    = 4
)

// trace is what one server reports. A server sets the hop on the message that it
// passes on, and the next one tells in its trace which hop it was.
type trace struct {
	Request struct {
		Header struct {
			Hop []string `json:"Nats-Trace-Hop"`
		} `json:"header"`
	} `json:"request"`
	Events []struct {
		Type       string `json:"type"`
		Kind       int    `json:"kind"`
		Hop        string `json:"hop"`
		Stream     string `json:"stream"`
		NoInterest bool   `json:"nointerest"`
		Error      string `json:"error"`
	} `json:"events"`
}

// path gathers the traces of one message until every hop has reported.
type path struct {
	expected  []string // hops announced beside the first server's, which is ""
	seen      []string
	listeners Listeners
	blind     string // why a part of the path cannot be seen
}

// add takes one server's trace.
func (p *path) add(body []byte, ours func(stream string) bool) error {
	var t trace
	if err := json.Unmarshal(body, &t); err != nil {
		return fmt.Errorf("decode trace: %w", err)
	}
	hop := ""
	if v := t.Request.Header.Hop; len(v) > 0 {
		hop = v[0]
	}
	if slices.Contains(p.seen, hop) {
		return nil
	}
	p.seen = append(p.seen, hop)
	for _, e := range t.Events {
		switch e.Type {
		case "in":
			if e.Error != "" {
				p.blind = e.Error
			}
		case "js":
			if e.Error == "" && !e.NoInterest && !ours(e.Stream) {
				p.listeners.Streams = append(p.listeners.Streams, e.Stream)
			}
		case "eg":
			p.egress(e.Kind, e.Hop, e.Error)
		}
	}
	return nil
}

func (p *path) egress(kind int, hop, failure string) {
	remote := kind == kindRouter || kind == kindGateway || kind == kindLeaf
	switch {
	case remote && failure != "":
		p.blind = failure
	case remote && hop != "":
		p.expected = append(p.expected, hop)
	case failure == "":
		p.listeners.Subscriptions++
	}
}

// complete reports whether every server that was to report has done so.
func (p *path) complete() bool {
	return slices.Contains(p.seen, "") &&
		!slices.ContainsFunc(p.expected, func(hop string) bool { return !slices.Contains(p.seen, hop) })
}

// result is what the traces say so far.
func (p *path) result() Listeners {
	l := p.listeners
	switch {
	case l.Subscriptions > 0:
		l.Known = true
	case p.blind != "":
		l.Reason = p.blind
	case !slices.Contains(p.seen, ""):
		l.Reason = "the server did not answer the trace"
	case !p.complete():
		l.Reason = "not every server on the path answered the trace"
	default:
		l.Known = true
	}
	return l
}
