package selector

import (
	"unicode/utf8"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
)

// maxText bounds, in bytes, each text of a reason: it is for people, and a
// filter list or a path may be as long as a request.
const maxText = 256

// Explain returns why the selector does not hold for e: all members that fail,
// not only the first, in the order of the contract. It returns nothing exactly
// where Match is true.
func (m *Matcher) Explain(e *Event) []wire.ExplainReason {
	var why []wire.ExplainReason
	if !m.MatchSubject(e) {
		why = append(why, wire.ExplainReason{Member: byStream, Path: "subject", Want: oneOf(m.subjects), Found: quote(e.Subject)})
	}
	if !m.MatchType(e) {
		why = append(why, wire.ExplainReason{Member: byEventType, Path: "type", Want: oneOf(m.types), Found: quote(e.Type)})
	}
	why = append(why, explainPattern(byEventPattern, m.event, e)...)
	return append(why, explainPattern(byEventPayload, m.payload, e)...)
}

func explainPattern(member string, p *pattern.Pattern, e *Event) []wire.ExplainReason {
	if p == nil {
		return nil
	}
	var why []wire.ExplainReason
	for _, r := range p.Explain(e.Document()) {
		why = append(why, wire.ExplainReason{Member: member, Path: cut(r.Path), Want: cut(r.Want), Found: cut(r.Found)})
	}
	return why
}

// oneOf is what a list asks for, as it stands in a subscription.
func oneOf(list []string) string {
	if len(list) == 1 {
		return quote(list[0])
	}
	return quote(list)
}

// quote returns JSON for people: < and > stay as they are.
func quote(v any) string {
	b, _ := wire.Marshal(v) // text always can be
	return cut(string(b))
}

// cut shortens s without breaking a character.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
