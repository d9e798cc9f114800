package parked

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestWhatIsMeantIsDiscardedAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		left       []uint64 // sequences of triage
		missing    []uint64
	}{
		{"by sequence, all copies", `{"sequences":[2,2,9]}`, []uint64{1, 3, 4}, []uint64{9}},
		{"all", `{"all":true}`, []uint64{}, nil},
		{"by reason", `{"reason":"no stock"}`, []uint64{2, 2, 4}, nil},
		{"by the beginning of the reason", `{"reason":[{"prefix":"time"}]}`, []uint64{1, 3, 4}, nil},
		{"by the event", `{"match":{"data":{"n":[{"numeric":[">",2]}]}}}`, []uint64{1, 2, 2}, nil},
		{"by both", `{"match":{"subject":"orders.3.paid"},"reason":"no stock"}`, []uint64{1, 2, 2, 4}, nil},
		{"by both, of which one never holds", `{"match":{"subject":"orders.3.paid"},"reason":"x"}`, []uint64{1, 2, 3, 2, 4}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newServed(t)
			other := order(1, "no stock")
			other.name = "other"
			b.park(order(1, "no stock"), other, order(2, "timeout"), order(3, "no stock"), order(2, "timeout"), order(4, "loop"))
			before := b.list("triage", "").Counts.Events
			dry := b.discard("triage", tt.body[:len(tt.body)-1]+`,"dry_run":true}`)
			if n := b.state(ns.StreamParked()).Msgs; n != 6 || !dry.DryRun || dry.Confirm == "" {
				t.Errorf("after a dry run %d are left, %+v", n, dry)
			}
			got := b.discard("triage", tt.body)
			if left := sequences(b.list("triage", `{"order":"oldest"}`).Parked); !slices.Equal(left, tt.left) {
				t.Errorf("left are %v, want %v", left, tt.left)
			}
			if gone := before - uint64(len(tt.left)); got.Counts.Events != gone || !got.Complete || !slices.Equal(got.Missing, tt.missing) {
				t.Errorf("%+v, want %d discarded", got, gone)
			}
			dry.Head, dry.DryRun, dry.Confirm = got.Head, false, ""
			if diff := cmp.Diff(dry, got); diff != "" {
				t.Errorf("the dry run counted otherwise (-dry +done)\n%s", diff)
			}
			if n := len(b.list("other", "").Parked); n != 1 {
				t.Errorf("of the other subscription %d are left", n)
			}
			if again := b.discard("triage", tt.body); again.Counts.Events != 0 || !again.Complete {
				t.Errorf("again: %+v", again)
			}
		})
	}
}

func TestEachDiscardIsToldBefore(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.park(order(5, "a"), order(6, "b"), order(7, "b"))
	b.discard("triage", `{"reason":"b"}`)
	all := b.advisories(wire.AdvEventDiscarded)
	if len(all) != 1 {
		t.Fatalf("%d advisories", len(all))
	}
	if d := all[0].Data; all[0].Name != "triage" || d["count"] != 2.0 || d["first_sequence"] != 6.0 || d["last_sequence"] != 7.0 ||
		d["first_parked_sequence"] != 2.0 || d["last_parked_sequence"] != 3.0 || d["asked"] != `{"reason":"b"}` || d["inbox"] == nil {
		t.Errorf("%+v", all[0])
	}
}

