// Package work has jobs done by a few workers.
package work

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Queue holds jobs that wait for a worker.
type Queue[T any] chan T

// NewQueue returns a queue that has room for so many jobs.
func NewQueue[T any](size int) Queue[T] { return make(Queue[T], size) }

// Add takes a job on, unless the queue is full. It is not done if Run ends first.
func (q Queue[T]) Add(job T) bool {
	select {
	case q <- job:
		return true
	default:
		return false
	}
}

// Run has so many workers do what is in the queue, each of them up to together
// jobs at once, until ctx ends.
func (q Queue[T]) Run(ctx context.Context, workers, together int, do func(context.Context, []T)) error {
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case job := <-q:
					do(ctx, q.more(job, together))
				}
			}
		})
	}
	return g.Wait()
}

// more adds what waits too.
func (q Queue[T]) more(job T, together int) []T {
	jobs := []T{job}
	for len(jobs) < together {
		select {
		case job := <-q:
			jobs = append(jobs, job)
		default:
			return jobs
		}
	}
	return jobs
}
