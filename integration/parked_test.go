package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestParkedEventsAreListedAndDiscarded(t *testing.T) {
	t.Parallel()
	ns := wire.DefaultNamespace
	e := harness.New(t)
	e.StartAll()
	e.Store("ORDERS", "orders.>")
	e.Subscribe("triage", client.Spec{
		Store: "ORDERS", Selector: client.Selector{ByStream: []string{"$all"}}, Deliver: client.Deliver{Subject: "to.triage"},
	})
	if _, err := e.Conn().Subscribe("to.triage", func(m *nats.Msg) { _ = m.Respond([]byte("+TERM no use")) }); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		e.Publish(fmt.Sprintf("orders.%d.paid", i), fmt.Sprintf(`{"n":%d}`, i))
	}
	e.Await("five parked events", func() error {
		if n := len(e.Stored(ns.StreamParked(), ns.Parked("triage"))); n != 5 {
			return fmt.Errorf("%d are parked", n)
		}
		return nil
	})
	listed := func(filter wire.ParkedListRequest) (seqs []uint64) {
		t.Helper()
		for row, err := range e.Client.Parked(e.Context(), "triage", filter) {
			if err != nil {
				t.Fatal(err)
			}
			if row.Store != "ORDERS" || row.Type != "paid" || row.Reason == "" || row.Attempts != 1 || row.ParkedAt.IsZero() {
				t.Errorf("%+v", row)
			}
			seqs = append(seqs, row.Sequence)
		}
		slices.Sort(seqs) // lanes are parked side by side
		return seqs
	}
	if got := listed(wire.ParkedListRequest{Limit: 2}); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("parked are %v", got)
	}
	if _, err := e.Client.DiscardParked(e.Context(), "triage", wire.ParkedDiscardRequest{
		ParkedChoice: wire.ParkedChoice{Match: json.RawMessage(`{"data":{"n":[{"numeric":["<",2]}]}}`)},
	}); err != nil {
		t.Fatal(err)
	}
	if got := listed(wire.ParkedListRequest{Order: wire.ParkedOldest, Limit: 2}); !slices.Equal(got, []uint64{3, 4, 5}) {
		t.Errorf("left are %v", got)
	}
	raw, err := e.Client.Request(e.Context(), wire.VerbUnsubscribe, "triage", nil)
	if err != nil {
		t.Fatal(err)
	}
	var gone wire.UnsubscribeResponse
	harness.Decode(t, raw, &gone)
	if gone.Parked == nil || *gone.Parked != 3 {
		t.Errorf("unsubscribe says %s", raw)
	}
	if got := listed(wire.ParkedListRequest{}); !slices.Equal(got, []uint64{3, 4, 5}) {
		t.Errorf("of the deleted subscription are left %v", got)
	}
	if got, err := e.Client.DiscardParked(e.Context(), "triage", wire.ParkedDiscardRequest{ParkedChoice: wire.ParkedChoice{All: true}}); err != nil || got.Counts.Events != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, err := range e.Client.Parked(e.Context(), "triage", wire.ParkedListRequest{}) {
		if client.CodeOf(err) != wire.CodeNoSubscription {
			t.Errorf("of a name of which nothing is left: %v", err)
		}
	}
}

// TestADiscardThatIsKilledIsToldAndGoesOn: the replayer dies in the middle. What is
// gone was told of, what is left is left, and the same request goes on.
func TestADiscardThatIsKilledIsToldAndGoesOn(t *testing.T) {
	t.Parallel()
	const many, others = 8000, 50
	ns := wire.DefaultNamespace
	e := harness.New(t, harness.OnServer(harness.StartNATS(t)))
	first := e.Spawn(wire.ServiceReplayer)
	var msgs []*nats.Msg
	for i := range many + others {
		m := nats.NewMsg(ns.Parked("triage"))
		m.Header = nats.Header{
			wire.HeaderStore: {"ORDERS"}, wire.HeaderSequence: {strconv.Itoa(i + 1)}, wire.HeaderSubject: {"orders.1.paid"},
			wire.HeaderParkReason: {"goes"},
		}
		if i%(many/others) == 0 && len(msgs) > 0 {
			m.Header[wire.HeaderParkReason] = []string{"stays"}
		}
		msgs = append(msgs, m)
	}
	e.PublishAll(msgs)
	left := func() (goes, stays int) {
		for _, m := range e.Stored(ns.StreamParked(), ns.Parked("triage")) {
			if m.Header.Get(wire.HeaderParkReason) == "goes" {
				goes++
			} else {
				stays++
			}
		}
		return goes, stays
	}
	goes, stays := left()
	body := []byte(`{"reason":"goes"}`)
	if err := e.Conn().Publish(ns.API(wire.VerbParkedDiscard, "triage"), body); err != nil {
		t.Fatal(err)
	}
	stream, err := e.JS.Stream(e.Context(), ns.StreamParked())
	if err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "some to be gone", func() error {
		info, err := stream.Info(e.Context())
		if err == nil && int(info.State.Msgs) > goes+stays-goes/4 {
			err = errors.New("a quarter is not gone yet")
		}
		return err
	})
	first.Kill()
	after, _ := left()
	if after == 0 {
		t.Fatal("the kill came too late to show anything")
	}
	told := 0
	for _, m := range e.Stored(ns.StreamAdvisories(), ns.Advisory(wire.AdvEventDiscarded, "triage")) {
		var a wire.Advisory
		harness.Decode(t, m.Data, &a)
		told += int(a.Data["count"].(float64))
	}
	if t.Logf("%d of %d were left, %d were told of", after, goes, told); told < goes-after {
		t.Errorf("%d are gone, and %d were told of", goes-after, told)
	}
	e.Spawn(wire.ServiceReplayer)
	harness.Await(t, "the rest to be gone", func() error {
		m, err := e.Conn().Request(ns.API(wire.VerbParkedDiscard, "triage"), body, 10*time.Second)
		if err != nil {
			return err
		}
		var got wire.ParkedDiscardResponse
		if err := json.Unmarshal(m.Data, &got); err != nil || got.Error != nil {
			return errors.Join(err, fmt.Errorf("%s", m.Data))
		}
		if !got.Complete {
			return fmt.Errorf("%s", m.Data)
		}
		return nil
	})
	if now, kept := left(); now != 0 || kept != stays {
		t.Errorf("%d are left that go, and %d of %d that stay", now, kept, stays)
	}
}
