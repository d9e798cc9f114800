package reader

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestDecide_WhatBecomesOfAMemberThatWantsAReader(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	store := info{first: 10, last: 100, created: created, look: 5}
	for _, tt := range []struct {
		name string
		is   situation
		want action
	}{
		{"within the store", situation{position: 50, reach: 60}, proceed},
		{"before its front", situation{position: 3, reach: 3}, proceed},
		{"at its end", situation{position: 100, reach: 100}, proceed},
		{"it began in this store", situation{created: created, position: 50, reach: 50}, proceed},
		{"it began in another one", situation{created: created.Add(1), position: 50, reach: 50}, waitForStore},
		{"another one, which is shorter", situation{created: created.Add(1), position: 150, reach: 150}, waitForStore},
		{"what it has read is lost", situation{endLost: true, position: 50, reach: 50}, halt},
		{"it is to begin behind the end", situation{begin: 121, position: 120, reach: 120}, waitForBeginning},
		{"that is near", situation{begin: 102, position: 101, reach: 101}, waitForBeginning},
		{"it is to begin right at the end", situation{begin: 101, position: 100, reach: 100}, proceed},
		{"it has read more than it was to begin at", situation{begin: 121, position: 120, reach: 125}, lookAgain},
		{"it is before what it was to begin at", situation{begin: 121, position: 110, reach: 110}, lookAgain},
		{"it has read beyond the end", situation{position: 101, reach: 101}, lookAgain},
		{"it has finished beyond the end", situation{position: 50, reach: 101}, lookAgain},
		{"the next look says the same", situation{state: aheadOfStore, position: 101, reach: 101}, loseEnd},
		{"the store has grown since", situation{state: aheadOfStore, position: 100, reach: 100}, proceed},
		{"it left at a hole after the look", situation{hole: &hole{look: 5}, position: 50, reach: 50}, waitForLook},
		{"it left at a hole before the look", situation{hole: &hole{look: 4}, position: 50, reach: 50}, proceed},
	} {
		tt.is.store = store
		if got := tt.is.decide(); got != tt.want {
			t.Errorf("%s: action %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestDecide_AGapIsPassedOnceItWasToldAndPausedFor(t *testing.T) {
	t.Parallel()
	gap := wire.Gap{From: 21, To: 50, Kind: wire.GapFront}
	paused := gap
	paused.Paused = true
	for _, tt := range []struct {
		name   string
		before *wire.Gap
		pauses bool
		tell   *wire.Gap
		goOn   bool
	}{
		{"it goes on at gaps", nil, false, &gap, true},
		{"it pauses at gaps", nil, true, &gap, false},
		{"it was told, but not paused for it", &wire.Gap{From: 21, To: 50}, true, &gap, false},
		{"paused for this one", &wire.Gap{From: 21, To: 50, Paused: true}, true, nil, true},
		{"paused for a part of it", &wire.Gap{From: 21, To: 40, Paused: true}, true, &paused, true},
		{"paused for another one", &wire.Gap{From: 11, To: 20, Paused: true}, true, &gap, false},
	} {
		tell, goOn := judgeGap(gap, tt.before, tt.pauses)
		if diff := cmp.Diff(tt.tell, tell); diff != "" || goOn != tt.goOn {
			t.Errorf("%s: goes on %v, want %v; is told (-want +got):\n%s", tt.name, goOn, tt.goOn, diff)
		}
	}
}

func TestDecide_OnlyAHoleThatComesNextIsPassed(t *testing.T) {
	t.Parallel()
	store := info{first: 10, last: 100, look: 5}
	for _, tt := range []struct {
		name    string
		is      situation
		gone    ranges
		missing ranges
		behind  uint64
	}{
		{"no hole", situation{position: 50}, nil, nil, 9},
		{"the front is gone", situation{position: 3}, ranges{{4, 9}}, nil, 9},
		{"the front has come to it", situation{position: 9}, nil, nil, 9},
		{"a hole", situation{position: 50, hole: &hole{from: 51, to: 60, all: true}}, nil, ranges{{51, 60}}, 60},
		{"a hole over the front", situation{position: 3, hole: &hole{from: 4, to: 12, all: true}}, ranges{{4, 9}}, ranges{{10, 12}}, 12},
		{"a hole that the front has passed", situation{position: 3, hole: &hole{from: 4, to: 6, all: true}}, ranges{{4, 9}}, nil, 9},
		{"a hole that it has read of", situation{position: 50, hole: &hole{from: 50, to: 60, all: true}}, nil, nil, 9},
		{"a hole later on", situation{position: 50, hole: &hole{from: 52, to: 60, all: true}}, nil, nil, 9},
	} {
		tt.is.store = store
		lost, to := tt.is.passes()
		if diff := cmp.Diff([]ranges{tt.gone, tt.missing}, []ranges{lost.front, lost.middle}); diff != "" || to != tt.behind {
			t.Errorf("%s: goes on behind %d, want %d; lost (-want +got):\n%s", tt.name, to, tt.behind, diff)
		}
	}
}

// drawSituation draws a store and a member of it. Present are the events that the
// store holds.
func drawSituation(t *rapid.T) (is situation, present map[uint64]bool) {
	last := rapid.Uint64Range(1, 40).Draw(t, "last")
	first := rapid.Uint64Range(1, last+1).Draw(t, "first")
	present = map[uint64]bool{}
	var gone []uint64
	for seq := first; seq <= last; seq++ {
		if present[seq] = rapid.Bool().Draw(t, "present"); !present[seq] {
			gone = append(gone, seq)
		}
	}
	position := rapid.Uint64Range(0, last+3).Draw(t, "position")
	is = situation{
		store:    info{first: first, last: last, look: 3, missing: rangesOf(gone), missingKnown: true},
		position: position, reach: position + rapid.Uint64Range(0, 3).Draw(t, "beyond"),
		begin: rapid.Uint64Range(0, last+5).Draw(t, "begin"),
		state: rapid.SampledFrom([]memberState{waiting, aheadOfStore, atHole}).Draw(t, "state"),
	}
	if rapid.Bool().Draw(t, "at a hole") {
		is.hole = drawHole(t, is, present)
	}
	return is, present
}

// drawHole draws a hole that a member met where it is, or has passed in part under
// an earlier reader; nil if there is none.
func drawHole(t *rapid.T, is situation, present map[uint64]bool) *hole {
	from := max(1, is.position+1-min(is.position, rapid.Uint64Range(0, 2).Draw(t, "before")))
	to := from - 1
	for to < is.store.last && !present[to+1] {
		to++
	}
	if to < from {
		return nil
	}
	to = rapid.Uint64Range(from, to).Draw(t, "to") // the front may have moved since
	look := rapid.Uint64Range(2, 3).Draw(t, "look")
	return &hole{from: from, to: to, last: is.store.last, look: look, all: rapid.Bool().Draw(t, "all")}
}

// A member goes on only where the store can have what comes next. It passes no
// event that is there, and each that is not is told.
func TestDecide_NothingIsPassedThatIsThereOrIsNotTold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		is, present := drawSituation(t)
		if is.decide() != proceed {
			if is.reach <= is.store.last && (is.hole == nil || is.hole.look < is.store.look) {
				t.Fatalf("it does not go on: %+v", is)
			}
			return
		}
		if is.reach > is.store.last {
			t.Fatalf("it goes on beyond the end of the store: %+v", is)
		}
		told := map[uint64]string{}
		lost, to := is.passes()
		for name, rs := range map[string]ranges{"front": lost.front, "middle": lost.middle} {
			for _, r := range rs {
				for seq := r[0]; seq <= r[1]; seq++ {
					if other, twice := told[seq]; twice {
						t.Fatalf("%d is told as %s and %s: %+v", seq, name, other, is)
					}
					told[seq] = name
				}
			}
		}
		for seq := is.position + 1; seq <= to; seq++ {
			if present[seq] || told[seq] == "" {
				t.Fatalf("it passes %d, present %v, told %q: %+v", seq, present[seq], told[seq], is)
			}
			delete(told, seq)
		}
		if len(told) > 0 {
			t.Fatalf("it is told of %v, which it does not pass: %+v", told, is)
		}
	})
}

