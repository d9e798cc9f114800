package reader

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// What a store knows of its members and readers, whoever says what and when.

// owned is a store whose rounds and readers a property drives by hand: its feeds
// bring nothing.
type owned struct {
	*env
	rt     *rapid.T
	store  *Store
	now    info
	pools  []*pool.Pool
	at     map[*pool.Pool]uint64          // where each pool was at the last check
	retire map[*pool.Pool]<-chan struct{} // those that retire
	made   int
}

func (o *owned) one() *pool.Pool {
	if len(o.pools) == 0 {
		return nil
	}
	return rapid.SampledFrom(o.pools).Draw(o.rt, "pool")
}

func (o *owned) reader() *reader {
	rs := o.store.allReaders()
	if len(rs) == 0 {
		return nil
	}
	slices.SortFunc(rs, func(a, b *reader) int { return int(a.position.Load()) - int(b.position.Load()) })
	return rapid.SampledFrom(rs).Draw(o.rt, "reader")
}

// attach brings a pool, which often pauses at gaps.
func (o *owned) attach() {
	o.made++
	floor := rapid.Uint64Range(0, o.now.last+2).Draw(o.rt, "floor")
	onGap := rapid.SampledFrom([]string{wire.GapContinue, wire.GapPause}).Draw(o.rt, "on_gap")
	p, rec := o.idleThat(o.rt, fmt.Sprint("p", o.made), floor, onGap)
	o.pools = append(o.pools, p)
	begin := uint64(0)
	if rapid.Bool().Draw(o.rt, "begins there") {
		begin = floor + 1
	}
	o.store.attach(p, rec, begin)
}

// takeOff lets a pool leave the store, or retire.
func (o *owned) takeOff(p *pool.Pool, retire bool) {
	o.pools = slices.DeleteFunc(o.pools, func(other *pool.Pool) bool { return other == p })
	if retire {
		o.retire[p] = o.store.retire(p)
	} else {
		o.store.detach(p)
	}
}

// read has a reader take an event, perhaps behind a hole.
func (o *owned) read(r *reader) {
	to := r.position.Load() + rapid.Uint64Range(1, 3).Draw(o.rt, "further")
	o.now.last = max(o.now.last, to)
	r.handle(o.rt.Context(), feed.Msg{Sequence: to, Subject: "e.0.made", Pending: 5})
}

// look makes the part of a round that follows a look.
func (o *owned) look() {
	ended, end := context.WithCancel(o.rt.Context())
	end() // so that no feed reads
	o.now.look = o.store.looks.begun.Add(1)
	o.now.first = rapid.Uint64Range(o.now.first, o.now.last).Draw(o.rt, "first")
	o.store.noteInfo(o.now)
	o.store.holdCaptured(ended, o.now.sourcing)
	o.store.closeIdle()
	o.store.ensureHead(ended, o.now)
	o.store.place(ended, o.now)
}

func (o *owned) step() {
	switch rapid.SampledFrom([]string{"attach", "detach", "retire", "read", "read", "read", "no room", "room", "look", "look", "merge", "lose"}).Draw(o.rt, "step") {
	case "attach":
		o.attach()
	case "detach", "retire":
		if p := o.one(); p != nil {
			o.takeOff(p, rapid.Bool().Draw(o.rt, "retires"))
		}
	case "read":
		if r := o.reader(); r != nil {
			o.read(r)
		}
	case "no room":
		o.noRoom()
	case "room":
		if p := o.one(); p != nil {
			o.store.inbox.add(notice{pool: p})
		}
	case "look":
		o.look()
	case "merge":
		o.store.mergeArrived()
	case "lose":
		if rapid.IntRange(0, 9).Draw(o.rt, "seldom") == 0 {
			o.now.created = o.now.created.Add(time.Second)
		}
	}
}

// noRoom has a pool leave its reader as if it had no room.
func (o *owned) noRoom() {
	p, r := o.one(), o.reader()
	if p == nil || r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.index.Has(p) {
		r.drop(p, p.Position())
		o.store.inbox.add(notice{pool: p, left: r, passed: slices.Clone(r.holes)})
	}
}

