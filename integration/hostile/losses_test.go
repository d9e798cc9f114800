package hostile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// loss is a way in which a store loses events that a subscription had still to
// read. The subscription has read the events 1 to 10 and is paused; 11 to 20 are
// stored meanwhile. Those with odd sequences have the subject l.a.x, the others
// l.b.x.
type loss struct {
	what   string
	limit  int64  // of messages per subject; 0 is none
	before change // made before there is a subscription
	lose   change // made while it is paused
	filter string // by_stream; "" is all
	want   []uint64
	gap    wire.Gap // all that it is told of, as one; Kind "": nothing
}

type change func(t *testing.T, e *harness.Env, s jetstream.Stream)

func remove(seqs ...uint64) change {
	return func(t *testing.T, _ *harness.Env, s jetstream.Stream) {
		for _, seq := range seqs {
			if err := s.DeleteMsg(t.Context(), seq); err != nil {
				t.Errorf("delete %d: %v", seq, err)
			}
		}
	}
}

func purgeBelow(seq uint64) change {
	return func(t *testing.T, _ *harness.Env, s jetstream.Stream) {
		if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(seq)); err != nil {
			t.Errorf("purge: %v", err)
		}
	}
}

func purge(subject string) change {
	return func(t *testing.T, _ *harness.Env, s jetstream.Stream) {
		subject := s.CachedInfo().Config.Metadata["prefix"] + subject
		if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
			t.Errorf("purge: %v", err)
		}
	}
}

func publish(subject string, n int) change {
	return func(_ *testing.T, e *harness.Env, s jetstream.Stream) {
		for range n {
			e.Publish(s.CachedInfo().Config.Metadata["prefix"]+subject, "x")
		}
	}
}

func losses() []loss {
	lost := func(kind string, from, to, count uint64) wire.Gap {
		return wire.Gap{From: from, To: to, Count: count, Kind: kind}
	}
	return []loss{
		{what: "nothing is lost", want: upTo(1, 20)},
		{
			what: "single events are deleted", lose: remove(13, 14, 18),
			want: without(upTo(1, 20), 13, 14, 18), gap: lost(wire.GapMiddle, 13, 18, 3),
		},
		{
			what: "the last event is deleted", lose: remove(20),
			want: upTo(1, 19), gap: lost(wire.GapMiddle, 20, 20, 1),
		},
		{
			what: "a subject is purged", lose: purge("l.b.x"),
			want: without(upTo(1, 20), 12, 14, 16, 18, 20), gap: lost(wire.GapMiddle, 12, 20, 5),
		},
		{
			what: "the front is purged", lose: purgeBelow(14),
			want: without(upTo(1, 20), 11, 12, 13), gap: lost(wire.GapFront, 11, 13, 3),
		},
		{
			what: "events are displaced by their subject's limit", limit: 5, lose: publish("l.b.x", 3),
			want: without(upTo(1, 23), 12, 14, 16), gap: lost(wire.GapMiddle, 12, 16, 3),
		},
		{
			what: "a filter wants what is deleted", filter: "l.b.*", lose: remove(14, 18),
			want: []uint64{2, 4, 6, 8, 10, 12, 16, 20}, gap: lost(wire.GapMiddle, 14, 18, 2),
		},
		{
			what: "a filter may not have wanted what is deleted", filter: "l.b.*", lose: remove(13, 15),
			want: []uint64{2, 4, 6, 8, 10, 12, 14, 16, 18, 20}, gap: lost(wire.GapMiddle, 13, 15, 2),
		},
		{what: "holes that were there before", before: remove(3, 4), want: without(upTo(1, 20), 3, 4)},
		{what: "holes that were there before, and a filter", filter: "l.a.*", before: remove(3, 4), want: []uint64{1, 5, 7, 9, 11, 13, 15, 17, 19}},
		{
			what: "holes before and losses after", before: remove(3, 4), lose: remove(15, 18),
			want: without(upTo(1, 20), 3, 4, 15, 18), gap: lost(wire.GapMiddle, 15, 18, 2),
		},
	}
}

