package hostile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// loop is a way in which deliveries become events again. Its streams, subjects
// and subscriptions have names of their own: those of case i begin with "l<i>"
// where P stands here.
type loop struct {
	what    string
	streams []jetstream.StreamConfig // as they are when the subscriptions are made
	feeds   []feed
	later   []jetstream.StreamConfig // and as they are afterwards
	byHand  string                   // the delivery subject that somebody writes into the first record afterwards
	subject string                   // of the one event
	headers []string                 // of it, names and values in turn
	most    int                      // messages in all streams together, at the end
	parked  int                      // of them, events that are parked as a loop; counted where it is above 0
	blocked string                   // why the first pool delivers nothing in the end; "": it does
}

// feed is a subscription: what a store holds goes to a subject.
type feed struct {
	store, to string
	stream    string // deliver.stream
	answered  bool   // mode ack, and somebody who acks; else mode publish
}

func str(name string, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: name, Subjects: subjects}
}

func sourcing(cfg jetstream.StreamConfig, from string) jetstream.StreamConfig {
	cfg.Sources = []*jetstream.StreamSource{{Name: from}}
	return cfg
}

func mirroring(name, from string) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: name, Mirror: &jetstream.StreamSource{Name: from}}
}

// round is how many messages one event makes that goes round and round: itself,
// and one for each hop.
const round = 1 + wire.MaxHops

func loops() []loop {
	two := []jetstream.StreamConfig{str("PA", "P.a.>"), str("PB", "P.b.>")}
	there := []feed{{store: "PA", to: "P.b.x"}, {store: "PB", to: "P.a.x"}}
	all := []loop{
		{what: "two stores feed each other", streams: two, feeds: there, subject: "P.a.0", most: round, parked: 1},
		{
			what: "two stores feed each other, and somebody acks", streams: two,
			feeds:   []feed{{store: "PA", to: "P.b.x", answered: true}, {store: "PB", to: "P.a.x", answered: true}},
			subject: "P.a.0", most: round, parked: 1,
		},
		{
			what: "two stores that are each other's target", streams: two,
			feeds:   []feed{{store: "PA", to: "P.b.x", stream: "PB"}, {store: "PB", to: "P.a.x", stream: "PA"}},
			subject: "P.a.0", most: round, parked: 1,
		},
		{
			what: "two stores feed each other twice", streams: two,
			feeds: append(there, feed{store: "PA", to: "P.b.y"}, feed{store: "PB", to: "P.a.y"}),
			// One, then twice as many with each hop.
			subject: "P.a.0", most: 1<<round - 1, parked: 2 << wire.MaxHops,
		},
		{
			what: "three stores in a ring, over a mirror", subject: "P.a.0", most: 2 * round, parked: 1,
			streams: []jetstream.StreamConfig{str("PA", "P.a.>"), mirroring("PM", "PA"), str("PB", "P.b.>")},
			feeds:   []feed{{store: "PM", to: "P.b.x"}, {store: "PB", to: "P.a.x"}},
		},
		{
			what: "a store's subjects grow over its deliveries", subject: "P.s.0", most: round,
			streams: []jetstream.StreamConfig{str("PS", "P.s.>")}, feeds: []feed{{store: "PS", to: "P.back"}},
			later: []jetstream.StreamConfig{str("PS", "P.s.>", "P.back")}, blocked: "the store itself captures",
		},
		{
			what: "a store gets a source that captures its deliveries", subject: "P.s.0", most: 2 * round,
			streams: []jetstream.StreamConfig{str("PO", "P.o.>"), str("PS", "P.s.>")}, feeds: []feed{{store: "PS", to: "P.o.x"}},
			later: []jetstream.StreamConfig{sourcing(str("PS", "P.s.>"), "PO")}, blocked: "from which events of the store come",
		},
		{
			what: "the subjects of a store's source grow over its deliveries", subject: "P.o.0", most: 2 * round,
			streams: []jetstream.StreamConfig{str("PO", "P.o.>"), sourcing(str("PS"), "PO")}, feeds: []feed{{store: "PS", to: "P.back"}},
			later:  []jetstream.StreamConfig{str("PO", "P.o.>", "P.back")}, // which is looked at now and then: hops end it
			parked: 1,
		},
		{
			what: "a record is written by hand", subject: "P.s.0", most: 1,
			streams: []jetstream.StreamConfig{str("PS", "P.s.>")}, feeds: []feed{{store: "PS", to: "P.out"}},
			byHand: "P.s.back", blocked: "the store itself captures",
		},
		{
			what: "a record is written by hand, and its store is a mirror of a mirror", subject: "P.o.0", most: 3,
			streams: []jetstream.StreamConfig{str("PO", "P.o.>"), mirroring("PM", "PO"), mirroring("PS", "PM")},
			feeds:   []feed{{store: "PS", to: "P.out"}},
			byHand:  "P.o.back", blocked: "from which events of the store come",
		},
	}
	// Whatever the event says of itself, it goes round no more often.
	for _, forged := range [][]string{
		{"Sluice-Hops", "-1"},
		{"Sluice-Hops", "0"},
		{"Sluice-Hops", "many"},
		{"Sluice-Hops", ""},
		{"sluice-hops", "1"},
		{"Sluice-Hops", "-9223372036854775808"},
		{"Sluice-Event", "a"},
		{"Sluice-Event", "a B 1 2 3 4 -5 c"},
		{"Sluice-Park-Reason", "loop"},
	} {
		all = append(all, loop{
			what: "an event says " + strings.Join(forged, ": "), streams: two, feeds: there,
			subject: "P.a.0", headers: forged, most: round, parked: 1,
		})
	}
	for _, forged := range [][]string{
		{"Sluice-Hops", "8"},
		{"SLUICE-HOPS", "18446744073709551616"},
		{"Sluice-Event", "a B 1 2 3 4 900 c"},
		{"Sluice-Hops", "-1", "sluice-hops", "99"},
	} {
		all = append(all, loop{
			what: "an event says " + strings.Join(forged, ": "), streams: two, feeds: there,
			subject: "P.a.0", headers: forged, most: 1, parked: 1,
		})
	}
	return all
}

