package match_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/match"
)

func TestFiltersAreJoined(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		sets []wire.StringList
		want match.Filters
	}{
		{"one", []wire.StringList{{"a.b"}}, match.Filters{"a.b"}},
		{"several", []wire.StringList{{"b", "a"}, {"c"}}, match.Filters{"a", "b", "c"}},
		{"the same again", []wire.StringList{{"a.b"}, {"a.b"}}, match.Filters{"a.b"}},
		{"narrower than before", []wire.StringList{{"a.>"}, {"a.b", "a.*.c", "a.>"}}, match.Filters{"a.>"}},
		{"wider than before", []wire.StringList{{"a.b", "c", "a.*.c"}, {"a.>"}}, match.Filters{"c", "a.>"}},
		{"no longer, no shorter", []wire.StringList{{"a.*"}, {"a", "a.b.c"}}, match.Filters{"a.*", "a", "a.b.c"}},
		{"neither within the other", []wire.StringList{{"a.*"}, {"*.b"}}, match.Filters{"a.*", "*.b"}},
		{"the rest of a subject is more than a token", []wire.StringList{{"a.*"}, {"a.>"}}, match.Filters{"a.>"}},
		{"everything", []wire.StringList{{"a"}, {wire.AllStreams}}, nil},
		{"no filter", []wire.StringList{{"a"}, nil, {"b"}}, nil},
		{"too many", []wire.StringList{{"a", "b"}, {"c", "d"}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := match.Filters{}
			for _, s := range tt.sets {
				f = f.With(compile(t, wire.Selector{ByStream: s}), 3)
			}
			if (f == nil) != (tt.want == nil) || !slices.Equal(f, tt.want) {
				t.Errorf("filters = %v, want %v", f, tt.want)
			}
		})
	}
}

func TestJoinedFiltersMatchWhateverOneOfThemDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := match.Filters{}
		var all []string
		for _, s := range rapid.SliceOfN(rapid.SliceOfN(subject(true), 1, 3), 1, 4).Draw(t, "filters") {
			before := slices.Clone(f)
			m := compile(t, wire.Selector{ByStream: s})
			next := f.With(m, 100)
			if !slices.Equal(f, before) {
				t.Fatalf("With changed %v to %v", before, f)
			}
			f, all = next, append(all, s...)
		}
		s := subject(false).Draw(t, "subject")
		matches := func(filter string) bool { return selector.SubjectMatches(filter, s) }
		if got, want := slices.ContainsFunc(f, matches), slices.ContainsFunc(all, matches); f != nil && got != want {
			t.Errorf("%v matches %q: %v, but of %v one does: %v", f, s, got, all, want)
		}
	})
}
