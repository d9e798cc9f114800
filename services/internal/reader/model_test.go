package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subjects"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// unruly is JetStream where the next few consumers fail: they cannot be made,
// or deliver to nobody.
type unruly struct {
	jetstream.JetStream
	refuse, deaf atomic.Int32
}

var errRefused = errors.New("no consumer today")

func (u *unruly) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if u.refuse.Add(-1) >= 0 {
		return nil, errRefused
	}
	if u.deaf.Add(-1) >= 0 {
		deafen(&cfg)
	}
	return u.JetStream.CreateConsumer(ctx, stream, cfg)
}

// deafen makes a consumer one that delivers nothing, and says that it lives.
func deafen(cfg *jetstream.ConsumerConfig) {
	until := time.Now().Add(time.Hour)
	cfg.PauseUntil = &until
}

// world is what is known of a store and of its subscribers.
type world struct {
	*env
	rt       *rapid.T
	js       *unruly
	stream   jetstream.Stream
	subjects []string        // of each event; the first has sequence 1
	deleted  map[uint64]bool // may have been delivered, or not
	purged   uint64          // up to here everything is gone from the front of the store
	subs     []*follower
	made     int
}

// follower is a subscriber, what it asks for, where it began, and what it was
// told that it lost.
type follower struct {
	*subscriber
	filters []string
	floor   uint64

	told sync.Mutex
	gaps []*wire.Gap
}

// note is called whenever the follower's pool has moved.
func (f *follower) note() {
	gap := f.pool.Gap()
	f.told.Lock()
	defer f.told.Unlock()
	if gap != nil && !slices.Contains(f.gaps, gap) {
		f.gaps = append(f.gaps, gap)
	}
}

// lost returns the gaps that the follower was told of, and whether it waits at one.
func (f *follower) lost() (gaps []*wire.Gap, waits bool) {
	f.told.Lock()
	defer f.told.Unlock()
	return slices.Clone(f.gaps), len(f.gaps) > 0 && f.rec.Spec.OnGap == wire.GapPause
}

func (w *world) last() uint64 { return uint64(len(w.subjects)) }

// check fails unless what came to a follower is what should, as far as it goes,
// and says whether that is all.
func (w *world) check(f *follower) error {
	f.mu.Lock()
	got := slices.Clone(f.seqs)
	f.mu.Unlock()
	gaps, waits := f.lost()
	last := w.last()
	if waits {
		last = gaps[0].From - 1
	}
	var unnamed error
	for seq := f.floor + 1; seq <= last; seq++ {
		matches := slices.ContainsFunc(f.filters, func(filter string) bool {
			return subjects.Covers(filter, w.subjects[seq-1])
		})
		named := slices.ContainsFunc(gaps, func(g *wire.Gap) bool {
			return g.From <= seq && seq <= g.To && (g.Kind == wire.GapFront || w.deleted[seq])
		})
		came := len(got) > 0 && got[0] == seq
		switch {
		case !matches:
		case came && named:
			w.rt.Fatalf("%s got event %d, and was told that it was lost", f.pool.Name(), seq)
		case came:
			got = got[1:]
		case w.deleted[seq], named:
		case seq <= w.purged:
			unnamed = fmt.Errorf("%s did not get event %d, and was not told", f.pool.Name(), seq)
		case len(got) > 0:
			w.rt.Fatalf("%s got event %d where %d was next", f.pool.Name(), got[0], seq)
		default:
			return fmt.Errorf("%s did not get event %d of %d; it is at %d", f.pool.Name(), seq, w.last(), f.pool.Position())
		}
	}
	if len(got) > 0 {
		w.rt.Fatalf("%s got event %d again, or without asking for it, or behind a gap where it waits", f.pool.Name(), got[0])
	}
	return unnamed
}

