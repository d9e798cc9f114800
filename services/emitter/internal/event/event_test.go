package event_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
)

type message struct {
	subject string
	header  nats.Header
	data    string
}

func (m message) Subject() string      { return m.subject }
func (m message) Headers() nats.Header { return m.header }
func (m message) Data() []byte         { return []byte(m.data) }

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
			e := event.New("S", 1, stored, message{tt.subject, tt.header, ""})
			if e.Type != tt.typ || e.Stream != tt.streamN {
				t.Errorf("type, stream = %q, %q, want %q, %q", e.Type, e.Stream, tt.typ, tt.streamN)
			}
		})
	}
}

func TestDeliveriesHaveTheEventsHeadersButNotReservedOnes(t *testing.T) {
	t.Parallel()
	e := event.New("GITHUB", 42, stored, message{"github.a.opened", nats.Header{
		"ce-id": {"7"}, "X-Many": {"a", "b"}, "x-lower": {"v"}, "NatsLike": {"kept"}, "Sluiceway": {"kept"},
		"Nats-Msg-Id": {"m"}, "nats-expected-stream": {"m"}, "NATS-TTL": {"1"},
		"Sluice-Attempt": {"9"}, "sluice-epoch": {"9"}, "SLUICE-Subscription": {"other"}, "Sluice-Sequence": {"1"},
		"Sluice-Custom": {"kept"},
	}, "body"})
	e.Matched()
	got := map[string][]string{}
	for _, f := range e.Fields() {
		if _, twice := got[f.Name]; twice {
			t.Errorf("%s is there twice", f.Name)
		}
		got[f.Name] = f.Values
	}
	want := map[string][]string{
		"ce-id": {"7"}, "X-Many": {"a", "b"}, "x-lower": {"v"}, "NatsLike": {"kept"}, "Sluiceway": {"kept"}, "Sluice-Custom": {"kept"},
		"Sluice-Store": {"GITHUB"}, "Sluice-Sequence": {"42"}, "Sluice-Subject": {"github.a.opened"},
		"Sluice-Time": {"2026-11-23T09:20:30.123456789Z"},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("headers (-got +want):\n%s", diff)
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
			e := event.New("S", 9, stored, message{"a.b", tt.header, `{"n":1}`})
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
		e := event.New("S", 1, stored, message{"a.b", h, ""})
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

func TestMatchedLetsTheDocumentGoButKeepsTheEvent(t *testing.T) {
	t.Parallel()
	e := event.New("S", 1, stored, message{"a.b", nats.Header{"k": {"v"}}, "body"})
	before := e.Document()
	e.Matched()
	if e.Document() == before {
		t.Error("the parsed document is still held")
	}
	if !slices.Equal(e.Data, []byte("body")) || e.Size() < len("body")+len("a.b")+len("kv") {
		t.Errorf("data = %q, size = %d", e.Data, e.Size())
	}
}
