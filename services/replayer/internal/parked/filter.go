package parked

import (
	"fmt"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/park"
)

// filter says which parked events are meant.
type filter struct {
	sequences map[uint64]bool // nil: any
	match     *pattern.Pattern
	reason    *pattern.Pattern
}

// newFilter returns the filter of a choice that was decoded.
func newFilter(c wire.ParkedChoice) (filter, error) {
	var f filter
	if len(c.Sequences) > 0 {
		f.sequences = make(map[uint64]bool, len(c.Sequences))
		for _, seq := range c.Sequences {
			f.sequences[seq] = true
		}
	}
	var err error
	if len(c.Match) > 0 {
		if f.match, err = pattern.ParseEvent(c.Match); err != nil {
			return f, fmt.Errorf("match: %w", err)
		}
	}
	if len(c.Reason) > 0 {
		if f.reason, err = subscription.ParkedReason(c.Reason); err != nil {
			return f, fmt.Errorf("reason: %w", err)
		}
	}
	return f, nil
}

// needsBody reports whether an event can be judged only with its body.
func (f filter) needsBody() bool { return f.match != nil && f.match.NeedsPayload() }

// judge holds an event against the filter. What was not parked with it cannot be
// judged: an event is then neither meant nor not.
func (f filter) judge(c *park.Copy) pattern.Verdict {
	if f.sequences != nil && !f.sequences[c.Event.Sequence] {
		return pattern.NoMatch
	}
	left := pattern.Budget
	if f.reason != nil {
		var v pattern.Verdict
		if v, left = f.reason.Judge(reasonDocument(c.Reason), left); v != pattern.Matches {
			return v
		}
	}
	if f.match == nil {
		return pattern.Matches
	}
	if c.NoHeaders || c.NoBody && f.match.NeedsPayload() {
		return pattern.TooCostly
	}
	v, _ := f.match.Judge(c.Event.Document(), left)
	return v
}

// reasonDocument is what a pattern over reasons is held against.
func reasonDocument(reason string) *pattern.Document {
	data, _ := wire.Marshal(map[string]string{"reason": reason}) // text has no errors
	return pattern.NewDocument(pattern.Event{Data: data})
}
