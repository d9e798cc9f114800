package answers

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// quietPool returns a pool that expects no answer.
func quietPool(tb testing.TB) *pool.Pool {
	tb.Helper()
	p, err := pool.New(pool.Config{
		Config: core.Config{
			Record: &wire.Record{Name: "s", Spec: wire.Spec{
				Deliver: wire.Deliver{Mode: wire.ModeAck}, PoolSize: wire.PoolSize{Min: 1, Max: 16},
				Breaker: wire.Breaker{Failures: 1},
			}},
			Budget: core.NewBudget(1 << 20),
		},
		Timers: timers.New(), Carriers: &pool.Carriers{},
		Notify: func(core.Notice) {}, Moved: func() {},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestAnAnswerFindsItsOwnPoolOnlyHoweverManyComeAndGo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := New("answers")
		live, ended := map[uint64]*pool.Pool{}, []uint64{}
		check := func() {
			for id, p := range live {
				if a.find(id) != p {
					t.Fatalf("pool %d is not found", id)
				}
			}
			for _, id := range ended {
				if a.find(id) != nil {
					t.Fatalf("pool %d has ended and is found", id)
				}
			}
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(live) > 0 && rapid.Bool().Draw(t, "end one") {
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(live))).Draw(t, "id")
				a.Remove(id)
				delete(live, id)
				ended = append(ended, id)
			} else {
				id, prefix := a.Reserve()
				if _, twice := live[id]; twice || slices.Contains(ended, id) || prefix != "answers."+strconv.FormatUint(id, 36)+"." {
					t.Fatalf("id %d, prefix %s", id, prefix)
				}
				live[id] = new(pool.Pool)
				a.Add(id, live[id])
			}
			check()
		}
		n := 0
		a.each(func(*pool.Pool) { n++ })
		if n != len(live) {
			t.Errorf("%d pools are remembered, of which %d live", n, len(live))
		}
	})
}

func TestAnswersAreLookedForWhilePoolsComeAndGo(t *testing.T) {
	t.Parallel()
	a, p, stays := New("answers"), quietPool(t), quietPool(t)
	id, _ := a.Reserve()
	a.Add(id, stays)
	var looking sync.WaitGroup
	stop := make(chan struct{})
	looking.Go(func() {
		for other := uint64(0); ; other = (other + 1) % 256 {
			select {
			case <-stop:
				return
			default:
			}
			a.find(other)
			a.InFlight()
			if a.find(id) != stays {
				t.Error("a pool that stays is not found")
				return
			}
		}
	})
	for range 10 {
		var ids []uint64
		for range 128 {
			id, _ := a.Reserve()
			a.Add(id, p)
			ids = append(ids, id)
		}
		for _, id := range ids {
			a.Remove(id)
		}
	}
	close(stop)
	looking.Wait()
}

// BenchmarkAnAnswerFindsItsPool is the way of an answer to its pool, which takes
// no notice of it: the search is all there is.
func BenchmarkAnAnswerFindsItsPool(b *testing.B) {
	for _, pools := range []int{10, 10_000} {
		b.Run(strconv.Itoa(pools), func(b *testing.B) {
			a, p := New("_SLUICE.answers.e"), quietPool(b)
			msgs := make([]*nats.Msg, pools)
			for i := range msgs {
				id, prefix := a.Reserve()
				a.Add(id, p)
				msgs[i] = &nats.Msg{Subject: prefix + "no token", Data: []byte("+ACK")}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				a.handle(msgs[i*7919%pools])
			}
		})
	}
}
