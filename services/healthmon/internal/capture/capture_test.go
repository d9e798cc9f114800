package capture

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFindTellsTheStreamsThatStoreASubject(t *testing.T) {
	t.Parallel()
	m := New([]Stream{
		{Name: "ALL", Subjects: []string{">"}},
		{Name: "TAIL", Subjects: []string{"a.>"}},
		{Name: "ONE", Subjects: []string{"a.*.c", "x"}},
		{Name: "LITERAL", Subjects: []string{"a.b.c"}},
		{Name: "MIRROR", From: []string{"LITERAL"}},
	})
	for _, tt := range []struct{ subject, want string }{
		{"a", "ALL"},
		{"x", "ALL,ONE"},
		{"a.b", "ALL,TAIL"},
		{"a.b.c", "ALL,TAIL,LITERAL,ONE"},
		{"a.z.c", "ALL,TAIL,ONE"},
		{"a.b.c.d", "ALL,TAIL"},
		{"*", "ALL"},
	} {
		var got []string
		for _, h := range m.Find(tt.subject) {
			got = append(got, h.Stream)
		}
		if strings.Join(got, ",") != tt.want {
			t.Errorf("Find(%q) = %q, want %s", tt.subject, got, tt.want)
		}
	}
}

func TestOriginsAreFollowedHoweverFarBackAndEndWhereTheyGoRound(t *testing.T) {
	t.Parallel()
	m := New([]Stream{
		{Name: "A", From: []string{"B", "C"}}, {Name: "B", From: []string{"D"}}, {Name: "D", From: []string{"A", "GONE"}}, {Name: "C"},
	})
	if got := fmt.Sprint(m.Origins("A")); got != "[A B C D GONE]" {
		t.Errorf("Origins(A) = %s, want [A B C D GONE]", got)
	}
	if got := fmt.Sprint(m.Origins("NOWHERE")); got != "[NOWHERE]" {
		t.Errorf("Origins(NOWHERE) = %s, want itself", got)
	}
}
