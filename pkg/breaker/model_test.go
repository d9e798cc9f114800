package breaker_test

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/breaker"
	"github.com/sluicehq/sluice/pkg/clocktest"
)

// TestItOpensAndClosesByTheRuleWhateverHappens holds a breaker against the rule,
// which is put here in other words: a list of the keys that failed in a row.
func TestItOpensAndClosesByTheRuleWhateverHappens(t *testing.T) {
	t.Parallel()
	const openFor = time.Second
	type call struct {
		key  uint64
		done func(error)
		era  int // of the model when it began: each change of state is another
	}
	clocktest.Run(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // without Deadline, which a bubble forbids
			failures, different := rapid.IntRange(1, 4).Draw(t, "failures"), rapid.Bool().Draw(t, "different")
			b := breaker.New(breaker.Config{Failures: uint32(failures), OpenFor: openFor, Different: different})
			state, era, probing := breaker.Closed, 0, false
			var row []uint64
			var openedAt time.Time
			var under []call
			become := func(s breaker.State) { state, era, row, probing = s, era+1, nil, false }
			mixed := func() bool {
				for _, k := range row {
					if k != row[0] {
						return true
					}
				}
				return false
			}
			open := func() { become(breaker.Open); openedAt = time.Now() }
			t.Repeat(map[string]func(*rapid.T){
				"begin": func(t *rapid.T) {
					key := rapid.Uint64Range(1, 3).Draw(t, "key")
					done, err := b.BeginOf(key)
					if want := state == breaker.Closed || state == breaker.HalfOpen && !probing; want != (err == nil) {
						t.Fatalf("%s, probing %v: a call is let through: %v", state, probing, err == nil)
					}
					if err == nil {
						under = append(under, call{key, done, era})
						probing = state == breaker.HalfOpen
					}
				},
				"end": func(t *rapid.T) {
					if len(under) == 0 {
						return
					}
					i := rapid.IntRange(0, len(under)-1).Draw(t, "call")
					c := under[i]
					under = append(under[:i], under[i+1:]...)
					err := rapid.SampledFrom([]error{nil, errBroken, errBroken, errBroken, context.Canceled}).Draw(t, "outcome")
					c.done(err)
					switch {
					case c.era != era:
					case err == context.Canceled: //nolint:errorlint // it is that very one
						probing = false
					case state == breaker.HalfOpen && err == nil:
						become(breaker.Closed)
					case state == breaker.HalfOpen:
						open()
					case err == nil:
						row = nil
					default:
						if row = append(row, c.key); len(row) >= failures && (mixed() || !different) {
							open()
						}
					}
				},
				"pass": func(t *rapid.T) {
					<-time.After(rapid.SampledFrom([]time.Duration{1, openFor / 2, openFor + 1}).Draw(t, "time"))
				},
				"": func(t *rapid.T) {
					if state == breaker.Open && time.Since(openedAt) > openFor {
						become(breaker.HalfOpen)
					}
					if got := b.State(); got != state {
						t.Fatalf("state %s, want %s after the failures of %v", got, state, row)
					}
				},
			})
		})
	})
}
