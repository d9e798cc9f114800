package pattern

import (
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
