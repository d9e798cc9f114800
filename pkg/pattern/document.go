package pattern

import (
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Event is what a document is made of. See the package documentation for how
// each field is seen by patterns.
type Event struct {
	Type, Stream, Subject, Store string
	Sequence                     uint64
	Time                         time.Time
	// ID and Source are absent from the event document when empty.
	ID, Source string
	// Headers yields names and values. The document lower-cases the names
	// and takes the first value of each. Nil is no headers. HeadersOf makes
	// one from a nats.Header or an http.Header. It is called at most once,
	// and only if a pattern asks for an envelope field.
	Headers iter.Seq2[string, string]
	// Data is the payload. It must not change while the document is in use.
	Data []byte
}

// HeadersOf yields the first value of each name, in the order of the names, so
// that of two names that differ in case the same one counts every time.
func HeadersOf(h map[string][]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		names := make([]string, 0, len(h))
		for name, values := range h {
			if len(values) > 0 {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			if !yield(name, h[name][0]) {
				return
			}
		}
	}
}

// Document is one event as patterns see it. It decodes what patterns ask for,
// at most once, however many patterns are matched against it. It is safe for
// concurrent use.
type Document struct {
	event Event

	envelopeOnce sync.Once
	envelopeRoot node

	payloadOnce sync.Once
	payloadRoot *node
	payloadErr  *syntaxError
}

// NewDocument returns the document of an event. It does no work yet.
func NewDocument(e Event) *Document { return &Document{event: e} }

// PayloadError returns nil if the payload is JSON, else why it is not.
func (d *Document) PayloadError() error {
	if d.payload(); d.payloadErr != nil {
		return d.payloadErr
	}
	return nil
}

// payload returns the decoded payload, or nil if it is not JSON.
func (d *Document) payload() *node {
	d.payloadOnce.Do(func() { d.payloadRoot, d.payloadErr = decodePayload(d.event.Data) })
	return d.payloadRoot
}

// envelope returns the event document without its data, which a clause asks
// for by itself so that the payload stays undecoded until then.
func (d *Document) envelope() *node {
	d.envelopeOnce.Do(func() { d.envelopeRoot = makeEnvelope(d.event) })
	return &d.envelopeRoot
}

func makeEnvelope(e Event) node {
	str := func(key, text string) node { return node{kind: kindString, key: key, text: text} }
	members := make([]node, 0, len(eventFields))
	members = append(members,
		str("type", e.Type), str("stream", e.Stream), str("subject", e.Subject), str("store", e.Store),
		node{kind: kindNumber, key: "sequence", text: strconv.FormatUint(e.Sequence, 10)},
		str("time", e.Time.UTC().Format(time.RFC3339Nano)),
		makeHeaders(e.Headers))
	if e.ID != "" {
		members = append(members, str("id", e.ID))
	}
	if e.Source != "" {
		members = append(members, str("source", e.Source))
	}
	return node{kind: kindObject, kids: members}
}

func makeHeaders(h iter.Seq2[string, string]) node {
	n := node{kind: kindObject, key: "headers"}
	if h == nil {
		return n
	}
	for name, value := range h {
		n.kids = append(n.kids, node{kind: kindString, key: strings.ToLower(name), text: value})
	}
	slices.Reverse(n.kids) // the last of equal names counts, and here it must be the first
	seal(n.kids)
	return n
}
