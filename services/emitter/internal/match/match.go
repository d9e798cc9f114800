package match

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server/gsl"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
)

// Matcher is a compiled selector. It is safe for concurrent use.
type Matcher struct {
	subjects []string // nil: every subject
	types    []string // nil: every type
	event    *pattern.Pattern
	payload  *pattern.Pattern
}

// Compile returns the matcher of a selector.
func Compile(s wire.Selector) (*Matcher, error) {
	m := &Matcher{types: distinct(s.ByEventType)}
	if !slices.Contains(s.ByStream, wire.AllStreams) && !slices.Contains(s.ByStream, ">") {
		m.subjects = distinct(s.ByStream)
	}
	var err error
	if len(s.ByEventPattern) > 0 {
		if m.event, err = pattern.ParseEvent(s.ByEventPattern); err != nil {
			return nil, fmt.Errorf("selector.by_event_pattern: %w", err)
		}
	}
	if len(s.ByEventPayload) > 0 {
		if m.payload, err = pattern.ParsePayload(s.ByEventPayload); err != nil {
			return nil, fmt.Errorf("selector.by_event_payload: %w", err)
		}
	}
	return m, nil
}

// distinct returns the strings in order, each once; nil if there are none.
func distinct(list []string) []string {
	list = slices.Sorted(slices.Values(list))
	return slices.Compact(list)
}

// Match reports whether all members of the selector hold for e.
func (m *Matcher) Match(e *event.Event) bool {
	return m.matchEnvelope(e) &&
		(m.event == nil || m.event.Match(e.Document())) &&
		(m.payload == nil || m.payload.Match(e.Document()))
}

// matchEnvelope looks at subject and type only, which costs next to nothing.
func (m *Matcher) matchEnvelope(e *event.Event) bool {
	if m.types != nil && !slices.Contains(m.types, e.Type) {
		return false
	}
	return m.subjects == nil || slices.ContainsFunc(m.subjects, func(f string) bool {
		return SubjectMatches(f, e.Subject)
	})
}

func (m *Matcher) patterns() []*pattern.Pattern {
	var ps []*pattern.Pattern
	for _, p := range []*pattern.Pattern{m.event, m.payload} {
		if p != nil {
			ps = append(ps, p)
		}
	}
	return ps
}

// SubjectMatches reports whether a literal subject is covered by a filter with
// the wildcards * and >.
func SubjectMatches(filter, subject string) bool {
	for {
		f, fRest, fMore := strings.Cut(filter, ".")
		if f == ">" {
			return subject != ""
		}
		s, sRest, sMore := strings.Cut(subject, ".")
		if f != "*" && f != s {
			return false
		}
		if !fMore || !sMore {
			return fMore == sMore
		}
		filter, subject = fRest, sRest
	}
}

// Index holds the subscriptions of one reader. Each is filed under the member
// of its selector that is cheapest to look up and most telling: its patterns,
// else its types, else its subjects. What else it asks for is checked on what
// the look-up found.
//
// An Index is not safe for concurrent use.
type Index[K comparable] struct {
	entries  map[K]*entry[K]
	patterns pattern.Index[*entry[K]]
	types    map[string][]*entry[K]
	subjects *gsl.GenericSublist[*entry[K]]
	all      []*entry[K]
	found    []K
	round    uint64 // counts the events that were looked up
}

// entry is one subscription in the index.
type entry[K comparable] struct {
	key     K
	matcher *Matcher
	round   uint64 // the last one that it was found in
}

// NewIndex returns an empty index.
func NewIndex[K comparable]() *Index[K] {
	return &Index[K]{
		entries:  map[K]*entry[K]{},
		types:    map[string][]*entry[K]{},
		subjects: gsl.NewSublist[*entry[K]](),
	}
}

// Len is the number of subscriptions in the index.
func (x *Index[K]) Len() int { return len(x.entries) }

// Has reports whether k is in the index.
func (x *Index[K]) Has(k K) bool {
	_, ok := x.entries[k]
	return ok
}

// Keys calls f for each subscription in the index, which f may remove.
func (x *Index[K]) Keys(f func(K)) {
	for k := range x.entries {
		f(k)
	}
}

// Add puts k into the index, in place of what stood there under k. After an
// error k is not in it.
func (x *Index[K]) Add(k K, m *Matcher) error {
	x.Remove(k)
	e := &entry[K]{key: k, matcher: m}
	switch ps := m.patterns(); {
	case len(ps) > 0:
		x.patterns.Add(e, ps...)
	case m.types != nil:
		for _, t := range m.types {
			x.types[t] = append(x.types[t], e)
		}
	case m.subjects != nil:
		for i, s := range m.subjects {
			if err := x.subjects.Insert(s, e); err != nil {
				for _, done := range m.subjects[:i] {
					_ = x.subjects.Remove(done, e) // it was just inserted
				}
				return fmt.Errorf("index subject filter %q: %w", s, err)
			}
		}
	default:
		x.all = append(x.all, e)
	}
	x.entries[k] = e
	return nil
}

// Remove takes k out of the index; it may be absent.
func (x *Index[K]) Remove(k K) {
	e, ok := x.entries[k]
	if !ok {
		return
	}
	delete(x.entries, k)
	drop := func(es []*entry[K]) []*entry[K] {
		return slices.DeleteFunc(es, func(o *entry[K]) bool { return o == e })
	}
	switch m := e.matcher; {
	case len(m.patterns()) > 0:
		x.patterns.Remove(e)
	case m.types != nil:
		for _, t := range m.types {
			if x.types[t] = drop(x.types[t]); len(x.types[t]) == 0 {
				delete(x.types, t)
			}
		}
	case m.subjects != nil:
		for _, s := range m.subjects {
			_ = x.subjects.Remove(s, e) // present, since Add put it there
		}
	default:
		x.all = drop(x.all)
	}
}

// Match returns the subscriptions that e goes to, each once, in no particular
// order. The slice is valid until the next call.
func (x *Index[K]) Match(e *event.Event) []K {
	x.round++
	x.found = x.found[:0]
	for _, n := range x.all {
		x.found = append(x.found, n.key)
	}
	for _, n := range x.types[e.Type] {
		x.consider(n, e)
	}
	if x.subjects.Count() > 0 {
		x.subjects.Match(e.Subject, func(n *entry[K]) {
			if n.round != x.round { // it is found once for each of its filters
				n.round = x.round
				x.found = append(x.found, n.key)
			}
		})
	}
	if x.patterns.Len() > 0 {
		x.patterns.Match(e.Document(), func(n *entry[K]) { x.consider(n, e) })
	}
	return x.found
}

func (x *Index[K]) consider(n *entry[K], e *event.Event) {
	if n.matcher.matchEnvelope(e) {
		x.found = append(x.found, n.key)
	}
}