// checkGaps fails if a follower was told that it lost what is there.
func (w *world) checkGaps(f *follower) {
	gaps, _ := f.lost()
	for _, g := range gaps {
		var there, gone uint64
		for seq := g.From; seq <= g.To; seq++ {
			if seq > w.purged && !w.deleted[seq] {
				there = seq
			} else {
				gone++
			}
		}
		if g.Kind == wire.GapFront && there > 0 {
			w.rt.Fatalf("%s was told of the gap %d to %d, but event %d is there", f.pool.Name(), g.From, g.To, there)
		}
		if g.Count > gone || g.Count == 0 {
			w.rt.Fatalf("%s was told of %d events lost from %d to %d, of which %d are gone", f.pool.Name(), g.Count, g.From, g.To, gone)
		}
	}
}

// publish stores events of drawn subjects.
func (w *world) publish() {
	tokens := rapid.SliceOfN(rapid.IntRange(0, 11), 1, 40).Draw(w.rt, "events")
	for _, n := range tokens {
		subject := fmt.Sprintf("e.%d.%s", n%6, []string{"made", "gone"}[n/6])
		if _, err := w.js.PublishMsgAsync(&nats.Msg{Subject: w.stream.CachedInfo().Config.Name + "." + subject}); err != nil {
			w.rt.Fatal(err)
		}
		w.subjects = append(w.subjects, subject)
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(20 * time.Second):
		w.rt.Fatal("events not stored in 20 s")
	}
}

// prefixed are filters as the store knows them.
func prefixed(stream string, filters []string) wire.StringList {
	var out wire.StringList
	for _, f := range filters {
		if f != everything[0] {
			f = stream + "." + f
		}
		out = append(out, f)
	}
	return out
}

func (w *world) join() {
	if len(w.subs) == 8 {
		return
	}
	filters := rapid.SampledFrom([][]string{
		{">"}, {"e.0.made"}, {"e.1.*", "e.2.made"}, {"e.*.gone"}, {"e.3.>"}, {"e.4.made"}, {"e.0.*"}, {"e.9.none"},
	}).Draw(w.rt, "filters")
	floor := rapid.Uint64Range(0, w.last()).Draw(w.rt, "floor")
	if rapid.Bool().Draw(w.rt, "beside another") {
		if f := w.one(); f != nil {
			floor = f.pool.Position()
		}
	}
	narrow := rapid.Bool().Draw(w.rt, "narrow")
	slow := rapid.Bool().Draw(w.rt, "slow")
	onGap := rapid.SampledFrom([]string{wire.GapContinue, wire.GapContinue, wire.GapPause}).Draw(w.rt, "on_gap")
	w.made++
	f := &follower{filters: filters, floor: floor}
	f.subscriber = w.subscribe(fmt.Sprintf("s%d", w.made), filters[0], floor, slow, func(cfg *pool.Config) {
		cfg.Record.Spec.Selector.ByStream = prefixed(w.stream.CachedInfo().Config.Name, filters)
		cfg.Record.Spec.Store = w.stream.CachedInfo().Config.Name
		cfg.Record.Spec.OnGap = onGap
		if narrow {
			cfg.Budget = core.NewBudget(200) // a few events, and it is full
		}
		cfg.Moved = f.note
	})
	f.attach()
	w.subs = append(w.subs, f)
}

func (w *world) one() *follower {
	if len(w.subs) == 0 {
		return nil
	}
	return rapid.SampledFrom(w.subs).Draw(w.rt, "who")
}

func (w *world) leave() {
	f := w.one()
	if f == nil {
		return
	}
	w.set.Detach(f.rec.Spec.Store, f.pool)
	_ = w.check(f) // it may have more to come
	w.subs = slices.DeleteFunc(w.subs, func(o *follower) bool { return o == f })
}

// deleteEvents deletes some single events, often the last ones.
func (w *world) deleteEvents() {
	n := rapid.Uint64Range(0, 3).Draw(w.rt, "deleted")
	from := w.last()
	if rapid.Bool().Draw(w.rt, "anywhere") {
		from = rapid.Uint64Range(0, w.last()).Draw(w.rt, "from")
	}
	for seq := from; seq > 1 && seq+n > from; seq-- {
		if w.deleted[seq] || seq <= w.purged {
			continue
		}
		if err := w.stream.DeleteMsg(context.Background(), seq); err != nil {
			w.rt.Fatal(err)
		}
		w.deleted[seq] = true
	}
}