func upTo(from, to uint64) (seqs []uint64) {
	for seq := from; seq <= to; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

func without(seqs []uint64, out ...uint64) []uint64 {
	return slices.DeleteFunc(seqs, func(seq uint64) bool { return slices.Contains(out, seq) })
}

// A loss is named wherever in the store it is, with its number, and what a store
// lacked before is none. Under on_gap pause somebody must resume at each.
func TestLosses_AreNamedWhereverTheyAre(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	for i, tt := range losses() {
		for _, onGap := range []string{wire.GapContinue, wire.GapPause} {
			t.Run(tt.what+", "+onGap, func(t *testing.T) {
				tt.run(t, e, fmt.Sprintf("l%d-%s", i, onGap), onGap)
			})
		}
	}
}

func (l loss) run(t *testing.T, e *harness.Env, name, onGap string) {
	prefix := name + "."
	cfg := jetstream.StreamConfig{
		Name: "STORE-" + name, Subjects: []string{prefix + "l.>"}, MaxMsgsPerSubject: -1,
		Metadata: map[string]string{"prefix": prefix},
	}
	if l.limit > 0 {
		cfg.MaxMsgsPerSubject = l.limit
	}
	store := e.StoreOf(cfg)
	ten := func() (last uint64) {
		for i := range 10 {
			last = e.Publish(prefix+[]string{"l.a.x", "l.b.x"}[i%2], "x")
		}
		return last
	}
	last := ten()
	if l.before != nil {
		l.before(t, e, store)
	}
	filter := wire.AllStreams
	if l.filter != "" {
		filter = prefix + l.filter
	}
	r := e.Record("to."+name, harness.Ack)
	e.Subscribe(name, client.Spec{
		Store: cfg.Name, Selector: client.Selector{ByStream: []string{filter}}, Start: client.FromAll(),
		Deliver: client.Deliver{Subject: "to." + name}, OnGap: onGap, OrderBy: client.OrderBySubject(),
	})
	e.AwaitFloor(name, last)
	paused := func() {
		if _, err := e.Client.Pause(e.Context(), name); err != nil {
			t.Fatal(err)
		}
		e.AwaitPool(name, "the pause", func(p *wire.Pool) error { return is(p.State, wire.PoolPaused) })
	}
	paused()
	ten()
	if l.lose != nil {
		l.lose(t, e, store)
	}

	pauses := resumed(t, e, name, store)
	paused() // a pool that stops is told of all that it has passed
	got := r.Sequences()
	slices.Sort(got)
	if want := l.want; !slices.Equal(slices.Compact(got), want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	if gap := told(t, e, name, l.gap.Count); gap != l.gap {
		t.Errorf("told of %+v, want %+v", gap, l.gap)
	}
	if wants := onGap == wire.GapPause && l.gap.Kind != ""; (pauses > 0) != wants {
		t.Errorf("it paused %d times, want that it does: %v", pauses, wants)
	}
}

func is[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("it is %v, want %v", got, want)
	}
	return nil
}

// resumed resumes a subscription, again whenever it pauses, until it has come to
// the end of its store. It returns how often it paused.
func resumed(t *testing.T, e *harness.Env, name string, store jetstream.Stream) (pauses int) {
	t.Helper()
	resume := func() {
		if _, err := e.Client.Resume(e.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	resume()
	info, err := store.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.Await(name+" at the end of its store", func() error {
		got := e.Get(name)
		switch {
		case got.Subscription.Paused && got.Pool != nil && got.Pool.State == wire.PoolPaused:
			pauses++
			resume()
		case got.Pool != nil && got.Pool.Checkpoint.Floor >= info.State.LastSeq:
			return nil
		}
		return errors.New("it is not")
	})
	return pauses
}

// told is what the advisories about lost events say, as one gap, once they say
// as many as wanted.
func told(t *testing.T, e *harness.Env, name string, count uint64) (all wire.Gap) {
	t.Helper()
	ns := wire.DefaultNamespace
	type key struct{ from, to uint64 }
	e.Await("word of the losses", func() error {
		all = wire.Gap{}
		seen := map[key]bool{} // a paused pool meets its gap again
		for _, msg := range e.Stored(ns.StreamAdvisories(), ns.Advisory(wire.AdvEventLost, name)) {
			var a struct {
				Data wire.Gap `json:"data"`
			}
			if err := json.Unmarshal(msg.Data, &a); err != nil {
				return err
			}
			g := a.Data
			if k := (key{g.From, g.To}); !seen[k] {
				seen[k] = true
				if all.From == 0 || g.From < all.From {
					all.From = g.From
				}
				all.To, all.Kind, all.Count = max(all.To, g.To), g.Kind, all.Count+g.Count
			}
		}
		if all.Count < count {
			return fmt.Errorf("told of %+v", all)
		}
		return nil
	})
	return all
}

// Where a subject holds its last event only, events are displaced all the time.
// To a subscription that keeps up with its own those of others are no losses.
func TestLosses_OfOthersWhileItKeepsUpAreNone(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	e.StoreOf(jetstream.StreamConfig{Name: "LAST", Subjects: []string{"last.>"}, MaxMsgsPerSubject: 1})
	r := e.Record("to.last", harness.Ack)
	e.Subscribe("last", client.Spec{
		Store: "LAST", Selector: client.Selector{ByStream: []string{"last.mine.*"}}, Start: client.FromAll(),
		Deliver: client.Deliver{Subject: "to.last"},
	})
	e.Publish("last.mine.0", "x")
	r.AwaitCount(1)
	for i := range 300 { // each of mine on a subject of its own, so that none is displaced
		e.Publish("last.others", "x")
		e.Publish("last.others", "x")
		e.Publish(fmt.Sprint("last.mine.", i+1), "x")
		if i%100 == 99 {
			r.AwaitCount(i + 2)
		}
	}
	if _, err := e.Client.Pause(e.Context(), "last"); err != nil {
		t.Fatal(err)
	}
	p := e.AwaitPool("last", "the pause", func(p *wire.Pool) error { return is(p.State, wire.PoolPaused) })
	if p.Gap != nil {
		t.Errorf("it was told of the gap %+v, want none", p.Gap)
	}
}
