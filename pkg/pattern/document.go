package pattern

import (
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	// one from a nats.Header or an http.Header. It is called at most twice,
	// and only if a pattern asks for a header.
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

// Document is one event as patterns see it. It reads what patterns look at,
// once for all patterns of an Index and of those that share its Paths. Asked
// for something else after that, it reads everything, which is enough for
// good. It is safe for concurrent use.
type Document struct {
	event          Event
	envelope, body part
}

// part is the envelope or the payload of a document.
type part struct {
	reading sync.Mutex
	last    atomic.Pointer[reading]
}

// reading is a part of a document as far as it was asked for.
type reading struct {
	root  *node // nil if the payload is not JSON
	err   *syntaxError
	paths *Paths // nil: everything was read
	grown uint64 // what paths.grown was when the payload was read
}

// covers reports whether what was read is enough for paths, nil being
// everything. Paths that have lost something since are still covered.
func (r *reading) covers(paths *Paths) bool {
	return r != nil && (r.paths == nil || r.paths == paths && r.grown == paths.grown)
}

// view is a document that is read as far as paths say, nil being everything,
// and the steps that may still be taken in it.
type view struct {
	doc   *Document
	paths *Paths
	left  int
}

// NewDocument returns the document of an event. It does no work yet.
func NewDocument(e Event) *Document { return &Document{event: e} }

// PayloadRead reports whether any pattern has asked for the payload.
func (d *Document) PayloadRead() bool { return d.body.last.Load() != nil }

// payload returns the payload, or nil if it is not JSON.
func (v *view) payload() *node { return v.read(&v.doc.body, readPayload).root }

// payloadError says why payload returned nil.
func (v *view) payloadError() *syntaxError { return v.read(&v.doc.body, readPayload).err }

// envelope returns the event document without its data, which a clause asks
// for by itself so that the payload stays unread until then.
func (v *view) envelope() *node { return v.read(&v.doc.envelope, readEnvelope).root }

func (v *view) read(p *part, read func(*Event, *Paths) *reading) *reading {
	if r := p.last.Load(); r.covers(v.paths) {
		return r
	}
	p.reading.Lock()
	defer p.reading.Unlock()
	last := p.last.Load()
	if last.covers(v.paths) {
		return last
	}
	paths := v.paths
	if last != nil {
		paths = nil
	}
	r := read(&v.doc.event, paths)
	if r.paths = paths; paths != nil {
		r.grown = paths.grown
	}
	p.last.Store(r)
	return r
}

func readPayload(e *Event, paths *Paths) *reading {
	if paths == nil {
		root, err := decodePayload(e.Data)
		return &reading{root: root, err: err}
	}
	root, err := paths.readPayload(e.Data)
	return &reading{root: root, err: err}
}

func readEnvelope(e *Event, paths *Paths) *reading {
	w := everything()
	if paths != nil {
		w = &paths.envelope
	}
	return &reading{root: makeEnvelope(e, w)}
}

// makeEnvelope makes those fields of the event document that are wanted.
func makeEnvelope(e *Event, w *wanted) *node {
	n := &node{kind: kindObject, members: uint32(len(eventFields))}
	add := func(k kind, key, text string) {
		n.kids = append(n.kids, node{kind: k, key: key, text: text})
	}
	for _, f := range [...]struct{ key, text string }{
		{"type", e.Type},
		{"stream", e.Stream},
		{"subject", e.Subject},
		{"store", e.Store},
		{"id", e.ID},
		{"source", e.Source},
	} {
		absent := f.text == "" && (f.key == "id" || f.key == "source")
		if !absent && w.member(f.key) != nil {
			add(kindString, f.key, f.text)
		}
	}
	if w.member("sequence") != nil {
		add(kindNumber, "sequence", strconv.FormatUint(e.Sequence, 10))
	}
	if w.member("time") != nil {
		add(kindString, "time", e.Time.UTC().Format(time.RFC3339Nano))
	}
	if headers := w.member("headers"); headers != nil {
		n.kids = append(n.kids, makeHeaders(e.Headers, headers))
	}
	return n
}

func makeHeaders(h iter.Seq2[string, string], w *wanted) node {
	n := node{kind: kindObject, key: "headers"}
	if h == nil {
		return n
	}
	for name, value := range h {
		n.members++
		if name = strings.ToLower(name); w.member(name) != nil {
			n.kids = append(n.kids, node{kind: kindString, key: name, text: value})
		}
	}
	slices.Reverse(n.kids) // the last of equal names counts, and here it must be the first
	seal(n.kids)
	return n
}
