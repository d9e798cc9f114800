package main

import (
	"math"
	"testing"
)

func TestASeriesIsJudgedByItsLastTwoThirds(t *testing.T) {
	series := func(f func(i int) float64) (ps []point) {
		for i := range 90 {
			ps = append(ps, point{At: float64(i) * 10, Value: f(i)})
		}
		return ps
	}
	for _, c := range []struct {
		name, series string
		value        func(int) float64
		grows        bool
	}{
		{"constant", "x messages", func(int) float64 { return 700 }, false},
		{"leak", "x messages", func(i int) float64 { return 700 + 5*float64(i) }, true},
		{"leak of little", "x messages", func(i int) float64 { return 10 + float64(i)/2 }, false},
		{"warms up, then is level", "x heap MB", func(i int) float64 { return 200 - 150*math.Exp(-float64(i)/8) }, false},
		{"grows late", "x heap MB", func(i int) float64 { return 50 + max(0, float64(i)-30) }, true},
		{"saw", "x heap MB", func(i int) float64 { return 100 + 40*float64(i%7) }, false},
		{"saw that rises", "x heap MB", func(i int) float64 { return 100 + 40*float64(i%7) + 2*float64(i) }, true},
		{"shrinks", "x goroutines", func(i int) float64 { return 200 - float64(i) }, false},
	} {
		if v := judge(c.series, series(c.value)); v.grows != c.grows {
			t.Errorf("%s: grows %v, want %v (%+v)", c.name, v.grows, c.grows, v)
		}
	}
	if v := judge("x messages", nil); v.grows {
		t.Error("nothing grows")
	}
}
