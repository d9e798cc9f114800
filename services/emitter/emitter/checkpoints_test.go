package emitter

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// writes are the times at which checkpoints were written, by pool.
type writes struct {
	mu sync.Mutex
	at map[string][]time.Time
}

func (w *writes) of(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.at[name])
}

func (w *writes) all() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []time.Time
	for _, at := range w.at {
		all = append(all, at...)
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// forever is the trust in a session that never ends.
type forever struct{}

func (forever) Valid() bool             { return true }
func (forever) ValidFor() time.Duration { return time.Hour }

// checkpointing runs test beside a service that owns n pools and writes their
// checkpoints, at most rate a second.
func checkpointing(t *testing.T, n, rate int, test func(s *checkpointer, hs []*holding, w *writes)) {
	checkpointingWith(t, n, rate, nil, test)
}

// checkpointingWith is checkpointing where harm is done to each request to the
// bucket.
func checkpointingWith(
	t *testing.T, n, rate int, harm func(ctx context.Context, op, key string) error, test func(s *checkpointer, hs []*holding, w *writes),
) {
	clocktest.Run(t, func(t *testing.T) {
		kv, w := buckettest.New(0), &writes{at: map[string][]time.Time{}}
		s := &checkpointer{
			rate: rate, dues: newDues(), claims: &claimer{pools: subscription.NewPools(kv), holdings: &holdings{}, session: forever{}},
		}
		var hs []*holding
		for i := range n {
			hs = append(hs, owned(t, s, fmt.Sprintf("p%d", i)))
		}
		kv.Before = harm
		kv.After = func(_ context.Context, _, key string) error {
			w.mu.Lock()
			w.at[key] = append(w.at[key], time.Now())
			w.mu.Unlock()
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		test(s, hs, w)
		cancel()
		running.Wait()
	})
}

// owned makes the holding of a pool that can move, with finished ranges far
// ahead.
func owned(t *testing.T, s *checkpointer, name string, ranges ...[2]uint64) *holding {
	t.Helper()
	entry := wire.Pool{
		Schema: 1, Name: name, UID: "u", Owner: "me", Epoch: 1, State: wire.PoolCatchingUp,
		Checkpoint: wire.Checkpoint{Ranges: ranges},
	}
	rev, err := s.claims.pools.Write(t.Context(), &entry, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &holding{name: name, me: "me", entry: entry, rev: rev}
	h.moved.Store(true) // whatever the pool says of its beginning is known
	defer h.moved.Store(false)
	h.pool, err = pool.New(pool.Config{
		Config: core.Config{
			Record: &wire.Record{Name: name, Spec: wire.Spec{
				Deliver: wire.Deliver{Mode: wire.ModeAck}, PoolSize: wire.PoolSize{Min: 1, Max: 16},
				Breaker: wire.Breaker{Failures: 1, OpenFor: wire.Duration(time.Second)},
			}},
			Entry: entry, Budget: core.NewBudget(1 << 20),
		},
		Timers: timers.New(), Carriers: &pool.Carriers{},
		Notify: func(core.Notice) {}, Moved: func() { s.dues.moved(h) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.pool.Detach(0)
	s.claims.holdings.add(h)
	return h
}

func TestAPoolThatMovesAllTheTimeIsWrittenTenTimesASecondAndNeverLate(t *testing.T) {
	t.Parallel()
	checkpointing(t, 1, 1000, func(s *checkpointer, hs []*holding, w *writes) {
		begin := time.Now()
		for n := uint64(1); n <= 1000; n++ {
			hs[0].pool.SkipTo(n)
			<-time.After(time.Millisecond)
		}
		<-time.After(250 * time.Millisecond)
		all := w.all()
		if len(all) < 9 || len(all) > 11 {
			t.Errorf("%d writes in a second, want about 10", len(all))
		}
		last := begin
		for _, at := range all {
			if at.Sub(last) > 250*time.Millisecond {
				t.Errorf("a write came %s after the one before", at.Sub(last))
			}
			last = at
		}
		synctest.Wait()
		if p, _, err := s.claims.pools.Get(t.Context(), "p0"); err != nil || p.Checkpoint.Floor != 1000 {
			t.Errorf("floor written = %d, want 1000 (%v)", p.Checkpoint.Floor, err)
		}
	})
}

func TestManyPoolsThatMoveAreWrittenInTurnAndNotMoreOftenThanTheRate(t *testing.T) {
	t.Parallel()
	const pools, rate, seconds = 500, 100, 20
	checkpointing(t, pools, rate, func(_ *checkpointer, hs []*holding, w *writes) {
		for n := uint64(1); n <= seconds*10; n++ {
			for _, h := range hs {
				h.pool.SkipTo(n)
			}
			<-time.After(100 * time.Millisecond)
		}
		synctest.Wait()
		all := w.all()
		if len(all) > rate*seconds+maxWrites || len(all) < rate*(seconds-1) {
			t.Errorf("%d writes in %d s, want about %d a second", len(all), seconds, rate)
		}
		for _, h := range hs {
			if n := w.of(h.name); n < seconds*rate/pools-1 {
				t.Errorf("%s was written %d times, want its turn every %d s", h.name, n, pools/rate)
			}
		}
	})
}

func TestACheckpointOfManyRangesCountsForSeveral(t *testing.T) {
	t.Parallel()
	const rate, seconds, more = 100, 20, 19
	checkpointing(t, 0, rate, func(s *checkpointer, _ []*holding, w *writes) {
		ranges := make([][2]uint64, more*rangesPerToken)
		for i := range ranges {
			ranges[i] = [2]uint64{uint64(10_000 + 2*i), uint64(10_000 + 2*i)}
		}
		h := owned(t, s, "large", ranges...)
		for n := uint64(1); n <= seconds*100; n++ {
			h.pool.SkipTo(n)
			<-time.After(10 * time.Millisecond)
		}
		synctest.Wait()
		const want = rate * seconds / (1 + more)
		if n := w.of("large"); n < want-2 || n > want+2+maxWrites/more {
			t.Errorf("%d writes in %d s, want about %d", n, seconds, want)
		}
	})
}

func TestASlowWriteHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	slow := func(ctx context.Context, _, key string) error {
		if key == "p0" {
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
			}
		}
		return nil
	}
	checkpointingWith(t, 2, 1000, slow, func(_ *checkpointer, hs []*holding, w *writes) {
		hs[0].pool.SkipTo(1)
		<-time.After(150 * time.Millisecond) // it is being written, for three seconds
		hs[1].pool.SkipTo(1)
		<-time.After(250 * time.Millisecond)
		if n := w.of("p1"); n != 1 {
			t.Errorf("the other pool was written %d times, want once", n)
		}
	})
}

func TestAWriteThatFindsNoRoomIsTriedSeldomAndHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	var room atomic.Bool
	var tries atomic.Int32
	full := func(_ context.Context, _, key string) error {
		if key != "p0" || room.Load() {
			return nil
		}
		tries.Add(1)
		return jsapi.Full("the bucket", &jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "maximum bytes exceeded"})
	}
	checkpointingWith(t, 2, 1000, full, func(s *checkpointer, hs []*holding, w *writes) {
		var log bytes.Buffer
		s.log = bus.Rarely(zerolog.New(&log))
		for n := uint64(1); n <= 200; n++ {
			hs[0].pool.SkipTo(n)
			hs[1].pool.SkipTo(n)
			<-time.After(100 * time.Millisecond)
		}
		if n := tries.Load(); n < 15 || n > 25 {
			t.Errorf("%d tries in 20 s, want one a second", n)
		}
		if n := w.of("p1"); n < 100 {
			t.Errorf("the other pool was written %d times in 20 s, want all the time", n)
		}
		room.Store(true)
		<-time.After(1500 * time.Millisecond)
		synctest.Wait()
		if p, _, err := s.claims.pools.Get(t.Context(), "p0"); err != nil || p.Checkpoint.Floor != 200 {
			t.Errorf("floor written = %d, want 200 (%v)", p.Checkpoint.Floor, err)
		}
		if n := strings.Count(log.String(), "storage is full: the bucket holds as much as it may"); n < 1 || n > 5 {
			t.Errorf("said %d times, want a few", n)
		}
	})
}

func TestPoolsAtRestAreWrittenSeldomAndOnlyIfTheyHaveReadOn(t *testing.T) {
	t.Parallel()
	const pools = 300
	checkpointing(t, pools, 1000, func(_ *checkpointer, hs []*holding, w *writes) {
		<-time.After(idleEvery + 10*time.Second)
		if n := len(w.all()); n != 0 {
			t.Errorf("%d writes although nothing was read", n)
		}
		for _, h := range hs {
			h.pool.Detach(7) // what a reader does: it does not say that the pool moved
		}
		<-time.After(idleEvery)
		all := w.all()
		if len(all) != pools {
			t.Fatalf("%d writes, want %d", len(all), pools)
		}
		if took := all[pools-1].Sub(all[0]); took < (pools-idleRate)*time.Second/idleRate {
			t.Errorf("all written within %s, want at most %d a second", took, idleRate)
		}
	})
}
