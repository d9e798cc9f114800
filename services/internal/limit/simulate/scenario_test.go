// Package simulate plays subscribers of several kinds in virtual time, to show how
// a pool's limit follows them. It is tests only: they hold the limit against what
// docs/adr/0017 says of it, and write what the plot in docs/performance.md is
// made from.
package simulate

import (
	"math/rand/v2"
	"time"

	"github.com/sluicehq/sluice/services/internal/heap"
	"github.com/sluicehq/sluice/services/internal/limit"
)

// scenario is a subscriber, and a pool that always has more to deliver.
type scenario struct {
	name    string
	lasts   time.Duration
	workers int                                    // events that the subscriber works on at once
	takes   func(at time.Duration) time.Duration   // what one event takes it
	fails   func(at time.Duration) (share float64) // of events; nil: none
}

// Bounds of the pool: the defaults of a subscription.
const minimum, maximum = 16, 1024

// trip is the time on the network, there and back.
const trip = 300 * time.Microsecond

// constant is what events take that all take the same.
func constant(d time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return d }
}

func scenarios() []scenario {
	during := func(from, to time.Duration, then, otherwise time.Duration) func(time.Duration) time.Duration {
		return func(at time.Duration) time.Duration {
			if at > from && at < to {
				return then
			}
			return otherwise
		}
	}
	return []scenario{
		{
			name: "fast: 50 µs an event, one after the other", lasts: 90 * time.Second,
			workers: 1, takes: constant(50 * time.Microsecond),
		},
		{
			name: "slow: 5 ms an event, one after the other", lasts: 90 * time.Second,
			workers: 1, takes: constant(5 * time.Millisecond),
		},
		{
			name: "parallel: 50 ms an event, 100 at once", lasts: 90 * time.Second,
			workers: 100, takes: constant(50 * time.Millisecond),
		},
		{
			name: "slow and parallel: 1 s an event, 1,000 at once", lasts: 90 * time.Second,
			workers: 1000, takes: constant(time.Second),
		},
		{
			name: "slower from 10 s to 30 s: 5 ms an event instead of 80 µs", lasts: 50 * time.Second,
			workers: 1, takes: during(10*time.Second, 30*time.Second, 5*time.Millisecond, 80*time.Microsecond),
		},
		{
			name: "failing from 10 s to 20 s: a third of the events", lasts: 40 * time.Second,
			workers: 20, takes: constant(1500 * time.Microsecond),
			fails: func(at time.Duration) float64 {
				if at > 10*time.Second && at < 20*time.Second {
					return 1.0 / 3
				}
				return 0
			},
		},
	}
}

// point is what is seen at one time.
type point struct {
	Scenario string  `json:"scenario"`
	Seconds  float64 `json:"seconds"`
	Limit    int     `json:"limit"`
	Rate     float64 `json:"rate"`    // answers a second since the point before
	WaitMS   float64 `json:"wait_ms"` // of the last event, before the subscriber began with it
}

// outcome is an answer on its way.
type outcome struct {
	heap.Due
	sent, waited time.Duration // since the start; before the subscriber began with it
	failed       bool
}

// run plays the scenario in virtual time.
func (s scenario) run() []point {
	const every = 100 * time.Millisecond
	var (
		points   []point
		out      heap.Of[*outcome]
		epoch    = time.Unix(0, 0)
		free     = make([]time.Duration, s.workers) // when each worker is free again
		random   = rand.New(rand.NewPCG(1, 2))
		l        = limit.New(minimum, maximum)
		answered int
		now      time.Duration
	)
	for now < s.lasts {
		for len(out) < l.Value() {
			o, after := s.deliver(now, free, random)
			out.Set(o, epoch.Add(after))
		}
		o := out[0]
		out.Remove(o)
		at := o.At.Sub(epoch)
		for next := time.Duration(len(points)+1) * every; next <= at; next += every {
			points = append(points, point{
				Scenario: s.name, Seconds: next.Seconds(), Limit: l.Value(),
				Rate: float64(answered) / every.Seconds(), WaitMS: float64(o.waited) / float64(time.Millisecond),
			})
			answered = 0
		}
		now = at
		if o.failed {
			l.Failed(o.At)
			continue
		}
		answered++
		l.Answered(o.At, now-o.sent, len(out)+1)
	}
	return points
}

// deliver hands an event to the worker that is free first. What an event takes
// varies by half to either side. It returns the answer, and when that arrives.
func (s scenario) deliver(now time.Duration, free []time.Duration, random *rand.Rand) (o *outcome, at time.Duration) {
	first := 0
	for i := range free {
		if free[i] < free[first] {
			first = i
		}
	}
	begin := max(free[first], now+trip/2)
	took := s.takes(begin)
	took = took/2 + time.Duration(random.Int64N(int64(took)+1))
	free[first] = begin + took
	failed := s.fails != nil && random.Float64() < s.fails(begin)
	return &outcome{sent: now, waited: begin - now - trip/2, failed: failed}, begin + took + trip/2
}
