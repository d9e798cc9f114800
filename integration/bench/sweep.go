package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// sweep does the same work at several sizes, to show how its cost grows. It has
// lines, or a survey that says what belongs to which line.
type sweep struct {
	name, about, unit string
	at                []int
	lines             []line
	survey            survey // instead of lines
}

// line is one way to do the work, at a size.
type line struct {
	name string
	side func(x int) side
	most int // the largest size that this way can do; 0: any
}

// point of a sweep.
type point struct {
	Sweep string  `json:"sweep"`
	Line  string  `json:"line"`
	X     int     `json:"x"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func sweeps() []sweep {
	return []sweep{
		{
			name: "subscriptions", unit: "events/s", at: []int{1, 10, 100, 1_000, 10_000},
			about: "publish rate beside n subscriptions of which each event matches one",
			lines: []line{
				{name: "Sluice", side: func(x int) side { return publishOver(x, x, ofKey) }},
				{name: "native consumers", most: keys, side: func(x int) side { return publishNative(exactly(x)) }},
			},
		},
		{
			name: "events", unit: "events/s", at: []int{10_000, 30_000, 100_000, 300_000, 1_000_000},
			about: "rate at which one subscription works off n stored events, mode ack",
			lines: []line{
				{name: "Sluice", side: func(x int) side { return catchUp(stored(exactly(x)), wire.ModeAck) }},
				{name: "native, explicit acks", side: func(x int) side { return native(stored(exactly(x)), kindExplicit) }},
			},
		},
		{
			name: "size", unit: "events/s", at: []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10},
			about: "the same with events of n bytes",
			lines: []line{
				{name: "Sluice", side: func(x int) side { return catchUp(ofSize(x), wire.ModeAck) }},
				{name: "native, explicit acks", side: func(x int) side { return native(ofSize(x), kindExplicit) }},
			},
		},
		{
			name: "scale", at: []int{1_000, 5_000, 20_000, 50_000}, survey: bySubscriptions,
			about: "memory, processor time at rest, sweeps and takeovers with n subscriptions to one store",
		},
		{
			name: "stores", at: []int{100, 300, 1_000}, survey: byStores,
			about: "the same with n stores of five subscriptions each",
		},
	}
}

func exactly(n int) func(options) int { return func(options) int { return n } }

// ofSize is a store with events of a size, 400 MB of them or 100,000.
func ofSize(bytes int) stock { return stock{exactly(min(100_000, 400_000_000/bytes)), bytes} }

// publishNative is publishOver with a consumer for each key.
func publishNative(keys func(options) int) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		events, n := published(o), keys(o)
		if err := w.makeStore(ctx); err != nil {
			return 0, err
		}
		wk, err := w.beginWorker(ctx, job{Kind: kindExplicit, Filters: n, Events: events, Subs: 1})
		if err != nil {
			return 0, err
		}
		return publishRate(ctx, w.publisher(n), wk, events)
	}
}

// runSweep prints a point for each size and line, the median of the rounds.
func runSweep(ctx context.Context, s sweep, o options, out io.Writer) error {
	if o.short {
		s.at = s.at[:1]
	}
	if s.survey != nil {
		return runSurvey(ctx, s, o, out)
	}
	enc := json.NewEncoder(out)
	for _, x := range s.at {
		for _, l := range s.lines {
			if l.most > 0 && x > l.most {
				continue
			}
			var vs []float64
			for range o.rounds {
				v, err := inWorld(ctx, o, l.side(x))
				if err != nil {
					return fmt.Errorf("sweep %s, %s at %d: %w", s.name, l.name, x, err)
				}
				vs = append(vs, v)
			}
			v, _ := median(vs)
			fmt.Fprintf(os.Stderr, "%s, %s at %d: %s %s\n", s.name, l.name, x, figure(v), s.unit)
			if err := enc.Encode(point{s.name, l.name, x, v, s.unit}); err != nil {
				return err
			}
		}
	}
	return nil
}

// surveyTimeout bounds the survey of one size.
const surveyTimeout = 10 * time.Minute

// runSurvey prints the points of one round for each size.
func runSurvey(ctx context.Context, s sweep, o options, out io.Writer) error {
	enc := json.NewEncoder(out)
	for _, x := range s.at {
		var points []point
		_, err := within(ctx, surveyTimeout, o, func(ctx context.Context, w *world, _ options) (float64, error) {
			return 0, s.survey(ctx, w, x, func(sweep, line string, v float64, unit string) {
				fmt.Fprintf(os.Stderr, "%s at %d, %s of %s: %s %s\n", s.name, x, sweep, line, figure(v), unit)
				points = append(points, point{s.name + "_" + sweep, line, x, v, unit})
			})
		})
		if err != nil {
			return fmt.Errorf("sweep %s at %d: %w", s.name, x, err)
		}
		for _, p := range points {
			if err := enc.Encode(p); err != nil {
				return err
			}
		}
	}
	return nil
}
