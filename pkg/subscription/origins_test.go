package subscription

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
)

func TestOrigins_AreFollowedHoweverFarBack(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	source := func(names ...string) (s []*jetstream.StreamSource) {
		for _, n := range names {
			s = append(s, &jetstream.StreamSource{Name: n})
		}
		return s
	}
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "A", Subjects: []string{"a.>"}},
		{Name: "B", Subjects: []string{"b.>"}, Sources: source("A")},
		{Name: "MIRROR", Mirror: source("B")[0]},
		{Name: "FAR", Sources: source("MIRROR")},
		{Name: "C", Subjects: []string{"c"}},
		{Name: "BOTH", Subjects: []string{"d"}, Sources: source("B", "C")},
		{Name: "GONE", Subjects: []string{"gone"}},
		{Name: "ORPHAN", Subjects: []string{"o"}, Sources: source("GONE")},
	} {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatalf("create %s: %v", cfg.Name, err)
		}
	}
	if err := js.DeleteStream(t.Context(), "GONE"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		store, subject string
		want           []string // origins
		captured       string   // by which of them
	}{
		{"A", "a.x", []string{"A"}, "A"},
		{"A", "b.x", []string{"A"}, ""},
		{"B", "a.x", []string{"B", "A"}, "A"},
		{"MIRROR", "b.x", []string{"MIRROR", "B", "A"}, "B"},
		{"MIRROR", "c", []string{"MIRROR", "B", "A"}, ""},
		{"FAR", "a.x.y", []string{"FAR", "MIRROR", "B", "A"}, "A"},
		{"BOTH", "c", []string{"BOTH", "B", "C", "A"}, "C"},
		{"ORPHAN", "gone", []string{"ORPHAN"}, ""},
	} {
		t.Run(fmt.Sprintf("%s to %s", tt.store, tt.subject), func(t *testing.T) {
			origins, err := Origins(t.Context(), js, tt.store)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range origins {
				got = append(got, o.Stream)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("origins (-want +got):\n%s", diff)
			}
			if stream, _, ok := CapturedBy(origins, tt.subject); stream != tt.captured || ok != (tt.captured != "") {
				t.Errorf("captured by %q, want %q", stream, tt.captured)
			}
		})
	}
	if _, err := Origins(t.Context(), js, "NOWHERE"); !errors.Is(err, ErrNoStore) {
		t.Errorf("Origins of a stream that is not there = %v, want %v", err, ErrNoStore)
	}
}
