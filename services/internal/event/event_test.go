package event_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/services/internal/event"
)

var stored = time.Date(2026, 11, 23, 10, 20, 30, 123456789, time.FixedZone("CET", 3600))

func message(seq uint64, subject string, header nats.Header, data string) selector.Message {
	return selector.Message{Sequence: seq, Time: stored, Subject: subject, Header: header, Data: []byte(data)}
}

func TestDeliveriesHaveTheEventsHeadersButNotReservedOnes(t *testing.T) {
	t.Parallel()
	e := event.New("GITHUB", message(42, "github.a.opened", nats.Header{
		"ce-id": {"7"}, "X-Many": {"a", "b"}, "x-lower": {"v"}, "NatsLike": {"kept"}, "Sluiceway": {"kept"},
		"Nats-Msg-Id": {"m"}, "nats-expected-stream": {"m"}, "NATS-TTL": {"1"},
		"Sluice-Attempt": {"9"}, "sluice-epoch": {"9"}, "SLUICE-Subscription": {"other"}, "Sluice-Sequence": {"1"},
		"Sluice-Custom": {"x"}, "Sluice-Replay": {"r"}, "Sluice-Event": {"e"}, "Sluice-Park-Reason": {"p"}, "sluice-hops": {"7"},
		"Status": {"503"}, "status": {"503"}, "Description": {"No Responders"}, "STATUS": {"100"}, "Status-Line": {"kept"},
	}, "body"))
	e.Matched()
	got := map[string][]string{}
	for _, f := range e.Fields() {
		if _, twice := got[f.Name]; twice {
			t.Errorf("%s is there twice", f.Name)
		}
		got[f.Name] = f.Values
	}
	want := map[string][]string{
		"ce-id": {"7"}, "X-Many": {"a", "b"}, "x-lower": {"v"}, "NatsLike": {"kept"}, "Sluiceway": {"kept"}, "Status-Line": {"kept"},
		"Sluice-Store": {"GITHUB"}, "Sluice-Sequence": {"42"}, "Sluice-Subject": {"github.a.opened"},
		"Sluice-Time": {"2026-11-23T09:20:30.123456789Z"}, "Sluice-Hops": {"8"},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("headers (-got +want):\n%s", diff)
	}
}

func TestMatchedLetsTheDocumentGoButKeepsTheEvent(t *testing.T) {
	t.Parallel()
	e := event.New("S", message(1, "a.b", nats.Header{"k": {"v"}}, "body"))
	before := e.Document()
	e.Matched()
	if e.Document() == before {
		t.Error("the parsed document is still held")
	}
	if !slices.Equal(e.Data, []byte("body")) || e.Size() < len("body")+len("a.b")+len("kv") {
		t.Errorf("data = %q, size = %d", e.Data, e.Size())
	}
}

func TestHopsAreWrittenOnceAndAreAmongThePlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		header nats.Header
		want   []string // Sluice-Hops of the next delivery
		loops  bool
	}{
		{"none", nats.Header{"a": {"b"}}, nil, false},
		{"a first delivery", nats.Header{"Sluice-Subscription": {"s"}}, []string{"2"}, false},
		{"a later one", nats.Header{"Sluice-Subscription": {"s"}, "Sluice-Hops": {"3"}}, []string{"4"}, false},
		{"the last one", nats.Header{"Sluice-Hops": {"7"}}, []string{"8"}, false},
		{"too many", nats.Header{"Sluice-Hops": {"8"}}, []string{"9"}, true},
		{"far too many", nats.Header{"sluice-hops": {"3", "99999999999999999999"}}, []string{"9"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := event.New("S", message(1, "a.b", tt.header, ""))
			e.Matched()
			for what, fields := range map[string][]event.Field{"fields": e.Fields(), "place": e.Place()} {
				got, store := []string(nil), 0
				for _, f := range fields {
					switch f.Name {
					case "Sluice-Hops":
						got = append(got, f.Values...)
					case "Sluice-Store":
						store++
					}
				}
				if !slices.Equal(got, tt.want) || store != 1 {
					t.Errorf("%s: hops %v, want %v; %d times the store", what, got, tt.want, store)
				}
			}
			if e.Loops() != tt.loops {
				t.Errorf("loops: %v, want %v", e.Loops(), tt.loops)
			}
		})
	}
}
