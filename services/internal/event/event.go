// Package event is one event of a store inside a service: read once, shared
// by every subscription that gets it, never copied and never changed. What
// selectors see of it is package selector's; here is what deliveries need.
package event

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Event is one event of a store. Its fields are read-only once it is made.
type Event struct {
	selector.Event // only the reader that made it may ask for its document

	// Past is what is known of a parked event that is delivered again.
	Past Past

	fields []Field
	place  [placeFields]string // the values of those that say where the event stands
	hops   int
	looped bool // it comes from a parked stream, where it lies since it loops
	told   bool // it is an advisory
	size   int
}

// placeFields is how many headers say where an event stands in its store.
const placeFields = 4

// Field is one header of a delivery.
type Field struct {
	Name   string
	Values []string
}

// New returns the event that a message of a store is.
func New(store string, m selector.Message) *Event {
	return &Event{Event: selector.NewEvent(store, m)}
}

// Past is what had become of an event by the time that it was parked.
type Past struct {
	Sequence uint64   // in its store; 0: it was not parked
	Attempts int      // all of them
	History  []string // why, one for each time, the oldest first
}

// Restore returns an event that was parked, as its pool takes it: it goes by seq,
// its sequence in the parked stream, and its deliveries say where it stands in its
// store.
func Restore(seq uint64, of selector.Event, past Past) *Event {
	e := &Event{Event: of, Past: past}
	e.Past.Sequence, e.Sequence = of.Sequence, seq
	e.Matched()
	return e
}

// StoreSequence is the event's sequence in its store.
func (e *Event) StoreSequence() uint64 { return cmp.Or(e.Past.Sequence, e.Sequence) }

// Matched is called by the reader before the event is handed to pools. It does
// the work that is the same for all of them and lets the parsed document go.
func (e *Event) Matched() {
	e.DropDocument()
	e.fields = make([]Field, 0, len(e.Header)+placeFields+1)
	e.size = len(e.Data) + len(e.Subject) + 256
	for name, values := range e.Header {
		e.size += len(name) + 48
		for _, v := range values {
			e.size += len(v) + 16
		}
		e.passed(name, values)
		if !reserved(name) {
			e.fields = append(e.fields, Field{name, values})
		}
	}
	// In order, so that a delivery's header can be made from the one before.
	slices.SortFunc(e.fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	var buf [64]byte
	text := strconv.AppendUint(buf[:0], e.StoreSequence(), 10)
	n := len(text)
	both := string(e.Time.UTC().AppendFormat(text, time.RFC3339Nano))
	e.place = [placeFields]string{e.Store, both[:n], e.Subject, both[n:]}
	e.fields = append(e.fields,
		Field{wire.HeaderStore, e.place[0:1:1]},
		Field{wire.HeaderSequence, e.place[1:2:2]},
		Field{wire.HeaderSubject, e.place[2:3:3]},
		Field{wire.HeaderTime, e.place[3:4:4]},
	)
	if e.hops > 0 {
		e.fields = append(e.fields, Field{wire.HeaderHops, []string{strconv.Itoa(e.hops + 1)}})
	}
}

// passed takes notice of a header that says that the event went through Sluice.
func (e *Event) passed(name string, values []string) {
	if !hasPrefixFold(name, "Sluice-") {
		return
	}
	e.hops = max(e.hops, wire.Hops(name, values))
	e.told = e.told || strings.EqualFold(name, wire.HeaderAdvisory)
	e.looped = e.looped || strings.EqualFold(name, wire.HeaderParkReason) && slices.Contains(values, wire.ParkedLoop)
}

// reserved reports whether a stored header must not travel on: what it says
// would be read as the word of the server, of Sluice, or of a client library,
// which takes an empty message with a Status for one of the protocol's.
func reserved(name string) bool {
	return hasPrefixFold(name, "Nats-") || hasPrefixFold(name, "Sluice-") ||
		strings.EqualFold(name, "Status") || strings.EqualFold(name, "Description")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// Fields are the headers that every delivery of the event has, in an order that
// is the same for events with the same header names.
func (e *Event) Fields() []Field { return e.fields }

// Place are those of Fields that say where the event stands in its store, and
// how often it went through Sluice.
func (e *Event) Place() []Field {
	n := placeFields
	if e.hops > 0 {
		n++
	}
	return e.fields[len(e.fields)-n:]
}

// Loops reports whether the event went through Sluice so often that it must not
// be delivered again.
func (e *Event) Loops() bool { return e.hops >= wire.MaxHops }

// ParkedAsLoop reports whether it was parked for that reason before, and came
// back from the parked stream.
func (e *Event) ParkedAsLoop() bool { return e.Loops() && e.looped }

// IsAdvisory reports whether the event is an advisory. What becomes of it is told
// by no other one: else each that a store sources could make one more, for every
// subscription.
func (e *Event) IsAdvisory() bool { return e.told }

// Trail are the headers of an advisory about the event. Advisories are stored,
// and may be events in their turn: those about it count as one hop more than it,
// and say, as a parked event does, that it was parked since it loops.
func (e *Event) Trail() nats.Header {
	h := nats.Header{wire.HeaderHops: {strconv.Itoa(e.hops + 1)}}
	if e.Loops() {
		h[wire.HeaderParkReason] = []string{wire.ParkedLoop}
	}
	return h
}

// Size is about what a matched event holds in memory, in bytes.
func (e *Event) Size() int { return e.size }
