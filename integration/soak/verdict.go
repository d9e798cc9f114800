package main

import (
	"math"
	"strings"
)

// verdict is what is said of a series.
type verdict struct {
	series      string
	first, last float64 // means of the first and the last third
	slope       float64 // of the last two thirds, a minute
	grows       bool
}

// allowance is what a series may change by over the last two thirds and still
// count as flat: a tenth of its mean, and no less than what a collector, a
// sweep or a hand-over moves it by.
func allowance(series string, mean float64) float64 {
	least := map[string]float64{
		"MB": 8, "goroutines": 10, "descriptors": 5, "consumers": 5, "%": 5, "calls/s": 10, "messages": 100, "keys": 100,
	}
	unit := series[strings.LastIndexByte(series, ' ')+1:]
	return max(math.Abs(mean)/10, least[unit])
}

// judge fits a line to the last two thirds of a series (least squares). A
// series grows if that line rises by more than is allowed over them.
func judge(series string, ps []point) verdict {
	v := verdict{series: series}
	third := len(ps) / 3
	if third == 0 {
		return v
	}
	v.first, v.last = mean(ps[:third]), mean(ps[len(ps)-third:])
	rest := ps[third:]
	perSecond := slope(rest)
	v.slope = 60 * perSecond
	v.grows = perSecond*(rest[len(rest)-1].At-rest[0].At) > allowance(series, mean(rest))
	return v
}

func mean(ps []point) (m float64) {
	for _, p := range ps {
		m += p.Value / float64(len(ps))
	}
	return m
}

// slope is that of the line through ps by least squares, a second.
func slope(ps []point) float64 {
	var t float64
	for _, p := range ps {
		t += p.At / float64(len(ps))
	}
	m := mean(ps)
	var over, under float64
	for _, p := range ps {
		over += (p.At - t) * (p.Value - m)
		under += (p.At - t) * (p.At - t)
	}
	if under == 0 {
		return 0
	}
	return over / under
}
