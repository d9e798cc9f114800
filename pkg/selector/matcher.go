package selector

import (
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/subjects"
	"github.com/sluicehq/sluice/pkg/wire"
)

// The members of a selector, as paths from the subscription's root.
const (
	byStream       = "selector.by_stream"
	byEventType    = "selector.by_event_type"
	byEventPattern = "selector.by_event_pattern"
	byEventPayload = "selector.by_event_payload"
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
			return nil, fmt.Errorf("%s: %w", byEventPattern, err)
		}
	}
	if len(s.ByEventPayload) > 0 {
		if m.payload, err = pattern.ParsePayload(s.ByEventPayload); err != nil {
			return nil, fmt.Errorf("%s: %w", byEventPayload, err)
		}
	}
	return m, nil
}

// distinct returns the strings in order, each once; nil if there are none.
func distinct(list []string) []string {
	list = slices.Sorted(slices.Values(list))
	return slices.Compact(list)
}

// Subjects are the subject filters of which one must cover an event's subject,
// in order, each once; nil where any subject will do.
func (m *Matcher) Subjects() []string { return m.subjects }

// Types are the types of which an event must have one, in order, each once; nil
// where any type will do.
func (m *Matcher) Types() []string { return m.types }

// Patterns are the patterns over the event document and over the payload, nil
// where there is none.
func (m *Matcher) Patterns() (event, payload *pattern.Pattern) { return m.event, m.payload }

// HasPatterns reports whether the selector has a pattern of either kind.
func (m *Matcher) HasPatterns() bool { return m.event != nil || m.payload != nil }

// PatternSize is how many alternatives the patterns have in all; 0 where there
// is no pattern.
func (m *Matcher) PatternSize() int {
	n := 0
	for _, p := range []*pattern.Pattern{m.event, m.payload} {
		if p != nil {
			n += p.Size()
		}
	}
	return n
}

// Judge holds all members of the selector against e. It looks first at what
// costs next to nothing. The patterns together may take pattern.Budget.
func (m *Matcher) Judge(e *Event) pattern.Verdict {
	if !m.MatchType(e) || !m.MatchSubject(e) {
		return pattern.NoMatch
	}
	v, left := pattern.Matches, pattern.Budget
	for _, p := range []*pattern.Pattern{m.event, m.payload} {
		if p != nil && v == pattern.Matches {
			v, left = p.Judge(e.Document(), left)
		}
	}
	return v
}

// MatchType reports whether by_event_type alone holds for e.
func (m *Matcher) MatchType(e *Event) bool {
	return m.types == nil || slices.Contains(m.types, e.Type)
}

// MatchSubject reports whether by_stream alone holds for e.
func (m *Matcher) MatchSubject(e *Event) bool {
	return m.subjects == nil || slices.ContainsFunc(m.subjects, func(f string) bool {
		return subjects.Covers(f, e.Subject)
	})
}
