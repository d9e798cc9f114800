package evaluator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Stored is an event as it lies in its store.
type Stored struct {
	Sequence uint64
	Time     time.Time // when it was stored
	Subject  string
	Headers  map[string][]string
	Data     []byte
}

// Expected is an event that must be delivered.
type Expected struct {
	Sequence uint64
	// Key is the ordering key: first deliveries of equal keys come in the
	// order of their sequences. With order_by none every event has its own.
	Key string
}

// Subscription is what was asked for, and when.
type Subscription struct {
	Spec wire.Spec
	// Last is the store's last sequence when the subscribe was answered, which
	// is what a start of "new" counts from.
	Last uint64
}

// Deliveries returns which of the events each subscription must get, by
// sequence. The events are all that the store holds, in any order. It fails
// on a pattern that is not in the language.
func Deliveries(events []Stored, subs ...Subscription) ([][]Expected, error) {
	selectors := make([]selector, len(subs))
	for i, sub := range subs {
		var err error
		if selectors[i], err = newSelector(sub.Spec); err != nil {
			return nil, fmt.Errorf("subscription %d: %w", i, err)
		}
	}
	all := make([][]Expected, len(subs))
	for _, stored := range slices.SortedFunc(slices.Values(events), bySequence) {
		e := event{Stored: stored}
		for i, sub := range subs {
			if started(sub.Spec.Start, stored, sub.Last) && selectors[i].wants(&e) {
				all[i] = append(all[i], Expected{Sequence: e.Sequence, Key: key(sub.Spec.OrderBy, stored)})
			}
		}
	}
	return all, nil
}

func bySequence(a, b Stored) int { return cmp.Compare(a.Sequence, b.Sequence) }

// started reports whether e is at or after the start.
func started(start wire.Position, e Stored, last uint64) bool {
	switch start.Kind {
	case wire.PositionAll:
		return true
	case wire.PositionSequence:
		return e.Sequence >= start.Sequence
	case wire.PositionTime:
		return !e.Time.Before(start.Time)
	default:
		return e.Sequence > last
	}
}

// selector is a selector with its patterns read.
type selector struct {
	store            string
	streams, types   []string
	pattern, payload map[string]any
}

func newSelector(spec wire.Spec) (selector, error) {
	s := selector{store: spec.Store, streams: spec.Selector.ByStream, types: spec.Selector.ByEventType}
	var err error
	if raw := spec.Selector.ByEventPattern; len(raw) > 0 {
		if s.pattern, err = parsePattern(raw); err != nil {
			return s, fmt.Errorf("by_event_pattern: %w", err)
		}
	}
	if raw := spec.Selector.ByEventPayload; len(raw) > 0 {
		if s.payload, err = parsePattern(raw); err != nil {
			return s, fmt.Errorf("by_event_payload: %w", err)
		}
	}
	if len(s.streams) == 0 && len(s.types) == 0 && s.pattern == nil && s.payload == nil {
		return s, errors.New("the selector is empty")
	}
	return s, nil
}

// wants reports whether all conditions that there are hold.
func (s selector) wants(e *event) bool {
	if len(s.streams) > 0 && !slices.ContainsFunc(s.streams, func(filter string) bool { return covers(filter, e.Subject) }) {
		return false
	}
	if len(s.types) > 0 && !slices.Contains(s.types, Type(e.Stored)) {
		return false
	}
	if s.pattern != nil && !object(s.pattern, e.document(s.store)) {
		return false
	}
	if s.payload != nil {
		payload, isJSON := e.payload()
		return isJSON && object(s.payload, payload)
	}
	return true
}

// event is an event whose body is read once, however many look at it.
type event struct {
	Stored
	read, isJSON bool
	body         any
}

func (e *event) payload() (body any, isJSON bool) {
	if !e.read {
		e.body, e.isJSON = parse(bytes.TrimPrefix(e.Data, []byte("\ufeff")))
		e.read = true
	}
	return e.body, e.isJSON
}

// covers reports whether a NATS subject filter, or $all, takes in the subject.
func covers(filter, subject string) bool {
	if filter == wire.AllStreams {
		return true
	}
	want, have := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range want {
		if token == ">" {
			return len(have) > i
		}
		if i >= len(have) || token != "*" && token != have[i] {
			return false
		}
	}
	return len(want) == len(have)
}

// Type is the type of an event: ce-type, else the last token of the subject.
func Type(e Stored) string {
	if t := attribute(e, wire.HeaderCEType, header(e, wire.HeaderCEType)); t != "" {
		return t
	}
	return e.Subject[strings.LastIndex(e.Subject, ".")+1:]
}

// Stream is what an event is about: its subject, without the last token where
// that is the type.
func Stream(e Stored) string {
	last := strings.LastIndex(e.Subject, ".")
	if header(e, wire.HeaderCEType) != "" || last < 0 {
		return e.Subject
	}
	return e.Subject[:last]
}

// header returns the first value of a header, whatever the case of its name.
func header(e Stored, name string) string {
	if values := e.Headers[name]; len(values) > 0 {
		return values[0]
	}
	for n, values := range e.Headers {
		if strings.EqualFold(n, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

var escapes = regexp.MustCompile(`(%[0-9A-Fa-f]{2})+`)

// attribute is the value of a header as a CloudEvent means it: percent-decoded,
// if it is one and the header is an attribute of it.
func attribute(e Stored, name, value string) string {
	if header(e, wire.HeaderCESpecVersion) == "" || !strings.HasPrefix(strings.ToLower(name), "ce-") {
		return value
	}
	return escapes.ReplaceAllStringFunc(value, func(run string) string {
		if plain, err := url.PathUnescape(run); err == nil && utf8.ValidString(plain) {
			return plain
		}
		return run
	})
}

// document is the event document that a by_event_pattern looks at.
func (e *event) document(store string) map[string]any {
	headers := map[string]any{}
	for name, values := range e.Headers {
		if len(values) > 0 {
			headers[strings.ToLower(name)] = attribute(e.Stored, name, values[0])
		}
	}
	sequence := strconv.FormatUint(e.Sequence, 10)
	d := map[string]any{
		"type":     Type(e.Stored),
		"stream":   Stream(e.Stored),
		"subject":  e.Subject,
		"store":    store,
		"sequence": json.Number(sequence),
		"time":     e.Time.UTC().Format(time.RFC3339Nano),
		"id":       cmp.Or(attribute(e.Stored, wire.HeaderCEID, header(e.Stored, wire.HeaderCEID)), header(e.Stored, "Nats-Msg-Id"), store+":"+sequence),
		"headers":  headers,
	}
	if source := attribute(e.Stored, wire.HeaderCESource, header(e.Stored, wire.HeaderCESource)); source != "" {
		d["source"] = source
	}
	if payload, isJSON := e.payload(); isJSON {
		d["data"] = payload
	}
	return d
}

// key is the ordering key of e. Events without the token or header share the
// empty one.
func key(by wire.OrderBy, e Stored) string {
	switch by.Kind {
	case wire.OrderSubject:
		return e.Subject
	case wire.OrderNone:
		return strconv.FormatUint(e.Sequence, 10)
	case wire.OrderToken:
		if tokens := strings.Split(e.Subject, "."); by.Token <= len(tokens) {
			return tokens[by.Token-1]
		}
		return ""
	case wire.OrderHeader:
		return header(e, by.Header)
	default:
		return Stream(e)
	}
}
