package selector

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Message is a message of a store, as it was stored.
type Message struct {
	Sequence uint64 // 0 where it was never stored
	Time     time.Time
	Subject  string
	Header   nats.Header
	Data     []byte
}

// Event is one event of a store; use NewEvent. It must not change once it is
// looked at, and only one goroutine may look at it.
type Event struct {
	Message
	Store        string
	Type, Stream string // what TypeAndStream says

	doc *pattern.Document
}

// NewEvent returns the event that a message of a store is.
func NewEvent(store string, m Message) Event {
	typ, stream := TypeAndStream(m.Subject, m.Header)
	return Event{Message: m, Store: store, Type: typ, Stream: stream}
}

// TypeAndStream returns the type and the stream of an event. The ce-type header
// names the type where there is one, and the stream is the subject; else the
// last token of the subject is the type, and the stream what stands before it.
// Where there is a ce-specversion, ce-type is percent-decoded.
func TypeAndStream(subject string, h nats.Header) (typ, stream string) {
	if v := attribute(h, wire.HeaderCEType); v != "" {
		return v, subject
	}
	i := strings.LastIndexByte(subject, '.')
	if i < 0 {
		return subject, ""
	}
	return subject[i+1:], subject[:i]
}

// lookup finds a header whatever the case of its name: NATS keeps the case
// that the publisher wrote. Of names that differ in case alone the first in
// byte order counts, as it does in patterns.
func lookup(h nats.Header, name string) (value string, ok bool) {
	var found string
	for k, v := range h {
		if len(k) == len(name) && len(v) > 0 && (!ok || k < found) && strings.EqualFold(k, name) {
			found, value, ok = k, v[0], true
		}
	}
	return value, ok
}

// HeaderValue returns the first value of the header as it is stored, whatever
// the case of its name; "" where there is none.
func (e *Event) HeaderValue(name string) string {
	v, _ := lookup(e.Header, name)
	return v
}

// ID is ce-id, else Nats-Msg-Id, else <store>:<sequence>.
func (e *Event) ID() string {
	if v := attribute(e.Header, wire.HeaderCEID); v != "" {
		return v
	}
	if v := e.HeaderValue(nats.MsgIdHdr); v != "" {
		return v
	}
	return e.Store + ":" + strconv.FormatUint(e.Sequence, 10)
}

// Document returns the event as patterns see it. It is made when it is first
// asked for, and kept until DropDocument.
func (e *Event) Document() *pattern.Document {
	if e.doc == nil {
		e.doc = pattern.NewDocument(pattern.Event{
			Type: e.Type, Stream: e.Stream, Subject: e.Subject, Store: e.Store,
			Sequence: e.Sequence, Time: e.Time, ID: e.ID(), Source: attribute(e.Header, wire.HeaderCESource),
			Headers: headers(e.Header), Data: e.Data,
		})
	}
	return e.doc
}

// DropDocument lets the parsed document go. The event can be looked at again,
// at the cost of parsing it again.
func (e *Event) DropDocument() { e.doc = nil }
