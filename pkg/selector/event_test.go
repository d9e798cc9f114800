package selector_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/selector"
)

var stored = time.Date(2026, 11, 23, 10, 20, 30, 123456789, time.FixedZone("CET", 3600))

func TestTypeAndStreamOfAnEvent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		subject      string
		header       nats.Header
		typ, streamN string
	}{
		{"the last token of the subject", "github.a.b.opened", nil, "opened", "github.a.b"},
		{"a subject of one token", "opened", nil, "opened", ""},
		{"ce-type", "github.a.b", nats.Header{"ce-type": {"issues.opened"}}, "issues.opened", "github.a.b"},
		{"ce-type in another case", "github.a.b", nats.Header{"Ce-Type": {"issues.opened"}}, "issues.opened", "github.a.b"},
		{"the first value of ce-type", "a.b", nats.Header{"ce-type": {"x", "y"}}, "x", "a.b"},
		{"ce-type without a value", "a.b", nats.Header{"ce-type": {}}, "b", "a"},
		{"empty ce-type", "a.b", nats.Header{"ce-type": {""}}, "b", "a"},
		{"a longer name", "a.b", nats.Header{"ce-types": {"x"}}, "b", "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			typ, stream := selector.TypeAndStream(tt.subject, tt.header)
			if typ != tt.typ || stream != tt.streamN {
				t.Errorf("type, stream = %q, %q, want %q, %q", typ, stream, tt.typ, tt.streamN)
			}
		})
	}
}

func TestPatternsSeeTheEventDocument(t *testing.T) {
	t.Parallel()
	header := nats.Header{"ce-type": {"t"}, "ce-source": {"/s"}, "X-Region": {"eu", "us"}}
	for _, tt := range []struct {
		name   string
		header nats.Header
		want   string
	}{
		{"envelope", header, `{"type":"t","stream":"a.b","subject":"a.b","store":"S","sequence":9,"source":"/s","id":"S:9","headers":{"x-region":"eu"}}`},
		{"time", nil, `{"time":"2026-11-23T09:20:30.123456789Z"}`},
		{"payload", nil, `{"data":{"n":1}}`},
		{"ce-id before Nats-Msg-Id", nats.Header{"Nats-Msg-Id": {"m"}, "CE-ID": {"c"}}, `{"id":"c"}`},
		{"Nats-Msg-Id", nats.Header{"Nats-Msg-Id": {"m"}}, `{"id":"m"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEvent("a.b", tt.header, `{"n":1}`)
			p, err := pattern.ParseEvent(json.RawMessage(tt.want))
			if err != nil {
				t.Fatal(err)
			}
			if !p.Match(e.Document()) {
				t.Errorf("the event does not match %s", tt.want)
			}
		})
	}
}

// TestHeaderValueAgreesWithPatterns: of names that differ only in case, the
// ordering key and a pattern must read the same one, every time.
func TestHeaderValueAgreesWithPatterns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"x-a", "X-A", "X-a", "x-b", "X-B", "x-A"}), 0, 6).Draw(t, "names")
		h := nats.Header{}
		for i, n := range names {
			h[n] = []string{string(rune('0' + i)), "second"}
		}
		e := newEvent("a.b", h, "")
		want := e.HeaderValue("x-a")
		text := `{"headers":{"x-a":[{"exists":false}]}}`
		if want != "" {
			text = `{"headers":{"x-a":` + string(must(json.Marshal(want))) + `}}`
		}
		p, err := pattern.ParseEvent(json.RawMessage(text))
		if err != nil {
			t.Fatal(err)
		}
		if !p.Match(e.Document()) {
			t.Fatalf("HeaderValue = %q, but patterns see another one in %v", want, h)
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestADocumentIsMadeOnceAndMadeAnewAfterItWasDropped(t *testing.T) {
	t.Parallel()
	e := newEvent("a.b", nil, `{"n":1}`)
	first := e.Document()
	if e.Document() != first {
		t.Error("made twice")
	}
	e.DropDocument()
	if e.Document() == first {
		t.Error("the parsed document is still held")
	}
}