// asTheyAre is the number of a case whose names stand as they are.
const asTheyAre = -1

// named puts the names of case i into text.
func named(i int, text string) string {
	if i == asTheyAre {
		return text
	}
	return strings.ReplaceAll(text, "P", fmt.Sprintf("l%d", i))
}

func (l *loop) make(e *harness.Env, i int, streams []jetstream.StreamConfig) {
	e.T.Helper()
	for _, cfg := range streams {
		cfg.Name = named(i, cfg.Name)
		cfg.Subjects = slices.Clone(cfg.Subjects)
		for j := range cfg.Subjects {
			cfg.Subjects[j] = named(i, cfg.Subjects[j])
		}
		if m := cfg.Mirror; m != nil {
			cfg.Mirror = &jetstream.StreamSource{Name: named(i, m.Name)}
		}
		for j, s := range cfg.Sources {
			cfg.Sources[j] = &jetstream.StreamSource{Name: named(i, s.Name)}
		}
		e.StoreOf(cfg)
	}
}

func (l *loop) subscription(i, feed int) string { return fmt.Sprintf("l%d-%d", i, feed) }

func (l *loop) subscribe(e *harness.Env, i int) {
	e.T.Helper()
	for j, f := range l.feeds {
		spec := client.Spec{
			Store: named(i, f.store), Selector: client.Selector{ByStream: []string{wire.AllStreams}}, Start: client.FromAll(),
			Deliver: client.Deliver{Subject: named(i, f.to), Mode: wire.ModePublish},
		}
		if f.stream != "" || f.answered {
			spec.Deliver.Mode, spec.Deliver.Stream = wire.ModeAck, named(i, f.stream)
		}
		if f.answered {
			e.Record(named(i, f.to), harness.Ack)
		}
		e.Subscribe(l.subscription(i, j), spec)
	}
}

// messages counts what the streams of the case hold.
func (l *loop) messages(e *harness.Env, i int) (n int, err error) {
	for _, cfg := range l.streams {
		s, err := e.JS.Stream(e.T.Context(), named(i, cfg.Name))
		if err != nil {
			return 0, err
		}
		n += int(s.CachedInfo().State.LastSeq)
	}
	return n, nil
}

// settle waits until nothing was stored in the streams of the cases for a while.
func settle(e *harness.Env, cases []loop, first int) {
	e.T.Helper()
	before, since := 0, time.Now()
	e.Await("the end of the loops", func() error {
		sum, most := 0, 0
		for k, l := range cases {
			n, err := l.messages(e, first+k)
			if err != nil {
				return err
			}
			sum, most = sum+n, most+l.most
		}
		if sum > 100*most {
			e.T.Fatalf("%d messages, want at most %d", sum, most)
		}
		if sum != before {
			before, since = sum, time.Now()
		}
		if time.Since(since) < 1500*time.Millisecond { // longer than from one look at a store to the next
			return fmt.Errorf("%d messages", sum)
		}
		return nil
	})
}

