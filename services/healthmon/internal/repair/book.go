package repair

import (
	"time"

	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// Limits bound the automatic repairs of one issue.
type Limits struct {
	MaxAttempts int           // at least 1
	Delay       time.Duration // between two attempts
}

// Entry counts the attempts on one issue.
type Entry struct {
	Attempts int       `json:"attempts"`
	LastAt   time.Time `json:"last_at"`
	Outcome  string    `json:"outcome,omitempty"` // what came of the last attempt
	GivenUp  bool      `json:"given_up,omitempty"`
}

// Verdict says whether an attempt may be made.
type Verdict int

// The verdicts.
const (
	Go      Verdict = iota // make an attempt
	Wait                   // the delay is not over
	GiveUp                 // the last attempt was made in vain; said once
	GivenUp                // as before, and it has been said
)

// Book counts attempts. It is not safe for concurrent use.
type Book struct {
	limits  Limits
	entries map[check.Ref]Entry
}

// NewBook returns a book that begins with the given entries, which it owns.
func NewBook(l Limits, entries map[check.Ref]Entry) *Book {
	if entries == nil {
		entries = map[check.Ref]Entry{}
	}
	return &Book{limits: l, entries: entries}
}

// Ask says whether an attempt on ref may be made at the time now; with Wait,
// how long it has to wait. It gives up only after the delay of the last
// attempt is over, so that the attempt has had time to show.
func (b *Book) Ask(ref check.Ref, now time.Time) (Verdict, time.Duration) {
	e := b.entries[ref]
	if e.Attempts > 0 {
		// A clock that went back must not stretch the wait.
		if left := min(b.limits.Delay, e.LastAt.Add(b.limits.Delay).Sub(now)); left > 0 {
			return Wait, left
		}
	}
	switch {
	case e.Attempts < b.limits.MaxAttempts:
		return Go, 0
	case e.GivenUp:
		return GivenUp, 0
	default:
		e.GivenUp = true
		b.entries[ref] = e
		return GiveUp, 0
	}
}

// Tried counts an attempt and returns its number.
func (b *Book) Tried(ref check.Ref, now time.Time, outcome string) int {
	e := b.entries[ref]
	e.Attempts++
	e.LastAt = now.UTC().Round(0)
	e.Outcome = outcome
	b.entries[ref] = e
	return e.Attempts
}

// Spent reports whether every attempt on ref has been made, and the last one has
// had its time to show.
func (b *Book) Spent(ref check.Ref, now time.Time) bool {
	e := b.entries[ref]
	return e.GivenUp || e.Attempts >= b.limits.MaxAttempts && now.Sub(e.LastAt) >= b.limits.Delay
}

// Entry returns the count of ref.
func (b *Book) Entry(ref check.Ref) Entry { return b.entries[ref] }

// Forget begins anew: the issue has cleared.
func (b *Book) Forget(ref check.Ref) { delete(b.entries, ref) }

// Came notes what came of the last attempt.
func (b *Book) Came(ref check.Ref, outcome string) {
	e := b.entries[ref]
	e.Outcome = outcome
	b.entries[ref] = e
}
