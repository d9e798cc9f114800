package heap_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/services/internal/heap"
)

type item struct{ heap.Due }

// TestTheFirstIsDueFirst holds a heap against a set, whatever is done to it.
func TestTheFirstIsDueFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var h heap.Of[*item]
		all := make([]*item, 20)
		for i := range all {
			all[i] = &item{}
		}
		waits := map[*item]time.Time{}
		anyItem := rapid.SampledFrom(all)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				it, at := anyItem.Draw(t, "item"), time.Unix(rapid.Int64Range(0, 9).Draw(t, "at"), 0)
				h.Set(it, at)
				waits[it] = at
			},
			"remove": func(t *rapid.T) {
				it := anyItem.Draw(t, "item")
				h.Remove(it)
				delete(waits, it)
			},
			"remove the first": func(*rapid.T) {
				if len(h) > 0 {
					delete(waits, h[0])
					h.Remove(h[0])
				}
			},
			"": func(t *rapid.T) {
				if len(h) != len(waits) {
					t.Fatalf("%d items, want %d", len(h), len(waits))
				}
				for _, it := range all {
					at, ok := waits[it]
					if it.Waits() != ok || ok && !it.At.Equal(at) {
						t.Fatalf("waits %v for %v, want %v for %v", it.Waits(), it.At, ok, at)
					}
					if ok && at.Before(h[0].At) {
						t.Fatalf("the first is due at %v, another at %v", h[0].At, at)
					}
				}
			},
		})
	})
}
