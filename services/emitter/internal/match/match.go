package match

import (
	"fmt"
	"slices"
	"strings"

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
	return m.matchType(e) && m.matchSubject(e)
}

func (m *Matcher) matchType(e *event.Event) bool {
	return m.types == nil || slices.Contains(m.types, e.Type)
}

func (m *Matcher) matchSubject(e *event.Event) bool {
	return m.subjects == nil || slices.ContainsFunc(m.subjects, func(f string) bool {
		return SubjectMatches(f, e.Subject)
	})
}

func (m *Matcher) hasPatterns() bool { return m.event != nil || m.payload != nil }

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
