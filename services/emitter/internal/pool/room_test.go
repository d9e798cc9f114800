package pool_test

import (
	"fmt"
	"testing"
	"time"
)

// TestAKeyThatIsSlowOrFailsDelaysNoOther: a hundred seconds in which some keys get far
// more events than their subscriber finishes, and another key one a second, each
// answered at once.
func TestAKeyThatIsSlowOrFailsDelaysNoOther(t *testing.T) {
	for _, tt := range []struct {
		name     string
		attempts int
		keys     uint64 // that are slow or fail
		rate     int    // of their events, a second
		size     int
		answer   string // to these; "none": there is none
		slow     time.Duration
	}{
		{"not answered, attempts without end", 0, 1, 50, 0, "none", 0},
		{"not answered, five attempts", 5, 1, 50, 0, "none", 0},
		{"not answered, one attempt", 1, 1, 50, 0, "none", 0},
		{"a full window before the first failure", 5, 1, 300, 0, "none", 0},
		{"large and not answered", 5, 1, 50, 100 << 10, "none", 0},
		{"many keys that are refused", 0, 1 << 40, 100, 0, "-NAK", 0},
		{"slow", 5, 1, 50, 0, "", 10 * time.Second},
		{"slow and large", 5, 1, 50, 100 << 10, "", 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec()
			s.Retry.MaxAttempts, s.Breaker.Failures = tt.attempts, 1_000_000
			s.PoolSize.Min = s.PoolSize.Max
			withPool(t, config{spec: s}, func(t *testing.T, b *bed) {
				const seconds = 100
				last, room := uint64(0), b.Room()
				add := func(subject string) bool {
					if !isClosed(room) {
						return false
					}
					if !b.Offer(makeEvent(last+1, subject, nil, tt.size)) {
						room = b.Room()
						return false
					}
					last++
					b.position.Store(last)
					return true
				}
				good := map[uint64]bool{}
				late := map[int][]sent{}
				n := 0
				for second := range seconds {
					for range tt.rate {
						add(fmt.Sprintf("k%d.x", last%tt.keys))
					}
					if add("good.x") {
						good[last] = true
					}
					b.Flush()
					for ds := b.next(); len(ds) > 0; ds = b.next() {
						for _, d := range ds {
							switch {
							case good[d.seq]:
								b.answer(d, "")
								n++
							case tt.slow > 0:
								at := second + int(tt.slow/time.Second)
								late[at] = append(late[at], d)
							case tt.answer != "none":
								b.answer(d, tt.answer)
							}
						}
					}
					for _, d := range late[second] {
						b.answer(d, tt.answer)
					}
					b.park.store()
					after(time.Second)
				}
				if n < seconds*9/10 {
					t.Errorf("%d events of the good key were delivered in %d s: %+v", n, seconds, b.Status())
				}
			})
		})
	}
}
