package lab

import (
	"testing"
	"time"
)

func TestProcessorTimeIsReadBehindTheName(t *testing.T) {
	for _, c := range []struct {
		stat string
		want time.Duration
		fail bool
	}{
		{"7 (emitter) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 1 1 1", 2 * time.Second, false},
		{"7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 1 0 0 0 20 0 9 0 1 1 1", 10 * time.Millisecond, false},
		{"7 (emitter) S 1 7", 0, true},
		{"", 0, true},
	} {
		got, err := cpu([]byte(c.stat))
		if got != c.want || (err != nil) != c.fail {
			t.Errorf("cpu(%q) = %v, %v; want %v", c.stat, got, err, c.want)
		}
	}
}

func TestANumberIsReadAfterItsLabel(t *testing.T) {
	for _, c := range []struct {
		text, label string
		want        int
		fail        bool
	}{
		{"Name:\tx\nVmRSS:\t  1234 kB\n", "VmRSS:", 1234, false},
		{"goroutine profile: total 17\n", "goroutine profile: total ", 17, false},
		{"goroutine profile: total ", "goroutine profile: total ", 0, true},
		{"nothing", "VmRSS:", 0, true},
	} {
		got, err := after([]byte(c.text), c.label)
		if got != c.want || (err != nil) != c.fail {
			t.Errorf("after(%q, %q) = %d, %v; want %d", c.text, c.label, got, err, c.want)
		}
	}
}
