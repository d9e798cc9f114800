package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/integration/lab"
)

var errSettled = errors.New("settled")

// watched is a process under its name in the report.
type watched struct {
	role string
	*lab.Process
}

// point is what was measured of one thing at a moment.
type point struct {
	Series string  `json:"series"`
	At     float64 `json:"at"` // seconds since the begin
	Value  float64 `json:"value"`
}

// watch takes samples of everything that should not grow.
type watch struct {
	w         *lab.World
	processes []watched
	published atomic.Int64
	kills     atomic.Int64

	begin  time.Time
	cpu    map[string]time.Duration // at the sample before
	calls  uint64
	before time.Time
	points []point
}

func newWatch(w *lab.World) *watch {
	return &watch{w: w, processes: []watched{{"nats-server", w.Server}}, cpu: map[string]time.Duration{}}
}

func (w *watch) run(ctx context.Context, interval time.Duration) error {
	w.begin = time.Now()
	return every(ctx, interval, func() error { return w.sample(ctx) })
}

func (w *watch) sample(ctx context.Context) error {
	now := time.Now()
	add := func(series string, value float64) {
		w.points = append(w.points, point{series, now.Sub(w.begin).Seconds(), value})
	}
	since := now.Sub(w.before).Seconds()
	for _, p := range w.processes {
		u, err := p.Usage(ctx)
		if err != nil {
			return err
		}
		add(p.role+" resident MB", float64(u.Resident)/1024)
		add(p.role+" heap MB", float64(u.Heap)/1024)
		add(p.role+" goroutines", float64(u.Goroutines))
		add(p.role+" descriptors", float64(u.Files))
		if !w.before.IsZero() {
			add(p.role+" CPU %", 100*(u.CPU-w.cpu[p.role]).Seconds()/since)
		}
		w.cpu[p.role] = u.CPU
	}
	if err := w.ofServer(ctx, since, add); err != nil {
		return err
	}
	w.before = now
	return nil
}

// ofServer samples what the server keeps for Sluice.
func (w *watch) ofServer(ctx context.Context, since float64, add func(string, float64)) error {
	info, err := w.w.JS.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("ask the server what it holds: %w", err)
	}
	add("consumers", float64(info.Consumers))
	if !w.before.IsZero() {
		add("JetStream API calls/s", float64(info.API.Total-w.calls)/since)
	}
	w.calls = info.API.Total
	streams := w.w.JS.ListStreams(ctx)
	for st := range streams.Info() {
		// A bucket keeps so many revisions of a key and no more: that each change of a
		// subscription adds one until then is no growth. What has to end is keys.
		if bucket, is := strings.CutPrefix(st.Config.Name, "KV_"); is {
			add(bucket+" keys", float64(st.State.NumSubjects))
		} else if st.Config.Name != store {
			add(st.Config.Name+" messages", float64(st.State.Msgs))
		}
	}
	return streams.Err()
}

// series are the names of what was sampled, in the order of their first sample.
func (w *watch) series() (names []string) {
	for _, p := range w.points {
		if !slices.Contains(names, p.Series) {
			names = append(names, p.Series)
		}
	}
	return names
}

func (w *watch) of(series string) (ps []point) {
	for _, p := range w.points {
		if p.Series == series {
			ps = append(ps, p)
		}
	}
	return ps
}

// write writes all points to a file, one JSON object a line.
func (w *watch) write(file string) error {
	if file == "" {
		return nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, p := range w.points {
		if err := enc.Encode(p); err != nil {
			return err
		}
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
