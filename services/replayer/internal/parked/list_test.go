package parked

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestAListShowsWhatWasParkedAndWhy(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	e := order(42, "refused by the subscriber, attempt 5 of 5")
	e.header = nats.Header{"ce-type": {"order.paid"}, "x-many": {"a", "b"}, wire.HeaderHops: {"3"}}
	b.park(e)
	got := b.list("triage", "")
	want := wire.Parked{
		ParkedSequence: 1, Store: "ORDERS", Sequence: 42, Subject: "orders.42.paid", Type: "order.paid", Stream: "orders.42.paid",
		Time: time.Date(2026, 11, 23, 10, 20, 30, 5e8, time.UTC), Reason: "refused by the subscriber, attempt 5 of 5", Attempts: 5,
		ParkedAt: time.Date(2026, 11, 23, 10, 21, 0, 0, time.UTC),
		Headers:  map[string]wire.StringList{"ce-type": {"order.paid"}, "x-many": {"a", "b"}}, Data: []byte(`{"n":42}`), Size: 8,
	}
	if diff := cmp.Diff([]wire.Parked{want}, got.Parked); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	counts := wire.ParkedCounts{
		Events: 1, Bytes: 8, ByReason: []wire.ParkedCount{{Value: want.Reason, Events: 1}}, ByType: []wire.ParkedCount{{Value: "order.paid", Events: 1}},
		ByAge: []wire.ParkedCount{{Value: "under 1h", Events: 1}, {Value: "under 1d"}, {Value: "under 7d"}, {Value: "under 30d"}, {Value: "30d and over"}},
	}
	if diff := cmp.Diff(counts, got.Counts); diff != "" {
		t.Errorf("counts (-want +got)\n%s", diff)
	}
	if got.Total != 1 || got.Limit != 256 || got.Type != "io.sluice.api.v1.parked_list_response" {
		t.Errorf("%+v", got)
	}
}

func TestABodyIsShownAsWhatItIsAndCutWhereItIsLong(t *testing.T) {
	t.Parallel()
	long := `{"text":"` + strings.Repeat("x", wire.MaxParkedData) + `"}`
	for _, tt := range []struct {
		name, body string
		data       string
		base64     string
		cut        bool
	}{
		{"JSON", ` {"a": 1}`, `{"a":1}`, "", false},
		{"JSON behind a byte order mark", "\xef\xbb\xbf[1]", `[1]`, "", false},
		{"text", "plain \xff", "", "plain \xff", false},
		{"nothing", "", "", "", false},
		{"long JSON", long, "", long[:wire.MaxParkedData], true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newServed(t)
			e := order(1, "no")
			e.data = tt.body
			b.park(e)
			row := b.list("triage", "").Parked[0]
			if string(row.Data) != tt.data || string(row.DataBase64) != tt.base64 || row.Cut != tt.cut || row.Size != len(tt.body) {
				t.Errorf("%+v", row)
			}
		})
	}
}

func TestAListIsCutToWhatOneMessageCarries(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	var events []parkedEvent
	for i := range 400 {
		e := order(uint64(i+1), "no")
		e.data = fmt.Sprintf(`"%s"`, strings.Repeat("x", wire.MaxParkedData-2))
		events = append(events, e)
	}
	b.park(events...)
	var got []uint64
	for pages := 0; len(got) < len(events); pages++ {
		page := b.list("triage", fmt.Sprintf(`{"order":"oldest","limit":400,"offset":%d}`, len(got)))
		if page.Limit != len(page.Parked) && len(got)+len(page.Parked) < len(events) || len(page.Parked) == 0 || pages > 4 {
			t.Fatalf("page %d has %d rows and the limit %d", pages, len(page.Parked), page.Limit)
		}
		got = append(got, sequences(page.Parked)...)
	}
	if len(got) != 400 || !slices.IsSorted(got) {
		t.Errorf("%d rows, %v", len(got), got)
	}
}

func TestWhatSomebodyElseStoredThereIsShownToo(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.records["other"] = true
	if _, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: ns.Parked("other"), Header: nats.Header{
		wire.HeaderSequence: {"many"}, wire.HeaderAttempts: {"-1"}, wire.HeaderParkedAt: {"soon"}, "x": {strings.Repeat("h", 20_000)},
	}}); err != nil {
		t.Fatal(err)
	}
	got := b.list("other", "")
	if len(got.Parked) != 1 || got.Parked[0].ParkedSequence != 1 || got.Parked[0].Sequence != 0 || !got.Parked[0].Cut ||
		got.Parked[0].ParkedAt.IsZero() || len(got.Parked[0].Headers) != 0 {
		t.Errorf("%+v", got.Parked)
	}
	if d := b.discard("other", `{"all":true}`); d.Counts.Events != 1 || !d.Complete {
		t.Errorf("%+v", d)
	}
}

// TestPagesOverManyParkedEvents: 100,000, and some of others between them.
func TestPagesOverManyParkedEvents(t *testing.T) {
	t.Parallel()
	many := 100_000
	if testing.Short() {
		many = 20_000
	}
	b := newServed(t)
	events := make([]parkedEvent, 0, many+many/10)
	for i := range many {
		events = append(events, order(uint64(i+1), fmt.Sprintf("reason %d", i%20)))
		if i%10 == 0 {
			other := order(uint64(i+1), "other")
			other.name = "other"
			events = append(events, other)
		}
	}
	b.park(events...)
	for _, tt := range []struct {
		order               string
		offset, limit       int
		first, step, length int
	}{
		{"newest", 0, 3, many, -1, 3},
		{"newest", many / 2, 1000, many / 2, -1, 1000},
		{"oldest", many - 500, 1000, many - 499, 1, 500},
	} {
		began := time.Now()
		got := b.list("triage", fmt.Sprintf(`{"order":%q,"offset":%d,"limit":%d}`, tt.order, tt.offset, tt.limit))
		t.Logf("%s from %d: %v", tt.order, tt.offset, time.Since(began).Round(time.Millisecond))
		want := []uint64{}
		for i := range tt.length {
			want = append(want, uint64(tt.first+i*tt.step))
		}
		if diff := cmp.Diff(want, sequences(got.Parked)); diff != "" {
			t.Errorf("%s from %d (-want +got)\n%.300s", tt.order, tt.offset, diff)
		}
		if got.Counts.Partial {
			t.Errorf("%s from %d: there was no time for all, %d of them", tt.order, tt.offset, got.Total)
		}
		if got.Total != many || len(got.Counts.ByReason) != 10 || got.Counts.ByReason[0].Events != uint64(many/20) {
			t.Errorf("%s from %d: total %d, by reason %v", tt.order, tt.offset, got.Total, got.Counts.ByReason)
		}
	}
	some := b.list("triage", `{"limit":1,"reason":"reason 7","match":{"data":{"n":[{"numeric":["<=",1000]}]}}}`)
	if some.Total != 50 || some.Parked[0].Sequence != 988 {
		t.Errorf("total %d, the newest %v", some.Total, sequences(some.Parked))
	}
}

func TestAPageKeepsNoMoreThanItsEndIsFarAway(t *testing.T) {
	t.Parallel()
	p := newPage(wire.ParkedListRequest{Order: wire.ParkedNewest, Offset: 90, Limit: 10})
	for seq := range uint64(1_000_000) {
		p.add(seq)
	}
	if len(p.last) != 100 {
		t.Errorf("it keeps %d numbers", len(p.last))
	}
	if p.close(true); len(p.found) != 10 || p.found[0] != 1_000_000-91 || p.found[9] != 1_000_000-100 {
		t.Errorf("found %v", p.found)
	}
}
