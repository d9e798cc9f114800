package checkpoint_test

import (
	"encoding/json"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/checkpoint"
)

func TestRestoreReadsAnyCheckpoint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cp   wire.Checkpoint
		want wire.Checkpoint
	}{
		{"empty", wire.Checkpoint{}, wire.Checkpoint{}},
		{"plain", wire.Checkpoint{Floor: 7, Ranges: [][2]uint64{{9, 9}, {11, 20}}}, wire.Checkpoint{Floor: 7, Ranges: [][2]uint64{{9, 9}, {11, 20}}}},
		{"range at the floor", wire.Checkpoint{Floor: 7, Ranges: [][2]uint64{{8, 9}, {11, 20}}}, wire.Checkpoint{Floor: 9, Ranges: [][2]uint64{{11, 20}}}},
		{"ranges below the floor", wire.Checkpoint{Floor: 7, Ranges: [][2]uint64{{1, 3}, {5, 7}}}, wire.Checkpoint{Floor: 7}},
		{"out of order, overlapping and touching", wire.Checkpoint{Ranges: [][2]uint64{{8, 9}, {3, 5}, {4, 7}}}, wire.Checkpoint{Ranges: [][2]uint64{{3, 9}}}},
		{"backwards", wire.Checkpoint{Floor: 1, Ranges: [][2]uint64{{9, 4}}}, wire.Checkpoint{Floor: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := checkpoint.Restore(tt.cp)
			if diff := cmp.Diff(tr.Snapshot(0), tt.want); diff != "" {
				t.Errorf("snapshot (-got +want):\n%s", diff)
			}
		})
	}
}

func TestSnapshotTakesEverythingReadForFinishedButWhatIsOpen(t *testing.T) {
	t.Parallel()
	tr := checkpoint.Restore(wire.Checkpoint{Floor: 10})
	marks := map[uint64]*checkpoint.Mark{}
	for _, seq := range []uint64{12, 15, 16, 19} {
		marks[seq] = new(checkpoint.Mark)
		tr.Add(marks[seq], seq)
	}
	for _, step := range []struct {
		done     uint64
		position uint64
		want     wire.Checkpoint
	}{
		{0, 19, wire.Checkpoint{Floor: 11, Ranges: [][2]uint64{{13, 14}, {17, 18}}}},
		{0, 18, wire.Checkpoint{Floor: 11, Ranges: [][2]uint64{{13, 14}, {17, 18}}}},
		{16, 30, wire.Checkpoint{Floor: 11, Ranges: [][2]uint64{{13, 14}, {16, 18}, {20, 30}}}},
		{12, 30, wire.Checkpoint{Floor: 14, Ranges: [][2]uint64{{16, 18}, {20, 30}}}},
		{12, 30, wire.Checkpoint{Floor: 14, Ranges: [][2]uint64{{16, 18}, {20, 30}}}},
		{19, 30, wire.Checkpoint{Floor: 14, Ranges: [][2]uint64{{16, 30}}}},
		{15, 30, wire.Checkpoint{Floor: 30}},
	} {
		if m := marks[step.done]; m != nil {
			tr.Done(m)
		}
		if diff := cmp.Diff(tr.Snapshot(step.position), step.want); diff != "" {
			t.Errorf("after %d is done (-got +want):\n%s", step.done, diff)
		}
	}
	if tr.Open() != 0 {
		t.Errorf("open = %d, want 0", tr.Open())
	}
}

// TestAnUnfinishedEventDoesNotHoldFinishedOnesInMemory: a blocked lane may
// stay for days, and others pass it.
func TestAnUnfinishedEventDoesNotHoldFinishedOnesInMemory(t *testing.T) {
	t.Parallel()
	tr := checkpoint.Restore(wire.Checkpoint{})
	var blocked checkpoint.Mark
	tr.Add(&blocked, 1)
	gone := make(chan struct{})
	func() {
		m := new(checkpoint.Mark)
		runtime.AddCleanup(m, func(struct{}) { close(gone) }, struct{}{})
		tr.Add(m, 2)
		tr.Done(m)
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-gone:
			if _, ok := tr.Oldest(); !ok {
				t.Error("the blocked event is not open")
			}
			return
		default:
		}
	}
	t.Error("a finished mark is still held")
}

// model is the naive reading: a set of finished and one of unfinished events.
type model struct {
	*rapid.T
	last     uint64          // of the store
	matches  map[uint64]bool // whether an event matches
	finished map[uint64]bool // by this owner, or as it knows from the checkpoint

	tr       *checkpoint.Tracker
	position uint64
	given    map[uint64]*checkpoint.Mark // by this owner, unfinished
	stored   wire.Checkpoint
	known    map[uint64]bool // finished when stored was written
}