// parkedAs counts the events that the subscriptions of the case have parked for
// a reason, and returns what they say of hops.
func (l *loop) parkedAs(e *harness.Env, i int, reason string) (n int, hops []string) {
	e.T.Helper()
	for j := range l.feeds {
		for _, m := range e.Stored(ns.StreamParked(), ns.Parked(l.subscription(i, j))) {
			if m.Header.Get(wire.HeaderParkReason) == reason {
				n++
				hops = append(hops, m.Header.Get(wire.HeaderHops))
			}
		}
	}
	return n, hops
}

// begin makes the streams and subscriptions of case i, does to them what is done
// later, and stores the event.
func (l *loop) begin(e *harness.Env, i int) {
	e.T.Helper()
	l.make(e, i, l.streams)
	l.subscribe(e, i)
	for j := range l.feeds { // it is at work when something changes
		e.AwaitPool(l.subscription(i, j), "at the head", func(p *wire.Pool) error {
			if p.State != wire.PoolLive {
				return fmt.Errorf("its state is %s", p.State)
			}
			return nil
		})
	}
	l.make(e, i, l.later)
	if l.byHand != "" {
		rewrite(e, l.subscription(i, 0), func(r *wire.Record) { r.Spec.Deliver.Subject = named(i, l.byHand) })
		e.AwaitPool(l.subscription(i, 0), "what was written", func(p *wire.Pool) error {
			if p.ObservedGeneration < 2 {
				return errors.New("not observed")
			}
			return nil
		})
	}
	e.Publish(named(i, l.subject), "x", l.headers...)
}

func (l *loop) check(t *testing.T, e *harness.Env, i int) {
	if n, err := l.messages(e, i); err != nil || n > l.most {
		t.Errorf("%d messages (%v), want at most %d", n, err, l.most)
	}
	other := func(hops string) bool { return hops != "9" }
	if n, hops := l.parkedAs(e, i, "loop"); l.parked > 0 && (n != l.parked || slices.ContainsFunc(hops, other)) {
		t.Errorf("%d are parked as loops, want %d; their hops are %v", n, l.parked, hops)
	}
	if l.blocked == "" {
		return
	}
	e.Await("the hold", func() error {
		st := e.Get(l.subscription(i, 0)).Status
		if st == nil || st.State != wire.PoolBlocked || !strings.Contains(st.Reason, l.blocked) {
			return fmt.Errorf("its status is %+v", st)
		}
		return nil
	})
}

func TestLoop_EndsWhateverItIsMadeOf(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	cases := loops()
	for i, l := range cases {
		l.begin(e, i)
	}
	settle(e, cases, 0)
	for i, l := range cases {
		t.Run(l.what, func(t *testing.T) { l.check(t, e, i) })
	}
}

// rewrite changes a record behind Sluice's back.
func rewrite(e *harness.Env, name string, change func(*wire.Record)) {
	e.T.Helper()
	kv, err := e.JS.KeyValue(e.Context(), ns.BucketSubscriptions())
	if err != nil {
		e.T.Fatal(err)
	}
	entry, err := kv.Get(e.Context(), name)
	if err != nil {
		e.T.Fatal(err)
	}
	var rec wire.Record
	harness.Decode(e.T, entry.Value(), &rec)
	rec.Generation++
	change(&rec)
	body, err := json.Marshal(rec)
	if err == nil {
		_, err = kv.Update(e.Context(), name, body, entry.Revision())
	}
	if err != nil {
		e.T.Fatal(err)
	}
}

func TestLoop_ThatCanBeSeenAtSubscribeIsRefused(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	e.Store("ORIGIN", "o.>")
	e.StoreOf(mirroring("COPY", "ORIGIN"))
	e.StoreOf(sourcing(str("SUM", "sum.>"), "COPY"))
	for _, tt := range []struct{ store, to string }{
		{"ORIGIN", "o.back"}, {"COPY", "o.back"}, {"SUM", "sum.x"}, {"SUM", "o.back"},
	} {
		_, err := e.Client.Subscribe(e.Context(), "loop", client.Spec{
			Store: tt.store, Selector: client.Selector{ByStream: []string{"$all"}}, Deliver: client.Deliver{Subject: tt.to},
		})
		if got := client.CodeOf(err); got != wire.CodeBadDelivery {
			t.Errorf("%s to %s: %v, want %d", tt.store, tt.to, err, wire.CodeBadDelivery)
		}
	}
}