func TestStall_CountsTheLooksThatFindAReaderWhereItWas(t *testing.T) {
	t.Parallel()
	type look struct {
		reached, last uint64
		offering      bool
		looks         int
		moved         bool
	}
	for name, looks := range map[string][]look{
		"it moves":                {{1, 9, false, 0, true}, {2, 9, false, 0, true}},
		"it stands":               {{0, 9, false, 1, false}, {0, 9, false, 2, false}, {0, 9, false, 3, false}},
		"it stands at the end":    {{9, 9, false, 0, true}, {9, 9, false, 0, false}},
		"beyond the end":          {{9, 8, false, 0, true}, {9, 8, false, 0, false}},
		"it goes on":              {{0, 9, false, 1, false}, {1, 9, false, 0, true}, {1, 9, false, 1, false}},
		"it waits for a pool":     {{1, 9, true, 0, true}, {1, 9, true, 1, true}, {1, 9, true, 2, true}, {1, 9, false, 0, false}, {1, 9, false, 1, false}},
		"it waits at the end":     {{9, 9, true, 0, true}, {9, 9, true, 1, true}, {9, 9, false, 0, false}},
		"it offers one by one":    {{1, 9, true, 0, true}, {2, 9, true, 0, true}, {3, 9, true, 0, true}},
		"more comes while it has": {{9, 9, false, 0, true}, {9, 9, false, 0, false}, {9, 12, false, 1, false}},
	} {
		var s stall
		for i, l := range looks {
			var moved bool
			if s, moved = s.next(l.reached, l.offering, l.last); s.looks != l.looks || moved != l.moved {
				t.Errorf("%s: look %d finds it moved %v, and standing for %d looks; want %v, %d", name, i+1, moved, s.looks, l.moved, l.looks)
			}
		}
	}
}

