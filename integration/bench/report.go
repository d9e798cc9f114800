package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// result of a benchmark: medians of the rounds, and their spread. Without
// another side Native and Ratio are absent.
type result struct {
	Name        string      `json:"name"`
	Sluice      float64     `json:"sluice"`
	Native      float64     `json:"native,omitzero"`
	Ratio       float64     `json:"ratio,omitzero"`
	Unit        string      `json:"unit"`
	Rounds      int         `json:"rounds"`
	SluiceRange [2]float64  `json:"sluice_range"`
	NativeRange *[2]float64 `json:"native_range,omitempty"`
	Goal        string      `json:"goal"`
	Met         bool        `json:"met"`
}

func newResult(b benchmark, sluice, other []float64) result {
	r := result{Name: b.name, Unit: b.unit, Rounds: len(sluice), Goal: b.goal.String()}
	r.Sluice, r.SluiceRange = median(sluice)
	r.Met = b.goal.met(r.Sluice)
	if len(other) > 0 {
		var spread [2]float64
		r.Native, spread = median(other)
		r.NativeRange = &spread
		r.Ratio = r.Sluice / r.Native
		r.Met = b.goal.met(r.Ratio)
	}
	return r
}

func median(xs []float64) (m float64, spread [2]float64) {
	slices.Sort(xs)
	m = xs[len(xs)/2]
	if len(xs)%2 == 0 {
		m = (m + xs[len(xs)/2-1]) / 2
	}
	return m, [2]float64{xs[0], xs[len(xs)-1]}
}

// figure shows a number with about three digits that say something.
func figure(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.*f", max(0, 2-int(math.Floor(math.Log10(v)))), v)
	}
}

func report(rs []result, o options) error {
	fmt.Print(table(rs))
	return writeJSON(o.json, rs)
}

func table(rs []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-18s %10s %10s %7s %7s %-5s %-13s %6s  %s\n",
		"name", "sluice", "other", "ratio", "goal", "met", "unit", "rounds", "spread (sluice; other)")
	for _, r := range rs {
		met, spread := "no", figure(r.SluiceRange[0])+"–"+figure(r.SluiceRange[1])
		if r.Met {
			met = "yes"
		}
		if r.NativeRange != nil {
			spread += "; " + figure(r.NativeRange[0]) + "–" + figure(r.NativeRange[1])
		}
		fmt.Fprintf(&b, "%-18s %10s %10s %7s %7s %-5s %-13s %6d  %s\n", r.Name, figure(r.Sluice), figure(r.Native),
			ratio(r.Ratio), r.Goal, met, r.Unit, r.Rounds, spread)
	}
	return b.String()
}

func ratio(v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", v)
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
