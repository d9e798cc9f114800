package selector

import (
	"fmt"
	"unicode/utf8"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/wire"
)

// maxText bounds, in bytes, each text of a reason: it is for people, and a
// filter list or a path may be as long as a request.
const maxText = 256

// explainBudget is how many steps an explanation of one pattern may take. To
// explain an event that can be judged takes seldom more than twice as many as
// to judge it.
const explainBudget = 4 * pattern.Budget

// Explain returns why the selector does not hold for e: all members that fail,
// not only the first, in the order of the contract. It returns nothing exactly
// where Judge says that e matches. A pattern that cannot be judged within
// pattern.Budget is a reason of its own. The error is pattern.ErrTooCostly where
// the event can be judged, but not explained.
func (m *Matcher) Explain(e *Event) ([]wire.ExplainReason, error) {
	var why []wire.ExplainReason
	if !m.MatchSubject(e) {
		why = append(why, wire.ExplainReason{Member: byStream, Path: "subject", Want: oneOf(m.subjects), Found: quote(e.Subject)})
	}
	if !m.MatchType(e) {
		why = append(why, wire.ExplainReason{Member: byEventType, Path: "type", Want: oneOf(m.types), Found: quote(e.Type)})
	}
	left := pattern.Budget
	for _, of := range []struct {
		member string
		*pattern.Pattern
	}{{byEventPattern, m.event}, {byEventPayload, m.payload}} {
		if of.Pattern == nil {
			continue
		}
		var v pattern.Verdict
		if v, left = of.Judge(e.Document(), left); v == pattern.TooCostly {
			want := fmt.Sprintf("an event that can be judged in %d steps", pattern.Budget)
			return append(why, wire.ExplainReason{Member: of.member, Want: want, Found: wire.ParkedTooCostly}), nil
		}
		reasons, err := of.Explain(e.Document(), explainBudget)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", of.member, err)
		}
		for _, r := range reasons {
			why = append(why, wire.ExplainReason{Member: of.member, Path: cut(r.Path), Want: cut(r.Want), Found: cut(r.Found)})
		}
	}
	return why, nil
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
