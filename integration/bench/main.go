// Command bench measures Sluice and the native way side by side, alternately
// in one run, and prints the ratio of the medians. Only the ratios mean
// something: absolute figures depend on the machine and on what else it does.
//
// The nats-server, the services, the publisher and the subscribers are
// separate processes. Everything listens on loopback and ends with the run.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		exit(work(ctx, os.Args[2:]))
		return
	}
	exit(run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	run    string
	json   string
	short  bool
	rounds int
	events int
}

// benchmark compares one job done by Sluice with the same done natively. A
// side returns the job's rate in unit.
type benchmark struct {
	name, unit     string
	sluice, native func(context.Context, *world, options) (float64, error)
}

func benchmarks() []benchmark {
	return []benchmark{
		{"throughput_ack", "events/s", sluiceAck, nativeAck},
	}
}

func run(ctx context.Context) error {
	var o options
	flag.StringVar(&o.run, "run", "", "run only the benchmark of this name")
	flag.StringVar(&o.json, "json", "", "also write the results to this file, one JSON object a line")
	flag.BoolVar(&o.short, "short", false, "fewer events and rounds: under a minute")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each side")
	flag.IntVar(&o.events, "events", 300_000, "events of a round")
	flag.Parse()
	if o.short {
		o.rounds, o.events = 3, 50_000
	}
	chosen := slices.DeleteFunc(benchmarks(), func(b benchmark) bool { return o.run != "" && b.name != o.run })
	if len(chosen) == 0 {
		return fmt.Errorf("-run %s: there is no such benchmark", o.run)
	}
	var results []result
	for _, b := range chosen {
		r, err := measure(ctx, b, o)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		results = append(results, r)
	}
	printTable(results)
	return writeJSON(o.json, results)
}

// result of a benchmark: medians of the rounds, and their spread.
type result struct {
	Name        string     `json:"name"`
	Sluice      float64    `json:"sluice"`
	Native      float64    `json:"native"`
	Ratio       float64    `json:"ratio"`
	Unit        string     `json:"unit"`
	Rounds      int        `json:"rounds"`
	SluiceRange [2]float64 `json:"sluice_range"`
	NativeRange [2]float64 `json:"native_range"`
}

// measure runs both sides in turn, each round on a server and a store of its own.
func measure(ctx context.Context, b benchmark, o options) (result, error) {
	var sluice, native []float64
	for round := range o.rounds {
		for _, side := range []struct {
			name string
			do   func(context.Context, *world, options) (float64, error)
			into *[]float64
		}{{"native", b.native, &native}, {"sluice", b.sluice, &sluice}} {
			rate, err := inWorld(ctx, func(ctx context.Context, w *world) (float64, error) { return side.do(ctx, w, o) })
			if err != nil {
				return result{}, fmt.Errorf("%s, round %d: %w", side.name, round+1, err)
			}
			*side.into = append(*side.into, rate)
			fmt.Fprintf(os.Stderr, "%s round %d of %d: %s %.0f %s\n", b.name, round+1, o.rounds, side.name, rate, b.unit)
		}
	}
	r := result{Name: b.name, Unit: b.unit, Rounds: o.rounds}
	r.Sluice, r.SluiceRange = median(sluice)
	r.Native, r.NativeRange = median(native)
	r.Ratio = r.Sluice / r.Native
	return r, nil
}

func median(xs []float64) (m float64, spread [2]float64) {
	slices.Sort(xs)
	m = xs[len(xs)/2]
	if len(xs)%2 == 0 {
		m = (m + xs[len(xs)/2-1]) / 2
	}
	return m, [2]float64{xs[0], xs[len(xs)-1]}
}

func printTable(rs []result) {
	fmt.Printf("%-18s %12s %12s %7s  %-10s %6s  %s\n", "name", "sluice", "native", "ratio", "unit", "rounds", "spread (sluice; native)")
	for _, r := range rs {
		fmt.Printf("%-18s %12.0f %12.0f %7.2f  %-10s %6d  %.0f–%.0f; %.0f–%.0f\n", r.Name, r.Sluice, r.Native, r.Ratio,
			r.Unit, r.Rounds, r.SluiceRange[0], r.SluiceRange[1], r.NativeRange[0], r.NativeRange[1])
	}
}

func writeJSON(file string, rs []result) error {
	if file == "" {
		return nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, r := range rs {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("encode result: %w", err)
		}
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// roundTimeout bounds one side of a round.
const roundTimeout = 2 * time.Minute
