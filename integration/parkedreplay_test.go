package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// refuser is a subscriber that gives up what it is told to, and notes what comes.
type refuser struct {
	mu     sync.Mutex
	refuse func(seq int) bool
	got    []*nats.Msg // but for those of live delivery
}

func (r *refuser) answer(m *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq, _ := strconv.Atoi(m.Header.Get(wire.HeaderSequence))
	if m.Header.Get(wire.HeaderReplay) != "" {
		r.got = append(r.got, m)
	}
	if r.refuse(seq) {
		_ = m.Respond([]byte("+TERM no use"))
		return
	}
	_ = m.Respond(nil)
}

func (r *refuser) is(refuse func(seq int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

func (r *refuser) delivered() []*nats.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// parkedWorld has many parked events of a few keys.
func parkedWorld(t *testing.T, e *harness.Env, many int) *refuser {
	t.Helper()
	ns := wire.DefaultNamespace
	e.Store("ORDERS", "orders.>")
	e.Subscribe("triage", client.Spec{
		Store: "ORDERS", Selector: client.Selector{ByStream: []string{"$all"}}, Deliver: client.Deliver{Subject: "to.triage"},
	})
	sub := &refuser{refuse: func(int) bool { return true }}
	if _, err := e.Conn().Subscribe("to.triage", sub.answer); err != nil {
		t.Fatal(err)
	}
	var msgs []*nats.Msg
	for i := range many {
		m := nats.NewMsg(fmt.Sprintf("orders.%d.paid", i%7))
		m.Data = fmt.Appendf(nil, `{"n":%d}`, i+1)
		m.Header.Set("x-n", strconv.Itoa(i+1))
		msgs = append(msgs, m)
	}
	e.PublishAll(msgs)
	e.Await("all events to be parked", func() error {
		if n := len(e.Stored(ns.StreamParked(), ns.Parked("triage"))); n != many {
			return fmt.Errorf("%d are parked", n)
		}
		return nil
	})
	return sub
}

// wantParkedAgain requires what is parked after a replay that was refused each third
// event: those, once each, with the history of before.
func wantParkedAgain(e *harness.Env, many int) {
	e.T.Helper()
	var got []int
	for row, err := range e.Client.Parked(e.Context(), "triage", wire.ParkedListRequest{Order: wire.ParkedOldest}) {
		if err != nil {
			e.T.Fatal(err)
		}
		got = append(got, int(row.Sequence))
		if row.Attempts < 2 || len(row.History) < 1 || !strings.Contains(row.History[0], "1 attempts: ") || row.Subject != fmt.Sprintf("orders.%d.paid", (row.Sequence-1)%7) {
			e.T.Errorf("parked again: %+v", row)
		}
	}
	slices.Sort(got)
	got = slices.Compact(got) // a kill may have parked one twice
	var want []int
	for i := 3; i <= many; i += 3 {
		want = append(want, i)
	}
	if !slices.Equal(got, want) {
		e.T.Errorf("%d are parked again, want %d; the first are %.60v", len(got), len(want), got)
	}
}

func TestParkedEventsAreDeliveredAgainAsWhatTheyWere(t *testing.T) {
	t.Parallel()
	const many = 60
	e := harness.New(t)
	e.StartAll()
	sub := parkedWorld(t, e, many)
	sub.is(func(seq int) bool { return seq%3 == 0 })
	dry, err := e.Client.ReplayParked(e.Context(), "triage", wire.ParkedReplayRequest{ParkedChoice: wire.ParkedChoice{All: true}, DryRun: true})
	if err != nil || dry.Replay != nil || dry.Counts.Events != many || dry.Confirm == "" {
		t.Fatalf("%+v, %v", dry, err)
	}
	started, err := e.Client.ReplayParked(e.Context(), "triage", wire.ParkedReplayRequest{ParkedChoice: wire.ParkedChoice{All: true}})
	if err != nil {
		t.Fatal(err)
	}
	r := awaitReplay(e, started.Replay.ID, wire.ReplayFinished)
	if r.Total != many || r.Parked != many/3 || r.Finished+r.Parked < many {
		t.Errorf("%+v", r.ReplayCounts)
	}
	last := map[string]int{}
	msgs := sub.delivered()
	for _, m := range msgs {
		seq, _ := strconv.Atoi(m.Header.Get(wire.HeaderSequence))
		key := m.Header.Get(wire.HeaderSubject)
		if m.Header.Get(wire.HeaderStore) != "ORDERS" || m.Header.Get(wire.HeaderReplay) != r.ID || key != fmt.Sprintf("orders.%d.paid", (seq-1)%7) ||
			m.Header.Get("x-n") != strconv.Itoa(seq) || string(m.Data) != fmt.Sprintf(`{"n":%d}`, seq) || m.Header.Get(wire.HeaderParkReason) != "" {
			t.Errorf("delivered %q with %v", m.Data, m.Header)
		}
		if seq <= last[key] {
			t.Errorf("%d of %s comes after %d", seq, key, last[key])
		}
		last[key] = seq
	}
	if len(msgs) != many {
		t.Errorf("%d deliveries, want %d", len(msgs), many)
	}
	wantParkedAgain(e, many)

	// Some of them, to where they are taken.
	sub.is(func(int) bool { return false })
	some, err := e.Client.ReplayParked(e.Context(), "triage", wire.ParkedReplayRequest{ParkedChoice: wire.ParkedChoice{Sequences: []uint64{3, 9, 4}}})
	if err != nil || !slices.Equal(some.Missing, []uint64{4}) {
		t.Fatalf("%+v, %v", some, err)
	}
	awaitReplay(e, some.Replay.ID, wire.ReplayFinished)
	slow, err := e.Client.ReplayParked(e.Context(), "triage", wire.ParkedReplayRequest{ParkedChoice: wire.ParkedChoice{All: true}, Rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Client.ReplayParked(e.Context(), "triage", wire.ParkedReplayRequest{ParkedChoice: wire.ParkedChoice{All: true}})
	if client.CodeOf(err) != wire.CodeConflict {
		t.Errorf("another one beside it: %v", err)
	}
	if _, err := e.Client.CancelReplay(e.Context(), slow.Replay.ID); err != nil {
		t.Fatal(err)
	}
	page, err := e.Client.ParkedPage(e.Context(), "triage", wire.ParkedListRequest{})
	if err != nil || page.Total > many/3-2 || page.Total < many/3-7 {
		t.Errorf("%d are left, %v", page.Total, err)
	}
}

// TestReplayersThatAreKilledLoseNoParkedEvent: each of them dies in the middle.
func TestReplayersThatAreKilledLoseNoParkedEvent(t *testing.T) {
	t.Parallel()
	const many = 3000
	e := harness.New(t, harness.OnServer(harness.StartNATS(t)))
	e.Start(wire.ServiceRegistry)
	e.Start(wire.ServiceEmitter)
	sub := parkedWorld(t, e, many)
	sub.is(func(seq int) bool { return seq%3 == 0 })
	random := seeded(t)
	runs := e.Spawn(wire.ServiceReplayer)
	var started *wire.ParkedReplayResponse
	harness.Await(t, "the replay to start", func() (err error) {
		started, err = e.Client.ReplayParked(e.Context(), "triage", wire.ParkedReplayRequest{ParkedChoice: wire.ParkedChoice{All: true}, Rate: 1000})
		return err
	})
	for i := range 3 {
		least := (i*many/4 + random.IntN(many/8)) / 2
		harness.Await(t, "some to be delivered", func() error {
			if n := len(sub.delivered()); n < least {
				return fmt.Errorf("%d of %d", n, least)
			}
			return nil
		})
		next := e.Spawn(wire.ServiceReplayer)
		runs.Kill()
		runs = next
	}
	r := awaitReplay(e, started.Replay.ID, wire.ReplayFinished)
	acked := map[int]bool{}
	for _, m := range sub.delivered() {
		seq, _ := strconv.Atoi(m.Header.Get(wire.HeaderSequence))
		acked[seq] = true
	}
	t.Logf("%d deliveries of %d events: %+v", len(sub.delivered()), many, r.ReplayCounts)
	if len(acked) != many {
		t.Errorf("%d of %d events were delivered", len(acked), many)
	}
	wantParkedAgain(e, many)
}
