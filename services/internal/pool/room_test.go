package pool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
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

// TestPoolsThatDeliverNothingLeaveBytesToOthers: however much is offered to
// them, by whatever they hold it.
func TestPoolsThatDeliverNothingLeaveBytesToOthers(t *testing.T) {
	const size, enough = 1024, 32
	for name, begin := range map[string]func(*bed){
		"events": func(*bed) {},
		"places behind a blocked event": func(b *bed) {
			b.offer(1, "k.x")
			b.answer(b.one("1/1"), hold)
		},
	} {
		t.Run(name, func(t *testing.T) {
			budget := core.NewBudget(4 << 20)
			withPool(t, config{spec: spec(), budget: budget}, func(t *testing.T, b *bed) {
				for range 8 {
					hog := newBed(t, timers.New(), config{spec: blocking(), budget: budget})
					defer hog.Close()
					begin(hog)
					seq := hog.Position() + 1
					for ; hog.Offer(makeEvent(seq, "k.x", nil, size)); seq++ {
						hog.position.Store(seq)
					}
					if seq < enough {
						t.Errorf("room for %d events", seq)
					}
				}
				seq := uint64(1)
				for ; seq <= enough; seq++ {
					if !b.Offer(makeEvent(seq, fmt.Sprintf("k%d.x", seq), nil, size)) {
						t.Fatalf("room for %d events beside pools that hold %d bytes", seq-1, budget.Used())
					}
					b.position.Store(seq)
				}
			})
		})
	}
}

// TestABlockedEventIsTriedThoughOthersHoldTheBytes: its pool always has
// something in flight, so there is never room for what another pool leaves.
func TestABlockedEventIsTriedThoughOthersHoldTheBytes(t *testing.T) {
	s := blocking()
	s.Retry.MinBackoff, s.Retry.MaxBackoff = wire.Duration(time.Second), wire.Duration(time.Second)
	budget := core.NewBudget(2500)
	withPool(t, config{spec: s, budget: budget}, func(t *testing.T, b *bed) {
		b.offer(1, "bad.x")
		b.answer(b.one("1/1"), "-NAK")
		hog := newBed(t, timers.New(), config{spec: s, budget: budget})
		defer hog.Close()
		if !hog.Offer(makeEvent(1, "k.x", nil, 3000)) {
			t.Fatal("an empty pool has no room")
		}
		tried, last := 0, uint64(1)
		for range 600 { // a minute
			b.offer(last+1, "good.x")
			last++
			after(100 * time.Millisecond)
			for _, d := range b.next() {
				if d.seq == 1 {
					tried++
					b.answer(d, "-NAK")
				} else {
					b.answer(d, "")
				}
			}
		}
		if tried < 4 {
			t.Errorf("tried %d times in a minute", tried)
		}
	})
}
