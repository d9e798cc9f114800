package park

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// fieldsOf are the headers that deliveries of an event have.
func fieldsOf(e *event.Event) map[string][]string {
	out := map[string][]string{}
	for _, f := range e.Fields() {
		out[f.Name] = slices.Clone(f.Values)
	}
	return out
}

// TestAParkedEventIsRestoredAsItWasHoweverOftenItIsParked: its deliveries have the
// same headers and body, and attempts and reasons add up.
func TestAParkedEventIsRestoredAsItWasHoweverOftenItIsParked(t *testing.T) {
	t.Parallel()
	p := New(&publisher{}, wire.DefaultNamespace, func() int64 { return 1 << 20 }, zerolog.Nop())
	rapid.Check(t, func(t *rapid.T) {
		h := nats.Header{}
		for _, name := range []string{"ce-type", "x-region", "Nats-Msg-Id", "Sluice-Custom", "Status", "Sluice-Park-History"} {
			if rapid.Bool().Draw(t, name) {
				h[name] = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b c", "é"}), 1, 3).Draw(t, "values")
			}
		}
		if hops := rapid.IntRange(0, 9).Draw(t, "hops"); hops > 0 {
			h[wire.HeaderHops] = []string{strconv.Itoa(hops)}
		}
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		first := event.New("ORDERS", selector.Message{
			Sequence: rapid.Uint64Range(1, 1<<60).Draw(t, "seq"), Time: at, Subject: "orders.1.paid", Header: h, Data: []byte(rapid.String().Draw(t, "body")),
		})
		first.Matched()
		want, now, total := fieldsOf(first), first, 0
		for round := range uint64(rapid.IntRange(1, 13).Draw(t, "rounds")) {
			attempts := rapid.IntRange(0, 9).Draw(t, "attempts")
			total += attempts
			m := p.message(pool.Parked{Park: core.Park{Event: now, Attempts: attempts, Reason: "no " + strconv.FormatUint(round, 10)}, Name: "triage"}, parts{headers: true, body: true})
			c := ReadCopy(feed.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data, Sequence: 7 + round, Time: at})
			if c.Attempts != total || len(c.History) != int(min(round, 10)) || c.Size != len(first.Data) {
				t.Fatalf("round %d: %d attempts, want %d; %q", round, c.Attempts, total, c.History)
			}
			for i, text := range c.History {
				if !strings.HasSuffix(text, "no "+strconv.Itoa(int(round)-len(c.History)+i)) {
					t.Fatalf("round %d: the history is %q", round, c.History)
				}
			}
			now = c.Restore()
			if diff := cmp.Diff(want, fieldsOf(now)); diff != "" {
				t.Fatalf("round %d: headers (-want +got)\n%s", round, diff)
			}
			if now.Sequence != 7+round || now.StoreSequence() != first.Sequence || string(now.Data) != string(first.Data) ||
				now.Type != first.Type || now.Stream != first.Stream || now.Loops() != first.Loops() {
				t.Fatalf("round %d: %+v", round, now.Event)
			}
		}
	})
}

// TestWhatNobodyParkedIsReadAsFarAsItGoes: anybody may be able to store there.
func TestWhatNobodyParkedIsReadAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	at := time.Unix(5, 0).UTC()
	c := ReadCopy(feed.Msg{Sequence: 3, Time: at, Header: nats.Header{
		wire.HeaderSequence: {"-1"}, wire.HeaderAttempts: {"99999999999999999999"}, wire.HeaderTime: {"0000-01-01T00:00:00+23:00"},
		wire.HeaderHops: {"many"}, wire.HeaderStore: {},
	}})
	if c.Event.Sequence != 0 || c.Attempts < 0 || !c.Event.Time.IsZero() || !c.At.Equal(at) || len(c.Event.Header) != 0 {
		t.Errorf("%+v", c)
	}
	if e := c.Restore(); e.Sequence != 3 || e.StoreSequence() != 3 {
		t.Errorf("restored as %+v", e.Event)
	}
}
