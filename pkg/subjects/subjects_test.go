package subjects_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/gsl"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/subjects"
)

func drawn(wild bool) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		tokens := []string{"a", "b", "cc", "*x"}
		if wild {
			tokens = append(tokens, "*", "*")
		}
		ts := rapid.SliceOfN(rapid.SampledFrom(tokens), 1, 4).Draw(t, "tokens")
		if wild && rapid.IntRange(0, 2).Draw(t, "full") == 0 {
			ts = append(ts, ">")
		}
		return strings.Join(ts, ".")
	})
}

func TestALiteralSubjectIsCoveredAsTheServerSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		filter, literal := drawn(true).Draw(t, "filter"), drawn(false).Draw(t, "subject")
		list := gsl.NewSublist[int]()
		if err := list.Insert(filter, 1); err != nil {
			t.Fatal(err)
		}
		want := false
		list.Match(literal, func(int) { want = true })
		if got := subjects.Covers(filter, literal); got != want {
			t.Fatalf("Covers(%q, %q) = %v, want %v", filter, literal, got, want)
		}
		if got := subjects.Overlap(filter, literal); got != want {
			t.Fatalf("Overlap(%q, %q) = %v, want %v", filter, literal, got, want)
		}
	})
}

func TestFiltersAreComparedAsTheServerDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f, g := drawn(true).Draw(t, "one"), drawn(true).Draw(t, "another")
		f, g = strings.ReplaceAll(f, "*x", "x"), strings.ReplaceAll(g, "*x", "x") // which that function takes for a wildcard
		if got, want := subjects.Overlap(f, g), server.SubjectsCollide(f, g); got != want {
			t.Errorf("Overlap(%q, %q) = %v, want %v", f, g, got, want)
		}
		if !subjects.Covers(f, g) {
			return
		}
		s := drawn(false).Draw(t, "subject")
		if subjects.Covers(g, s) && !subjects.Covers(f, s) {
			t.Errorf("%q covers %q, but not %q", f, g, s)
		}
	})
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"a.*", "a.b", true},
		{"a.*", "a.b.c", false},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{">", "x", true},
		{"*.b", "a.*", true},
		{"a.*.c", "a.b.>", true},
		{"*", ">", true},
		{"a.>", "b.>", false},
	} {
		if got := subjects.Overlap(tt.a, tt.b); got != tt.want {
			t.Errorf("Overlap(%s, %s) = %v", tt.a, tt.b, got)
		}
		if got := subjects.Overlap(tt.b, tt.a); got != tt.want {
			t.Errorf("Overlap(%s, %s) = %v", tt.b, tt.a, got)
		}
	}
}
