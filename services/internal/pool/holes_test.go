package pool_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestHoles_ThatWereThereBeforeAreNoLosses(t *testing.T) {
	type rs = [][2]uint64
	for _, tt := range []struct {
		name   string
		began  func(b *bed)
		holes  rs
		losses rs
	}{
		{"nobody knows yet", func(*bed) {}, rs{{5, 9}}, nil},
		{"the store was whole", func(b *bed) { b.Began(100, nil, true) }, rs{{5, 9}, {101, 102}}, rs{{5, 9}, {101, 102}}},
		{"a part was missing", func(b *bed) { b.Began(100, rs{{6, 7}, {50, 60}}, true) }, rs{{5, 9}, {50, 60}}, rs{{5, 5}, {8, 9}}},
		{"what was missing reaches over the end", func(b *bed) { b.Began(100, rs{{90, 110}}, true) }, rs{{95, 105}}, rs{{101, 105}}},
		{"too many were missing", func(b *bed) { b.Began(100, nil, false) }, rs{{5, 9}, {99, 103}}, rs{{101, 103}}},
		{"only the first look counts", func(b *bed) { b.Began(100, rs{{5, 9}}, true); b.Began(200, nil, true) }, rs{{5, 9}, {150, 150}}, rs{{150, 150}}},
	} {
		withPool(t, config{}, func(t *testing.T, b *bed) {
			tt.began(b)
			if diff := cmp.Diff(tt.losses, b.NotRead(tt.holes)); diff != "" {
				t.Errorf("%s: losses (-want +got):\n%s", tt.name, diff)
			}
		})
	}
}

func TestHoles_AreBoundedAndForgottenOncePassed(t *testing.T) {
	withPool(t, config{}, func(t *testing.T, b *bed) {
		var holes [][2]uint64
		for i := range uint64(257) {
			holes = append(holes, [2]uint64{10 + 2*i, 10 + 2*i})
		}
		b.Began(10_000, holes, true)
		if diff := cmp.Diff(&wire.Holes{To: 10_000, Many: true}, b.entry().Holes); diff != "" {
			t.Errorf("of too many holes (-want +got):\n%s", diff)
		}
	})
	withPool(t, config{}, func(t *testing.T, b *bed) {
		b.Began(100, [][2]uint64{{3, 4}, {50, 60}}, true)
		b.SkipTo(30)
		if diff := cmp.Diff(&wire.Holes{To: 100, Ranges: [][2]uint64{{50, 60}}}, b.entry().Holes); diff != "" {
			t.Errorf("once it has passed the first (-want +got):\n%s", diff)
		}
	})
}