// purge drops events from the front of the store, seldom the last ones.
func (w *world) purge() {
	w.purged = max(w.purged, rapid.Uint64Range(0, w.last()).Draw(w.rt, "purged"))
	if err := w.stream.Purge(context.Background(), jetstream.WithPurgeSequence(w.purged+1)); err != nil {
		w.rt.Fatal(err)
	}
}

// killConsumers deletes the consumers on the server.
func (w *world) killConsumers() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for name := range w.stream.ConsumerNames(ctx).Name() {
		if err := w.stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			w.rt.Fatal(err)
		}
	}
}

// await waits until cond holds.
func (w *world) await(cond func() error) {
	natstest.AwaitWithin(w.rt, "the world to get there", 2*time.Millisecond, 20*time.Second, cond)
}

// meanwhile lets the readers get somewhere before the next step.
func (w *world) meanwhile() {
	if f := w.one(); f != nil {
		at := f.pool.Position()
		deadline := time.Now().Add(10 * time.Millisecond)
		w.await(func() error {
			if f.pool.Position() == at && time.Now().Before(deadline) {
				return errors.New("nothing moves")
			}
			return nil
		})
	}
}

// Whatever pools and readers do, each pool gets each event that it asks for
// once, in order, or is told that it was lost, and arrives at the head, or stops
// at a gap.
func TestReadersLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	var runs int
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		name := fmt.Sprintf("RUN%d", runs)
		stream, err := js.CreateStream(rt.Context(), jetstream.StreamConfig{
			Name: name, Subjects: []string{name + ".>"}, Storage: jetstream.MemoryStorage,
		})
		if err != nil {
			rt.Fatal(err)
		}
		rt.Cleanup(func() { _ = js.DeleteStream(context.Background(), name) })
		u := &unruly{JetStream: js}
		w := &world{rt: rt, js: u, stream: stream, deleted: map[uint64]bool{}}
		w.env = newEnvOn(rt, js, Config{
			JetStream: u, MaxReaders: rapid.IntRange(2, 4).Draw(rt, "readers"),
			tune: tuning{
				look:       10 * time.Millisecond,
				rest:       rapid.SampledFrom([]time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond}).Draw(rt, "rest"),
				stillLooks: 10, patience: 30 * time.Millisecond, closeTimeout: 3 * callTimeout,
				span:    rapid.Uint64Range(0, 30).Draw(rt, "span"),
				backlog: rapid.Uint64Range(1, 20).Draw(rt, "many"),
			},
		})
		w.publish()
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			w.step()
		}
		w.end()
	})
}

func (w *world) step() {
	switch rapid.SampledFrom([]string{
		"publish", "publish", "join", "join", "join", "leave", "hold up", "release", "delete", "purge", "kill", "refuse", "deaf", "meanwhile", "meanwhile",
	}).Draw(w.rt, "step") {
	case "publish":
		w.publish()
	case "join":
		w.join()
	case "leave":
		w.leave()
	case "hold up":
		if f := w.one(); f != nil {
			f.holdUp()
		}
	case "release":
		if f := w.one(); f != nil {
			f.release()
		}
	case "delete":
		w.deleteEvents()
	case "purge":
		w.purge()
	case "kill":
		w.killConsumers()
	case "refuse":
		w.js.refuse.Store(1)
	case "deaf":
		w.js.deaf.Store(1)
	case "meanwhile":
		w.meanwhile()
	}
}

// end lets everybody go on: they arrive at the head, with all that they asked for.
func (w *world) end() {
	for _, f := range w.subs {
		f.release()
	}
	w.js.refuse.Store(0)
	w.js.deaf.Store(0)
	for range 2 { // the second time all read at the head
		for _, f := range w.subs {
			w.await(func() error {
				if _, waits := f.lost(); waits {
					return w.check(f)
				}
				return errors.Join(w.check(f), f.in(wire.PoolLive, ""))
			})
		}
		w.publish()
	}
	for _, f := range w.subs {
		w.await(func() error { return w.check(f) })
		w.checkGaps(f)
	}
}
