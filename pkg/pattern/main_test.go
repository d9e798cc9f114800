package pattern

import (
	"math"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mustPayload parses a payload pattern that the test knows to be good.
func mustPayload(tb testing.TB, raw string) *Pattern {
	tb.Helper()
	p, err := ParsePayload([]byte(raw))
	if err != nil {
		tb.Fatalf("ParsePayload(%s): %v", raw, err)
	}
	return p
}

// mustEvent parses an event pattern that the test knows to be good.
func mustEvent(tb testing.TB, raw string) *Pattern {
	tb.Helper()
	p, err := ParseEvent([]byte(raw))
	if err != nil {
		tb.Fatalf("ParseEvent(%s): %v", raw, err)
	}
	return p
}

// payloadDoc is the document of an event that has only a payload.
func payloadDoc(data string) *Document { return NewDocument(Event{Data: []byte(data)}) }

// mustExplain explains within all the steps there are.
func mustExplain(tb interface{ Fatalf(string, ...any) }, p *Pattern, d *Document) []Reason {
	why, err := p.Explain(d, math.MaxInt)
	if err != nil {
		tb.Fatalf("Explain: %v", err)
	}
	return why
}

// onMatch calls f for every key that an Index finds to match.
func onMatch[K comparable](f func(K)) func(K, Verdict) {
	return func(k K, v Verdict) {
		if v == Matches {
			f(k)
		}
	}
}
