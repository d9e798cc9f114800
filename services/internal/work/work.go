// Package work has jobs done by a few workers.
package work

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Queue holds jobs that wait for a worker.
type Queue[T any] struct {
	jobs     chan T
	workers  int
	together int // jobs that a worker takes at once, at most
	do       func(context.Context, []T)
}

// NewQueue returns a queue that has room for so many jobs. Nothing is done before
// Run.
func NewQueue[T any](room, workers, together int, do func(context.Context, []T)) *Queue[T] {
	return &Queue[T]{make(chan T, room), workers, together, do}
}

// Add takes a job on, unless the queue is full. It is not done if Run ends first.
func (q *Queue[T]) Add(job T) bool {
	select {
	case q.jobs <- job:
		return true
	default:
		return false
	}
}

// Run has the jobs done until ctx ends.
func (q *Queue[T]) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range q.workers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case job := <-q.jobs:
					q.do(ctx, q.more(job))
				}
			}
		})
	}
	return g.Wait()
}

// more adds what waits too.
func (q *Queue[T]) more(job T) []T {
	jobs := []T{job}
	for len(jobs) < q.together {
		select {
		case job := <-q.jobs:
			jobs = append(jobs, job)
		default:
			return jobs
		}
	}
	return jobs
}
