package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/wire"
)

// figures of one installation that is watched by a monitor.
const (
	figureFirst = iota
	figureLater
	figureCheck
	monitorFigures
)

// watched is what a monitor of many subscriptions costs. Making the installation takes
// most of the time, so that each serves all rows, a round of each.
type watched struct {
	measured [][monitorFigures]float64 // by round
	asked    [monitorFigures]int       // rounds that a row has had
}

func monitors() []benchmark {
	var m watched
	row := func(which int, name, unit string, most float64, about string) benchmark {
		return benchmark{name: name, unit: unit, goal: atMost(most), about: about, alone: true, sluice: m.figure(which)}
	}
	return []benchmark{
		row(figureFirst, "sweep_50k_first", "s", 5, "the first sweep of a monitor of 50,000 subscriptions"),
		row(figureLater, "sweep_50k_later", "s", 2, "a later sweep of it, the median"),
		row(figureCheck, "check_50k", "s", 2, "the longest health.check of it, at rest and while another emitter takes all over"),
	}
}

// figure is a row's side.
func (m *watched) figure(which int) side {
	return func(ctx context.Context, _ *world, o options) (float64, error) {
		round := m.asked[which]
		m.asked[which]++
		if round == len(m.measured) {
			var f [monitorFigures]float64
			if _, err := within(ctx, 2*roundTimeout, o, func(ctx context.Context, w *world, o options) (_ float64, err error) {
				f, err = watch(ctx, w, o)
				return 0, err
			}); err != nil {
				return 0, err
			}
			m.measured = append(m.measured, f)
		}
		return m.measured[round][which], nil
	}
}

// watch makes an installation, and measures its monitor.
func watch(ctx context.Context, w *world, o options) (f [monitorFigures]float64, err error) {
	n := o.scale(50_000, 5_000)
	if _, err := w.NC.Subscribe(targets+">", func(*nats.Msg) {}); err != nil {
		return f, err
	}
	emitter, err := w.idle(ctx, n)
	if err != nil {
		return f, err
	}
	reports, err := w.NC.SubscribeSync(wire.DefaultNamespace.HealthReport())
	if err != nil {
		return f, err
	}
	monitor, err := w.service(ctx, wire.ServiceHealthmon)
	if err != nil {
		return f, err
	}
	m, err := reports.NextMsgWithContext(ctx)
	if err != nil {
		return f, err
	}
	if f[figureFirst], err = sweepOf(m, n); err != nil {
		return f, err
	}
	var later []float64
	for range 5 {
		if m, err = w.NC.RequestWithContext(ctx, wire.DefaultNamespace.API(wire.VerbHealthCheck), []byte(`{"within":"28s"}`)); err != nil {
			return f, err
		}
		took, err := sweepOf(m, n)
		if err != nil {
			return f, err
		}
		later = append(later, took)
	}
	f[figureLater], _ = median(later)
	if o.verbose {
		if err := shown(ctx, monitor); err != nil {
			return f, err
		}
	}
	f[figureCheck], err = w.longestCheck(ctx, n, emitter)
	return f, err
}

// sweepOf is how many seconds the sweep took that a report is of.
func sweepOf(m *nats.Msg, n int) (float64, error) {
	var r wire.ReportResponse
	switch err := json.Unmarshal(m.Data, &r); {
	case err != nil:
		return 0, err
	case r.Error != nil:
		return 0, r.Error
	case r.TotalSubscriptions != n || r.AsOf != nil:
		return 0, fmt.Errorf("report of %d subscriptions of %d, as of %+v", r.TotalSubscriptions, n, r.AsOf)
	}
	return float64(r.CheckDurationMS) / 1000, nil
}

// longestCheck is the longest time that an answer takes, of some at rest, and some
// while another emitter takes over from one that is killed.
func (w *world) longestCheck(ctx context.Context, n int, emitter *lab.Process) (longest float64, err error) {
	owner, err := w.live(ctx, n, "")
	if err != nil {
		return 0, err
	}
	check := func() error {
		begin := time.Now()
		m, err := w.NC.RequestWithContext(ctx, wire.DefaultNamespace.API(wire.VerbHealthCheck), nil)
		if err != nil {
			return err
		}
		longest = max(longest, time.Since(begin).Seconds())
		var r wire.ReportResponse
		if err := json.Unmarshal(m.Data, &r); err != nil {
			return err
		}
		if r.Error != nil {
			return r.Error
		}
		return nil
	}
	for range 3 {
		if err := check(); err != nil {
			return 0, err
		}
	}
	emitter.Kill()
	if _, err := w.service(ctx, wire.ServiceEmitter); err != nil {
		return 0, err
	}
	taken := make(chan error, 1)
	go func() { // ends with ctx or the takeover
		_, err := w.live(ctx, n, owner)
		taken <- err
	}()
	for {
		if err := check(); err != nil {
			return 0, err
		}
		select {
		case err := <-taken:
			return longest, err
		default:
		}
	}
}

// shown prints what a monitor uses.
func shown(ctx context.Context, monitor *lab.Process) error {
	u, err := monitor.Usage(ctx)
	fmt.Fprintf(os.Stderr, "  %s: %d MB resident, %d MB live\n", monitor.Name, u.Resident>>10, u.Heap>>10)
	return err
}
