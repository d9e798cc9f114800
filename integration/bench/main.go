// Command bench measures Sluice and another way of doing the same work side by
// side, alternately in one run, and prints the ratio of the medians. The other
// way is what NATS offers natively, or Sluice itself under a lighter load. Only
// the ratios mean something: absolute figures depend on the machine and on
// what else it does.
//
// The nats-server, the services, the publisher and the subscribers are
// separate processes. Everything listens on loopback and ends with the run.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/integration/lab"
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
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	run     string
	sweep   string
	json    string
	short   bool
	verbose bool
	pprof   string
	rounds  int
	bins    string // where the built programs are
}

// scale picks the size of a benchmark: the full one, or a fraction of it for a
// short run.
func (o options) scale(full, short int) int {
	if o.short {
		return short
	}
	return full
}

// A side is one of the two ways to do a benchmark's work. It returns the rate,
// latency, time or size in the benchmark's unit.
type side func(context.Context, *world, options) (float64, error)

// benchmark compares Sluice with the other side.
type benchmark struct {
	name, unit    string
	about         string
	sluice, other side          // no other: the figure of Sluice alone
	alone         bool          // its sides make the worlds they need, and are given none
	timeout       time.Duration // of a side; 0: roundTimeout
	most          int           // rounds, since one takes long; 0: any number
	goal          goal
}

// goal is what the ratio, or without another side the figure, should be.
type goal struct {
	atMost bool // else at least
	value  float64
}

func atLeast(v float64) goal { return goal{value: v} }
func atMost(v float64) goal  { return goal{atMost: true, value: v} }

func (g goal) met(v float64) bool {
	if g.atMost {
		return v <= g.value
	}
	return v >= g.value
}

func (g goal) String() string {
	if g.atMost {
		return fmt.Sprintf("≤ %g", g.value)
	}
	return fmt.Sprintf("≥ %g", g.value)
}

func benchmarks() []benchmark {
	return slices.Concat(throughputs(), publishers(), fanouts(), latencies(), matches(), colds(), larges(), backlogs(), filters(), neighbours(), names(), rests(), monitors())
}

func parse(args []string) (options, []benchmark, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.run, "run", "", "run only the benchmarks of these names, separated by commas")
	f.StringVar(&o.sweep, "sweep", "", "instead, do one work at several sizes and print a JSON object for each")
	f.StringVar(&o.json, "json", "", "also write the results to this `file`, one JSON object a line")
	f.BoolVar(&o.short, "short", false, "less work, a single round, the smallest size of a sweep: to be trusted less")
	f.BoolVar(&o.verbose, "v", false, "show the processor time of each process, and more quantiles")
	f.StringVar(&o.pprof, "pprof", "", "serve the emitter's profiles on this loopback `address` while it runs")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of each side")
	f.Usage = func() {
		_, _ = fmt.Fprint(f.Output(), usage(), "\nFlags:\n") // to the terminal: there is nobody to tell
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return o, nil, err
	}
	if o.rounds < 1 {
		return o, nil, fmt.Errorf("-rounds %d: want at least 1", o.rounds)
	}
	if o.short {
		o.rounds = 1
	}
	chosen, err := choose(benchmarks(), o.run)
	return o, chosen, err
}

func usage() string {
	var b strings.Builder
	b.WriteString("Usage: bench [flags]\n\nBenchmarks:\n")
	for _, m := range benchmarks() {
		fmt.Fprintf(&b, "  %-18s %s\n", m.name, m.about)
	}
	b.WriteString("\nSweeps:\n")
	for _, s := range sweeps() {
		fmt.Fprintf(&b, "  %-18s %s\n", s.name, s.about)
	}
	return b.String()
}

// choose picks benchmarks by name; all, if none is named.
func choose(all []benchmark, names string) ([]benchmark, error) {
	if names == "" {
		return all, nil
	}
	var chosen []benchmark
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(b benchmark) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-run %s: there is no such benchmark; --help lists them", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func run(ctx context.Context) (err error) {
	o, chosen, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	if o.bins, err = lab.Binaries(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.bins)) }()
	if o.sweep != "" {
		i := slices.IndexFunc(sweeps(), func(s sweep) bool { return s.name == o.sweep })
		if i < 0 {
			return fmt.Errorf("-sweep %s: there is no such sweep; --help lists them", o.sweep)
		}
		return runSweep(ctx, sweeps()[i], o, os.Stdout)
	}
	var results []result
	for _, b := range chosen {
		r, err := measure(ctx, b, o)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", b.name, err), report(results, o))
		}
		results = append(results, r)
	}
	return report(results, o)
}

// measure runs both sides in turn, each round on a server and a store of its own.
func measure(ctx context.Context, b benchmark, o options) (result, error) {
	var sluice, other []float64
	rounds := o.rounds
	if b.most > 0 {
		rounds = min(rounds, b.most)
	}
	for round := range rounds {
		for _, s := range []struct {
			name string
			do   side
			into *[]float64
		}{{"other", b.other, &other}, {"sluice", b.sluice, &sluice}} {
			if s.do == nil {
				continue
			}
			begin := time.Now()
			v, err := b.once(ctx, s.do, o)
			if err != nil {
				return result{}, fmt.Errorf("%s, round %d: %w", s.name, round+1, err)
			}
			*s.into = append(*s.into, v)
			fmt.Fprintf(os.Stderr, "%s, round %d of %d: %s %s %s (%.1f s)\n", b.name, round+1, rounds, s.name,
				figure(v), b.unit, time.Since(begin).Seconds())
		}
	}
	return newResult(b, sluice, other), nil
}

func (b benchmark) once(ctx context.Context, do side, o options) (float64, error) {
	if b.alone {
		return do(ctx, nil, o)
	}
	return within(ctx, cmp.Or(b.timeout, roundTimeout), o, do)
}