// TestNothingIsDiscardedThatCannotBeTold: there is no stream for advisories.
func TestNothingIsDiscardedThatCannotBeTold(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.park(order(1, "a"), order(2, "a"))
	if err := b.js.DeleteStream(t.Context(), ns.StreamAdvisories()); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"all":true}`, `{"reason":"a"}`} {
		got := ask[wire.ParkedDiscardResponse](b, wire.VerbParkedDiscard, "triage", body)
		if got.Error == nil || got.Error.ErrCode != wire.CodeUnavailable || got.Error.Outcome != "" {
			t.Errorf("%s: %+v", body, got)
		}
	}
	if n := b.state(ns.StreamParked()).Msgs; n != 2 {
		t.Errorf("%d are left", n)
	}
}

func TestManyAreDiscardedOnlyAsADryRunCountedThem(t *testing.T) {
	t.Parallel()
	b := newServed(t, func(cfg *Config) { cfg.ConfirmAbove = 2 })
	b.park(order(1, "a"), order(2, "a"), order(3, "a"))
	refused := func(body string) {
		t.Helper()
		got := ask[wire.ParkedDiscardResponse](b, wire.VerbParkedDiscard, "triage", body)
		if got.Error == nil || got.Error.ErrCode != wire.CodeUnconfirmed || got.Error.Code != 409 {
			t.Errorf("%s: %+v", body, got)
		}
	}
	refused(`{"all":true}`)
	dry := b.discard("triage", `{"all":true,"dry_run":true}`)
	refused(`{"all":true,"confirm":"x"}`)
	refused(fmt.Sprintf(`{"reason":"a","confirm":%q}`, dry.Confirm))
	refused(fmt.Sprintf(`{"all":true,"confirm":%q}`, "9"+dry.Confirm))
	if n := b.state(ns.StreamParked()).Msgs; n != 3 {
		t.Fatalf("%d are left", n)
	}
	b.park(order(4, "a")) // nobody has seen it counted
	if got := b.discard("triage", fmt.Sprintf(`{"all":true,"confirm":%q}`, dry.Confirm)); got.Counts.Events != 3 || !got.Complete {
		t.Errorf("%+v", got)
	}
	if left := sequences(b.list("triage", "").Parked); !slices.Equal(left, []uint64{4}) {
		t.Errorf("left are %v", left)
	}
	if got := b.discard("triage", `{"all":true}`); got.Counts.Events != 1 {
		t.Errorf("%+v", got)
	}
}

func TestARequestOfAnotherParkedStreamIsNotConfirmed(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.park(order(1, "a"))
	dry := b.discard("triage", `{"all":true,"dry_run":true}`)
	stream, err := b.js.Stream(t.Context(), ns.StreamParked())
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	if err := b.js.DeleteStream(t.Context(), cfg.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	b.park(order(1, "a"))
	got := ask[wire.ParkedDiscardResponse](b, wire.VerbParkedDiscard, "triage", fmt.Sprintf(`{"all":true,"confirm":%q}`, dry.Confirm))
	if got.Error == nil || got.Error.ErrCode != wire.CodeUnconfirmed {
		t.Errorf("%+v", got)
	}
}

// slow deletes one message after a while.
type slow struct{ jetstream.JetStream }

type slowStream struct{ jetstream.Stream }

func (s slow) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := s.JetStream.Stream(ctx, name)
	return slowStream{stream}, err
}

func (s slowStream) DeleteMsg(ctx context.Context, seq uint64) error {
	late := time.NewTimer(20 * time.Millisecond)
	defer late.Stop()
	select {
	case <-late.C:
		return s.Stream.DeleteMsg(ctx, seq)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestWhatIsNotInTimeIsSaidAndGoesOn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.js = slow{b.js}
	b.serve(t, func(cfg *Config) { cfg.Within = time.Second })
	const many = 2000 // of which 800 a second can go
	events := make([]parkedEvent, many)
	for i := range events {
		events[i] = order(uint64(i+1), "a")
	}
	b.park(events...)
	requests, gone := 0, uint64(0)
	for left := uint64(many); left > 0; requests++ {
		got := ask[wire.ParkedDiscardResponse](b, wire.VerbParkedDiscard, "triage", `{"reason":"a"}`)
		left = b.state(ns.StreamParked()).Msgs
		if got.Error != nil {
			continue // no time for anything, or it is not known
		}
		gone += got.Counts.Events
		if got.Complete && left > 0 || got.Complete == (got.Hint != "") || requests > 100 {
			t.Fatalf("%d are left after %d requests: %+v", left, requests, got)
		}
	}
	told := 0.0
	for _, a := range b.advisories(wire.AdvEventDiscarded) {
		told += a.Data["count"].(float64)
	}
	t.Logf("%d requests, %d counted as gone, %.0f told", requests, gone, told)
	if requests < 2 || told < many || gone > many {
		t.Errorf("%d requests, %d counted as gone, %.0f told", requests, gone, told)
	}
}

func TestRequestsThatAreWrongAreRefused(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.park(order(1, "a"))
	for _, tt := range []struct {
		verb, name, body string
		code             wire.ErrCode
		field            string
	}{
		{wire.VerbParkedList, "triage", `{`, wire.CodeBadJSON, ""},
		{wire.VerbParkedList, "triage", `{"limit":0}`, wire.CodeBadField, "limit"},
		{wire.VerbParkedList, "triage", `{"limit":1001}`, wire.CodeBadField, "limit"},
		{wire.VerbParkedList, "triage", `{"offset":-1}`, wire.CodeBadField, "offset"},
		{wire.VerbParkedList, "triage", `{"offset":1000001}`, wire.CodeBadField, "offset"},
		{wire.VerbParkedList, "triage", `{"order":"random"}`, wire.CodeBadField, "order"},
		{wire.VerbParkedList, "triage", `{"match":{"nope":1}}`, wire.CodeBadField, "match.nope"},
		{wire.VerbParkedList, "triage", `{"match":[]}`, wire.CodeBadField, "match"},
		{wire.VerbParkedList, "triage", `{"reason":{"prefix":"a"}}`, wire.CodeBadField, "reason"},
		{wire.VerbParkedList, "triage", `{"reason":[{"like":"a"}]}`, wire.CodeBadField, "reason[0].like"},
		{wire.VerbParkedList, "triage", `{"page":1}`, wire.CodeBadField, "page"},
		{wire.VerbParkedList, "nobody", ``, wire.CodeNoSubscription, ""},
		{wire.VerbParkedList, "tri$ge", ``, wire.CodeBadField, "name"},
		{wire.VerbParkedDiscard, "triage", ``, wire.CodeBadJSON, ""},
		{wire.VerbParkedDiscard, "triage", `{}`, wire.CodeBadField, ""},
		{wire.VerbParkedDiscard, "triage", `{"all":false}`, wire.CodeBadField, ""},
		{wire.VerbParkedDiscard, "triage", `{"all":true,"reason":"a"}`, wire.CodeBadField, ""},
		{wire.VerbParkedDiscard, "triage", `{"sequences":[1],"match":{"type":"paid"}}`, wire.CodeBadField, ""},
		{wire.VerbParkedDiscard, "triage", `{"sequences":[]}`, wire.CodeBadField, "sequences"},
		{wire.VerbParkedDiscard, "triage", `{"sequences":[0]}`, wire.CodeBadField, "sequences[0]"},
		{wire.VerbParkedDiscard, "triage", `{"sequences":["1"]}`, wire.CodeBadField, "sequences[0]"},
		{wire.VerbParkedDiscard, "triage", `{"sequences":1}`, wire.CodeBadField, "sequences"},
		{wire.VerbParkedDiscard, "triage", `{"all":true,"dry_run":true,"confirm":"1-a"}`, wire.CodeBadField, "confirm"},
		{wire.VerbParkedDiscard, "nobody", `{"all":true}`, wire.CodeNoSubscription, ""},
	} {
		got := ask[wire.Head](b, tt.verb, tt.name, tt.body)
		switch e := got.Error; {
		case e == nil || e.ErrCode != tt.code:
			t.Errorf("%s %s %s: %+v, want %d", tt.verb, tt.name, tt.body, e, tt.code)
		case tt.code == wire.CodeBadField && (len(e.Details) != 1 || e.Details[0].Field != tt.field):
			t.Errorf("%s %s %s: %+v, want one fault of %q", tt.verb, tt.name, tt.body, e.Details, tt.field)
		}
	}
	if n := b.state(ns.StreamParked()).Msgs; n != 1 {
		t.Errorf("%d are left", n)
	}
}

func TestEventsOfADeletedSubscriptionAreStillThere(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	e := order(3, "a")
	e.name = "deleted"
	b.park(e)
	if got := b.list("deleted", ""); got.Total != 1 {
		t.Errorf("%+v", got)
	}
	if got := b.discard("deleted", `{"sequences":[3]}`); got.Counts.Events != 1 {
		t.Errorf("%+v", got)
	}
	if got := ask[wire.Head](b, wire.VerbParkedList, "deleted", ""); got.Error == nil || got.Error.ErrCode != wire.CodeNoSubscription {
		t.Errorf("%+v", got)
	}
	if got := b.list("triage", ""); got.Total != 0 || got.Parked == nil {
		t.Errorf("a subscription without parked events: %+v", got)
	}
}

// TestWhatCannotBeJudgedStays: the body, or the headers, could not be parked.
func TestWhatCannotBeJudgedStays(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	noBody, noHeaders := order(1, "a"), order(2, "a")
	noBody.data, noBody.header = "", nats.Header{wire.HeaderParkedBody: {wire.Omitted}}
	noHeaders.header = nats.Header{wire.HeaderParkedHeaders: {wire.Omitted}}
	b.park(noBody, noHeaders, order(3, "a"))
	got := b.discard("triage", `{"match":{"data":{"x":[{"exists":false}]}}}`)
	if got.Counts.Events != 1 || got.Counts.Unjudged != 2 {
		t.Errorf("by payload: %+v", got)
	}
	got = b.discard("triage", `{"match":{"type":"paid"}}`)
	if got.Counts.Events != 1 || got.Counts.Unjudged != 1 {
		t.Errorf("by type: %+v", got)
	}
	left := b.list("triage", "").Parked
	if len(left) != 1 || !slices.Equal(left[0].Omitted, []string{"headers"}) {
		t.Errorf("left are %+v", left)
	}
	if got = b.discard("triage", `{"all":true}`); got.Counts.Events != 1 {
		t.Errorf("all: %+v", got)
	}
}

func TestARequestWithoutAReplyIsToldByAdvisories(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.park(order(1, "a"))
	for _, tt := range []struct{ name, body, what string }{
		{"triage", `{"all":true}`, wire.AdvEventDiscarded},
		{"triage", `{"all":true}`, wire.AdvEventDiscarded}, // nothing is left
		{"triage", `{}`, wire.AdvReplayFailed},
		{"nobody", `{"all":true}`, wire.AdvReplayFailed},
	} {
		before := len(b.advisories(tt.what))
		if err := b.nc.Publish(ns.API(wire.VerbParkedDiscard, tt.name), []byte(tt.body)); err != nil {
			t.Fatal(err)
		}
		natstest.Await(t, "the advisory about "+tt.body, func() error {
			all := b.advisories(tt.what)
			if len(all) != before+1 || all[before].Name != tt.name {
				return fmt.Errorf("%+v", all)
			}
			return nil
		})
	}
}

func TestAParkedStreamThatIsGoneIsSaid(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	if err := b.js.DeleteStream(context.Background(), ns.StreamParked()); err != nil {
		t.Fatal(err)
	}
	got := ask[wire.Head](b, wire.VerbParkedList, "triage", "")
	if got.Error == nil || got.Error.ErrCode != wire.CodeUnavailable {
		b, _ := json.Marshal(got)
		t.Errorf("%s", b)
	}
}