// A look that began before the hole was met says nothing of it.
func TestPlace_AMemberAtAHoleWaitsForALaterLook(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	s := bare(e)
	p, rec := e.idleThat(t, "p", 50, wire.GapPause)
	s.attach(p, rec, 0)
	m, r := s.roster.all[p], newReader(s, 50, nil)
	s.head.Store(r)
	s.looks.begun.Store(7)
	if !s.put(m, r) {
		t.Fatal("not under the reader")
	}
	r.take(t.Context(), at(61))
	p.Began(60, nil, true)
	for _, tt := range []struct {
		look  uint64
		state memberState
	}{{7, atHole}, {8, halted}} {
		s.place(t.Context(), info{first: 51, last: 61, look: tt.look, missing: ranges{{51, 60}}, missingKnown: true})
		if m.state != tt.state {
			t.Errorf("by look %d its state is %d, want %d", tt.look, m.state, tt.state)
		}
	}
}

// What feeds and pools say changes a member when the store's lock is next taken.
func TestInbox_IsTakenInWithTheStoresLock(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	for _, tt := range []struct {
		name  string
		then  func(s *Store, r *reader, m *member)
		state memberState
		holes int // that are still to be judged for it
	}{
		{"it stays", func(*Store, *reader, *member) {}, reading, 0},
		{"it leaves at a hole", func(_ *Store, r *reader, m *member) { r.leave(m.pool, 60, &hole{from: 61, to: 70}) }, atHole, 1},
		{"it has no room", func(s *Store, r *reader, m *member) {
			s.inbox.add(notice{pool: m.pool, left: r})
		}, noRoom, 0},
		{"it has room again", func(s *Store, r *reader, m *member) {
			s.inbox.add(notice{pool: m.pool, left: r})
			s.inbox.add(notice{pool: m.pool})
		}, waiting, 0},
		{"it left, and its reader was closed", func(s *Store, r *reader, m *member) {
			r.leave(m.pool, 60, &hole{from: 61, to: 70})
			s.closeAll()
		}, atHole, 1},
		{"it retired while it left", func(s *Store, r *reader, m *member) {
			s.retire(m.pool)
			s.inbox.add(notice{pool: m.pool, left: r, passed: r.holes})
		}, retiring, 1},
		{"it retired while it had no room", func(s *Store, r *reader, m *member) {
			s.retire(m.pool)
			s.inbox.add(notice{pool: m.pool})
		}, retiring, 1},
	} {
		s := bare(e)
		r := newReader(s, 50, nil)
		p, rec := e.idle(t, fmt.Sprint(tt.name), 50)
		s.attach(p, rec, 0)
		m := s.roster.all[p]
		if !s.put(m, r) {
			t.Fatal("not under the reader")
		}
		r.take(t.Context(), at(61)) // behind a hole
		tt.then(s, r, m)
		s.lock()
		s.mu.Unlock()
		if m.state != tt.state || tt.holes > 0 && len(m.passed) != tt.holes {
			t.Errorf("%s: state %d with %d holes, want %d with %d", tt.name, m.state, len(m.passed), tt.state, tt.holes)
		}
		if gone := m.reader == nil; gone == (tt.state == reading) {
			t.Errorf("%s: it has no reader: %v", tt.name, gone)
		}
	}
}
