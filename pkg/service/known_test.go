package service

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMisspeltVariablesAreFoundWithTheNearestName(t *testing.T) {
	t.Parallel()
	env := Env{
		"SLUICE_REPLICAS": "3", "SLUICE_HEALTH_INTERVAL": "1s", "NATS_ULR": "x", "HOME": "/", "SLUICER": "",
		"SLUICE_REPLICA": "3", "SLUICE_NAMSPACE": "x", "SLUICE_INBOXPREFIX": "", "SLUICE_MAX_READER": "1",
		"SLUICE_FOO": "", "SLUICE_": "", "SLUICE_SECRET_HOOK": "x", "SLUICE_SECRET": "x", "SLUICE_LOGGING": "",
	}
	want := []misspelt{
		{"SLUICE_", ""},
		{"SLUICE_FOO", ""},
		{"SLUICE_INBOXPREFIX", "SLUICE_INBOX_PREFIX"},
		{"SLUICE_LOGGING", ""},
		{"SLUICE_MAX_READER", "SLUICE_MAX_READERS"},
		{"SLUICE_NAMSPACE", "SLUICE_NAMESPACE"},
		{"SLUICE_REPLICA", "SLUICE_REPLICAS"},
		{"SLUICE_SECRET", ""},
	}
	if diff := cmp.Diff(want, unknown(env, Known()), cmp.AllowUnexported(misspelt{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDistanceCountsEdits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "a", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
