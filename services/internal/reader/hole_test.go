package reader

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestRanges_AreJoinedCutAndCounted(t *testing.T) {
	t.Parallel()
	rs := rangesOf([]uint64{9, 3, 4, 5, 12, 11, 20})
	if diff := cmp.Diff(ranges{{3, 5}, {9, 9}, {11, 12}, {20, 20}}, rs); diff != "" {
		t.Errorf("ranges (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		from, to uint64
		want     ranges
		count    uint64
	}{
		{0, 100, rs, 7},
		{4, 11, ranges{{4, 5}, {9, 9}, {11, 11}}, 4},
		{6, 8, nil, 0},
		{13, 19, nil, 0},
		{5, 5, ranges{{5, 5}}, 1},
		{12, 20, ranges{{12, 12}, {20, 20}}, 2},
		{21, 30, nil, 0},
		{10, 9, nil, 0},
	} {
		got := rs.within(tt.from, tt.to)
		if diff := cmp.Diff(tt.want, got); diff != "" || got.count() != tt.count {
			t.Errorf("within %d..%d: %d sequences, want %d (-want +got):\n%s", tt.from, tt.to, got.count(), tt.count, diff)
		}
	}
}

// What a reader did not see may be none of its pools' business: only where it
// asked for everything is each missing sequence a loss.
func TestHoles_TellLossesFromWhatWasNotAskedFor(t *testing.T) {
	t.Parallel()
	store := info{first: 10, last: 100, look: 2, missing: ranges{{20, 22}, {90, 91}}, missingKnown: true}
	type told struct {
		Front, Middle ranges
		Younger       int
	}
	for _, tt := range []struct {
		name string
		hole hole
		want told
	}{
		{"all was asked for", hole{from: 30, to: 40, all: true, last: 100}, told{Middle: ranges{{30, 40}}}},
		{"a part was asked for", hole{from: 15, to: 95, last: 100}, told{Middle: ranges{{20, 22}, {90, 91}}}},
		{"a part, and some was stored since the last look", hole{from: 15, to: 95, last: 90}, told{Middle: ranges{{20, 22}, {90, 90}}}},
		{"a part, all of it stored since", hole{from: 15, to: 95, last: 12}, told{}},
		{"nothing is missing there", hole{from: 30, to: 40, last: 100}, told{}},
		{"the front and behind it", hole{from: 5, to: 21, last: 100}, told{Front: ranges{{5, 9}}, Middle: ranges{{20, 21}}}},
		{"the front alone", hole{from: 5, to: 9, all: true, last: 100}, told{Front: ranges{{5, 9}}}},
		{"met after the look", hole{from: 30, to: 40, all: true, look: 2}, told{Younger: 1}},
	} {
		lost, younger := holes{tt.hole}.judge(store)
		got := told{lost.front, lost.middle, len(younger)}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// Holes that are joined have events between them, so that the store has to say
// which are missing.
func TestHoles_ThatAreJoinedAreNoRangeOfLosses(t *testing.T) {
	t.Parallel()
	var js holes
	for i := range uint64(maxHoles + 1) {
		js = js.with(hole{from: 10 * i, to: 10*i + 2, all: true})
	}
	if j := js[len(js)-1]; len(js) != maxHoles || j.all || j.from != 10*(maxHoles-1) || j.to != 10*maxHoles+2 {
		t.Errorf("the last of %d is %+v, want both in one, not all of it missing", len(js), j)
	}
}

func TestGap_SaysWhereAndHowMany(t *testing.T) {
	t.Parallel()
	m := &member{rec: &wire.Record{Generation: 3}}
	got := m.gap(wire.GapMiddle, ranges{{3, 5}, {9, 9}})
	if got.From != 3 || got.To != 9 || got.Count != 4 || got.Kind != wire.GapMiddle || got.Generation != 3 || got.At.IsZero() {
		t.Errorf("gap = %+v, want 4 of 3 to 9", got)
	}
}