// TestLoop_OverTheParkedStreamEnds: what is parked is sourced into a store whose
// events are refused, and so parked again.
func TestLoop_OverTheParkedStreamEnds(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	e.Store("FIRST", "first.>")
	e.StoreOf(sourcing(str("AGAIN"), ns.StreamParked()))
	refuse := func(_ harness.Delivery, say func(string)) { say("+TERM no") }
	last := e.Record("to.again", refuse)
	e.Record("to.first", refuse)
	for store, to := range map[string]string{"FIRST": "to.first", "AGAIN": "to.again"} {
		e.Subscribe(strings.ToLower(store), client.Spec{
			Store: store, Selector: client.Selector{ByStream: []string{wire.AllStreams}}, Start: client.FromAll(),
			Deliver: client.Deliver{Subject: to},
		})
	}
	e.Publish("first.x", "x")
	l := loop{streams: []jetstream.StreamConfig{{Name: ns.StreamParked()}, {Name: "AGAIN"}}, most: 2 * round}
	settle(e, []loop{l}, asTheyAre)
	l.check(t, e, asTheyAre)
	var hops []string
	for _, d := range last.Deliveries() {
		hops = append(hops, d.Header.Get(wire.HeaderHops))
	}
	if want := []string{"2", "3", "4", "5", "6", "7", "8"}; !slices.Equal(hops, want) {
		t.Errorf("the deliveries have the hops %v, want %v", hops, want)
	}
	e.AwaitFloor("again", round)
}

// TestLoop_OverWhatSluiceWritesEnds: advisories and parked events are sourced
// into a store, and each of its events may make one more.
func TestLoop_OverWhatSluiceWritesEnds(t *testing.T) {
	t.Parallel()
	refused := client.Spec{Selector: client.Selector{ByStream: []string{wire.AllStreams}}}
	blocking := refused
	blocking.OnExhausted, blocking.OrderBy.Kind, blocking.Breaker.Failures = wire.ExhaustedBlock, wire.OrderNone, 1_000_000
	blocking.Retry = client.Retry{MaxAttempts: new(1), MinBackoff: time.Hour, MaxBackoff: time.Hour}
	unjudged := client.Spec{Selector: client.Selector{ByEventPayload: json.RawMessage(`{"$or":[{"small":true},` + costly[0].pattern + `]}`)}}
	advisories, parked := ns.StreamAdvisories(), ns.StreamParked()
	for _, tt := range []struct {
		what   string
		from   []string
		spec   client.Spec
		answer string
		event  string
		least  int // events of the store in the end: it went round
		most   int
	}{
		{"advisories, parked", []string{advisories}, refused, "+TERM no", "x", 10, 60},
		{"advisories, blocked", []string{advisories}, blocking, "-NAK", "x", 10, 60},
		{"advisories and parked events", []string{advisories, parked}, refused, "+TERM no", "x", 50, 5_000},
		{"parked events, too costly", []string{parked}, unjudged, "", costly[0].data, round, 2 * round},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			e := harness.New(t)
			e.StartAll()
			again := str("AGAIN", "again.>")
			for _, from := range tt.from {
				again.Sources = append(again.Sources, &jetstream.StreamSource{Name: from})
			}
			e.StoreOf(again)
			e.Record("to.again", func(_ harness.Delivery, say func(string)) { say(tt.answer) })
			tt.spec.Store, tt.spec.Deliver.Subject = again.Name, "to.again"
			e.Subscribe("one", tt.spec)
			if !slices.Contains(tt.from, parked) { // there, two make 2⁸
				e.Subscribe("two", tt.spec)
			}
			e.Publish("again.x", tt.event)
			l := loop{streams: []jetstream.StreamConfig{again}, most: tt.most}
			e.Await("events made by events", func() error {
				if n, err := l.messages(e, asTheyAre); err != nil || n < tt.least {
					return fmt.Errorf("%d: %w", n, err)
				}
				return nil
			})
			settle(e, []loop{l}, asTheyAre)
			l.check(t, e, asTheyAre)
		})
	}
}
