// Command plot draws line charts, as SVG, from JSON lines: those of the
// benchmark's -sweep and of the limit's simulation. It is in a module of its
// own so that what it draws with stays out of the main go.mod.
//
//	go run . -x seconds -y limit -by scenario -o limit.svg < simulation.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// options say what to draw.
type options struct {
	title, x, y, by, out string
	xLabel, yLabel       string
	only                 string
	logX, logY           bool
}

func run(args []string, in io.Reader) error {
	var o options
	f := flag.NewFlagSet("plot", flag.ContinueOnError)
	f.StringVar(&o.title, "title", "", "above the chart")
	f.StringVar(&o.x, "x", "x", "the member that goes to the right; a number")
	f.StringVar(&o.y, "y", "y", "the member that goes up; a number")
	f.StringVar(&o.by, "by", "", "the member that tells the lines apart")
	f.StringVar(&o.only, "only", "", "take only the objects whose member sweep is this")
	f.StringVar(&o.xLabel, "xlabel", "", "below the chart; the member by default")
	f.StringVar(&o.yLabel, "ylabel", "", "beside the chart; the member by default")
	f.BoolVar(&o.logX, "logx", false, "a logarithmic x axis")
	f.BoolVar(&o.logY, "logy", false, "a logarithmic y axis")
	f.StringVar(&o.out, "o", "", "the `file` to write; its ending says which kind (svg, png)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.out == "" {
		return errors.New("-o: name the file to write")
	}
	names, lines, err := read(in, o)
	if err != nil {
		return err
	}
	return draw(o, names, lines)
}

// read returns the points of each line, and the lines' names in order of appearance.
func read(in io.Reader, o options) (names []string, lines map[string]plotter.XYs, err error) {
	lines = map[string]plotter.XYs{}
	scan := bufio.NewScanner(in)
	for n := 1; scan.Scan(); n++ {
		var v map[string]any
		if err := json.Unmarshal(scan.Bytes(), &v); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", n, err)
		}
		if o.only != "" && v["sweep"] != o.only {
			continue
		}
		x, okX := v[o.x].(float64)
		y, okY := v[o.y].(float64)
		if !okX || !okY {
			return nil, nil, fmt.Errorf("line %d: %q and %q: want two numbers", n, o.x, o.y)
		}
		name, _ := v[o.by].(string)
		if _, known := lines[name]; !known {
			names = append(names, name)
		}
		lines[name] = append(lines[name], plotter.XY{X: x, Y: y})
	}
	if len(names) == 0 && scan.Err() == nil {
		return nil, nil, errors.New("nothing to draw")
	}
	return names, lines, scan.Err()
}

func draw(o options, names []string, lines map[string]plotter.XYs) error {
	p := plot.New()
	p.Title.Text = o.title
	p.X.Label.Text, p.Y.Label.Text = orElse(o.xLabel, o.x), orElse(o.yLabel, o.y)
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	if o.logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if o.logY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	} else {
		p.Y.Min = 0
	}
	for i, name := range names {
		line, points, err := plotter.NewLinePoints(lines[name])
		if err != nil {
			return fmt.Errorf("line %q: %w", name, err)
		}
		line.Color, points.Color = plotutil.Color(i), plotutil.Color(i)
		line.Width = vg.Points(1.5)
		p.Add(line)
		if len(lines[name]) < 50 {
			p.Add(points)
		}
		if name != "" {
			p.Legend.Add(name, line)
		}
	}
	if !o.logY {
		p.Y.Max *= 1 + 0.09*float64(len(names)) // the legend's place
	}
	return p.Save(20*vg.Centimeter, 10*vg.Centimeter, o.out)
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
