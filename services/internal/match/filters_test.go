package match_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/subjects"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/match"
)

func TestFiltersAreJoined(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		sets []wire.StringList
		want match.Filters
	}{
		{"one", []wire.StringList{{"a.b"}}, match.Filters{"a.b"}},
		{"a few subjects", []wire.StringList{{"b", "a"}, {"c.d", "x"}}, match.Filters{"a", "b", "c.d", "x"}},
		{"too many subjects", []wire.StringList{{"a.b", "a.c"}, {"a.d", "a.e", "a.f"}}, match.Filters{"a.*"}},
		{"too many with nothing in common", []wire.StringList{{"a", "b", "c", "d"}, {"e"}}, nil},
		{"the same again", []wire.StringList{{"a.b"}, {"a.b"}}, match.Filters{"a.b"}},
		{"narrower than before", []wire.StringList{{"a.>"}, {"a.b", "a.*.c", "a.>"}}, match.Filters{"a.>"}},
		{"wider than before", []wire.StringList{{"a.b", "a.d", "a.c.c"}, {"a.>"}}, match.Filters{"a.>"}},
		{"never several with a wildcard", []wire.StringList{{"a.b.>"}, {"a.c"}}, match.Filters{"a.>"}},
		{"an ancestor", []wire.StringList{{"g.many.a.>"}, {"g.many.b.*"}}, match.Filters{"g.many.*.>"}},
		{"an ancestor with an end", []wire.StringList{{"o.eu.*.paid"}, {"o.us.1.paid"}}, match.Filters{"o.*.*.paid"}},
		{"an ancestor of an ancestor", []wire.StringList{{"a.b.c.>"}, {"a.b.d.>"}, {"a.x.d.y"}}, match.Filters{"a.*.*.>"}},
		{"a subject and one below it", []wire.StringList{{"a.b.*"}, {"a.b"}}, match.Filters{"a.>"}},
		{"neither within the other", []wire.StringList{{"a.*"}, {"*.b"}}, nil},
		{"the rest of a subject is more than a token", []wire.StringList{{"a.*"}, {"a.>"}}, match.Filters{"a.>"}},
		{"one that begins with a wildcard, as it is", []wire.StringList{{"*.b"}}, match.Filters{"*.b"}},
		{"everything", []wire.StringList{{"a"}, {wire.AllStreams}}, nil},
		{"no filter", []wire.StringList{{"a"}, nil, {"b"}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := match.Filters{}
			for _, s := range tt.sets {
				f = f.With(compile(t, wire.Selector{ByStream: s}))
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
			next := f.With(m)
			if !slices.Equal(f, before) {
				t.Fatalf("With changed %v to %v", before, f)
			}
			f, all = next, append(all, s...)
		}
		if len(f) > 1 && strings.ContainsAny(strings.Join(f, ""), "*>") {
			t.Errorf("%v are several, with a wildcard", f)
		}
		s := subject(false).Draw(t, "subject")
		matches := func(filter string) bool { return subjects.Covers(filter, s) }
		if f != nil && slices.ContainsFunc(all, matches) && !slices.ContainsFunc(f, matches) {
			t.Errorf("%v does not match %q, but one of %v does", f, s, all)
		}
	})
}