// check fails unless members, sets and readers agree.
func (o *owned) check() {
	s := o.store
	s.lock()
	defer s.mu.Unlock()
	under := map[*pool.Pool]*reader{}
	for _, r := range s.readers() {
		r.index.Keys(func(p *pool.Pool) {
			if under[p] != nil || s.roster.all[p] == nil {
				o.rt.Fatalf("%s is under two readers, or no member", p.Name())
			}
			under[p] = r
		})
	}
	for p, m := range s.roster.all {
		if m.reader != under[p] || (m.state == reading) != (m.reader != nil) {
			o.rt.Fatalf("%s in state %d knows reader %p, and is under %p", p.Name(), m.state, m.reader, under[p])
		}
		if m.hole == nil && m.state == atHole || m.hole != nil && slices.Contains([]memberState{fresh, waiting, reading, noRoom}, m.state) {
			o.rt.Fatalf("%s in state %d is at the hole %v", p.Name(), m.state, m.hole)
		}
		open := m.state == fresh || m.state.wantsReader() || len(m.passed) > 0
		if _, is := s.roster.open.in[m]; is != open {
			o.rt.Fatalf("%s in state %d with %d holes is among the open ones: %v", p.Name(), m.state, len(m.passed), is)
		}
		if at := p.Position(); at < o.at[p] {
			o.rt.Fatalf("%s went back from %d to %d", p.Name(), o.at[p], at)
		}
		o.at[p] = p.Position()
	}
	for _, set := range []memberSet{s.roster.open, s.roster.unreported} {
		for m := range set.in {
			if s.roster.all[m.pool] != m {
				o.rt.Fatalf("%s is in a set, but no member", m.pool.Name())
			}
		}
	}
	for p, judged := range o.retire {
		select {
		case <-judged:
			if s.roster.all[p] != nil {
				o.rt.Fatalf("%s has retired, and is a member", p.Name())
			}
		default:
			if s.roster.all[p] == nil {
				o.rt.Fatalf("%s retires for ever", p.Name())
			}
		}
	}
}

func TestStore_MembersAndReadersAgreeWhoeverSaysWhat(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	rapid.Check(t, func(rt *rapid.T) {
		o := &owned{
			env: e, rt: rt, store: bare(e), now: info{first: 1, last: 1, created: time.Now(), missingKnown: true},
			at: map[*pool.Pool]uint64{}, retire: map[*pool.Pool]<-chan struct{}{},
		}
		o.store.cfg.tune.span = rapid.Uint64Range(0, 3).Draw(rt, "span")
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			o.step()
			o.check()
		}
		for len(e.paused) > 0 {
			<-e.paused // nobody else reads it, however many runs there are
		}
		o.store.closeAll()
		o.check()
		o.store.waiters.Wait()
	})
}

// Callbacks of feeds must not want what a round may hold.
func TestReader_HandlesMessagesWhileItsStoreIsLocked(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	s := bare(e)
	s.cfg.tune.patience = 0
	s.withHead(1)
	r := newReader(s, 0, nil)
	pausing, full := e.subscribe("pausing", ">", 0, false, pauses), e.subscribe("full", ">", 0, true, func(cfg *pool.Config) { cfg.Budget = core.NewBudget(1) })
	for _, sub := range []*subscriber{pausing, full} {
		if ok, err := join(r, sub.pool, 0); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	done := make(chan struct{})
	s.mu.Lock()
	go func() {
		defer close(done)
		for _, seq := range []uint64{1, 2, 5} { // the last behind a hole, and beyond the head
			r.handle(t.Context(), feed.Msg{Sequence: seq, Subject: "e.0.made"})
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it wants the store's lock")
	}
	s.mu.Unlock()
	<-done
	if n := r.index.Len(); n > 0 || !r.arrived.Load() {
		t.Errorf("%d pools have not left, and it has arrived: %v", n, r.arrived.Load())
	}
}