func (m *model) Read(t *rapid.T) {
	for range rapid.IntRange(1, 5).Draw(t, "n") {
		m.position++
		seq := m.position
		if m.position > m.last {
			m.last = m.position
			m.matches[seq] = rapid.Bool().Draw(t, "matches")
		}
		restored := m.tr.Finished(seq, seq)
		switch {
		case restored && m.matches[seq] && !m.known[seq]:
			t.Fatalf("%d is unfinished, but would not be given again", seq)
		case !restored && m.known[seq]:
			t.Fatalf("%d was finished when the checkpoint was written, and is given again", seq)
		}
		if m.matches[seq] && !restored {
			m.given[seq] = new(checkpoint.Mark)
			m.tr.Add(m.given[seq], seq)
		}
	}
}

func (m *model) Finish(t *rapid.T) {
	if len(m.given) == 0 {
		return
	}
	var seqs []uint64
	for seq := range m.given {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	seq := rapid.SampledFrom(seqs).Draw(t, "seq")
	m.tr.Done(m.given[seq])
	m.tr.Done(m.given[seq]) // again changes nothing
	delete(m.given, seq)
	m.finished[seq] = true
}

func (m *model) Write(t *rapid.T) {
	b, err := json.Marshal(m.tr.Snapshot(m.position))
	if err != nil {
		t.Fatal(err)
	}
	m.stored = wire.Checkpoint{}
	if err := json.Unmarshal(b, &m.stored); err != nil {
		t.Fatal(err)
	}
	for seq := range m.finished {
		m.known[seq] = true
	}
}

func (m *model) Crash(*rapid.T) {
	m.tr = checkpoint.Restore(m.stored)
	m.position = m.tr.Floor()
	clear(m.given)
	m.finished = maps.Clone(m.known) // what was finished since the write is lost
}

func (m *model) Check(t *rapid.T) {
	if got, want := m.tr.Open(), len(m.given); got != want {
		t.Fatalf("open = %d, want %d", got, want)
	}
	cp := m.tr.Snapshot(m.position)
	if n := len(cp.Ranges); n > m.tr.Ranges()+len(m.stored.Ranges) {
		t.Fatalf("%d ranges in %v, but %d were announced", n, cp, m.tr.Ranges())
	}
	prev := cp.Floor
	for _, r := range cp.Ranges {
		if r[0] <= prev+1 || r[1] < r[0] {
			t.Fatalf("ranges of %v are not ascending, disjoint and apart", cp)
		}
		prev = r[1]
	}
	again := checkpoint.Restore(cp)
	for seq := uint64(1); seq <= m.last; seq++ {
		covered := again.Finished(seq, seq)
		unfinished := m.matches[seq] && !m.finished[seq]
		if covered && unfinished {
			t.Fatalf("%v covers %d, which is unfinished", cp, seq)
		}
		if !covered && seq <= m.position && m.given[seq] == nil {
			t.Fatalf("%v does not cover %d, which is read and not open", cp, seq)
		}
		if !covered && m.known[seq] {
			t.Fatalf("%v forgot %d, which the checkpoint before it had", cp, seq)
		}
	}
	if oldest, ok := m.tr.Oldest(); ok && (m.given[oldest] == nil || cp.Floor != oldest-1) {
		t.Fatalf("oldest = %d, floor = %d", oldest, cp.Floor)
	}
}

// TestNoOwnerForgetsOrRepeats holds the tracker against the naive reading over
// any number of owners, each of which may die early in re-reading.
func TestNoOwnerForgetsOrRepeats(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{
			tr: checkpoint.Restore(wire.Checkpoint{}), matches: map[uint64]bool{}, finished: map[uint64]bool{},
			given: map[uint64]*checkpoint.Mark{}, known: map[uint64]bool{},
		}
		t.Repeat(map[string]func(*rapid.T){"read": m.Read, "finish": m.Finish, "write": m.Write, "crash": m.Crash, "": m.Check})
	})
}

func TestFinishedOfARangeIsFinishedOfEachOfIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cp := wire.Checkpoint{Floor: rapid.Uint64Range(0, 10).Draw(t, "floor")}
		for range rapid.IntRange(0, 4).Draw(t, "ranges") {
			from := rapid.Uint64Range(1, 30).Draw(t, "from")
			cp.Ranges = append(cp.Ranges, [2]uint64{from, from + rapid.Uint64Range(0, 5).Draw(t, "more")})
		}
		tr := checkpoint.Restore(cp)
		from := rapid.Uint64Range(1, 40).Draw(t, "a")
		to := rapid.Uint64Range(from, 41).Draw(t, "b")
		want := true
		for seq := from; seq <= to; seq++ {
			in := seq <= cp.Floor || slices.ContainsFunc(cp.Ranges, func(r [2]uint64) bool { return r[0] <= seq && seq <= r[1] })
			if got := tr.Finished(seq, seq); got != in {
				t.Fatalf("Finished(%d) of %v = %v", seq, cp, got)
			}
			want = want && in
		}
		if got := tr.Finished(from, to); got != want {
			t.Fatalf("Finished(%d, %d) of %v = %v, want %v", from, to, cp, got, want)
		}
	})
}
