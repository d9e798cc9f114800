package work_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/services/internal/work"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQueue_BoundsWhatWaitsAndWhatIsDoneAtOnce(t *testing.T) {
	t.Parallel()
	const size, workers, together = 10, 3, 4
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	seen, at := map[int]bool{}, 0
	q := work.NewQueue(size, workers, together, func(_ context.Context, jobs []int) {
		mu.Lock()
		defer mu.Unlock()
		at = max(at, len(jobs))
		for _, j := range jobs {
			seen[j] = true
		}
		if len(seen) == size {
			cancel()
		}
	})
	for i := range size {
		if !q.Add(i) {
			t.Fatalf("no room for job %d", i)
		}
	}
	if q.Add(size) {
		t.Error("there is room without end")
	}
	err := q.Run(ctx)
	if err != nil || len(seen) != size || at > together {
		t.Errorf("Run = %v, did %v, up to %d at once", err, seen, at)
	}
}

func TestQueue_AWorkerThatWaitsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	done := 0
	q := work.NewQueue(10, 2, 1, func(ctx context.Context, jobs []int) {
		if jobs[0] == 0 {
			<-ctx.Done()
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if done++; done == 9 {
			cancel()
		}
	})
	for i := range 10 {
		q.Add(i)
	}
	err := q.Run(ctx)
	if err != nil || done != 9 {
		t.Errorf("Run = %v, %d jobs done", err, done)
	}
}
