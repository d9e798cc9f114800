package core

import (
	"time"

	"github.com/sluicehq/sluice/services/internal/limit"
)

// flow is all that holds deliveries back.
type flow struct {
	closed    bool
	draining  bool
	captive   string // why nothing is delivered: it would become an event; "" if it would not
	holdUntil time.Time
	pace      pace
	limit     limit.Limit
	presence  presence
	breaker   breaker
}

// shut reports whether nothing at all is to be sent.
func (f *flow) shut() bool { return f.closed || f.draining || f.captive != "" }

// next says whether one more delivery may be sent now, beside those that are
// out. If not, it says when to look again; that is zero where what holds it
// back ends with an answer, or never.
func (f *flow) next(now time.Time, out int) (ok bool, at time.Time) {
	if f.shut() || out >= f.limit.Value() {
		return false, time.Time{}
	}
	asks, at := f.presence.next(now)
	passes, until := f.breaker.next(now)
	if !asks && at.IsZero() || !passes && until.IsZero() {
		return false, time.Time{}
	}
	for _, t := range [...]time.Time{until, f.holdUntil, f.pace.next(now)} {
		if t.After(at) {
			at = t
		}
	}
	if now.Before(at) {
		return false, at
	}
	return true, time.Time{}
}
