package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// report says what came of the soak. The error says what was bad.
func (s *soak) report(late []*subscription) (string, error) {
	out := &strings.Builder{}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	published := int(s.watch.published.Load())
	deliveries := 0
	for _, sub := range s.subs {
		sub.mu.Lock()
		deliveries += sub.deliveries
		if len(sub.faults) > 0 {
			fault("%s (%s): %s", sub.name, sub.kind.name, strings.Join(sub.faults, "; "))
		}
		sub.mu.Unlock()
	}
	for _, sub := range late {
		missing, wanted := sub.missing(published)
		fault("%s (%s) lacks %d of %d events", sub.name, sub.kind.name, missing, wanted)
	}
	fmt.Fprintf(out, "%d events published, %d deliveries (%.0f/s), %d emitters killed\n", published, deliveries,
		float64(deliveries)/s.o.time.Seconds(), s.watch.kills.Load())
	fmt.Fprintln(out, s.calls.String())
	if s.calls.fails > 0 {
		fault("%d requests failed: %s", s.calls.fails, strings.Join(s.calls.failed, "; "))
	}
	fmt.Fprintf(out, "%d of %d subscriptions have all their events, in order\n", len(s.subs)-len(late), len(s.subs))
	fmt.Fprintf(out, "\n%-40s %12s %12s %14s  %s\n", "over the last two thirds", "first third", "last third", "slope/minute", "verdict")
	for _, name := range s.watch.series() {
		v := judge(name, s.watch.of(name))
		word := "flat"
		if v.grows {
			word = "GROWS"
			fault("%s grows by %.3g a minute", name, v.slope)
		}
		fmt.Fprintf(out, "%-40s %12.4g %12.4g %+14.3g  %s\n", v.series, v.first, v.last, v.slope, word)
	}
	if err := s.watch.write(s.o.series); err != nil {
		faults = append(faults, err)
	}
	return out.String(), errors.Join(faults...)
}

// String tells how many calls there were and how long they took.
func (c *calls) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	took := slices.Sorted(slices.Values(c.took))
	if len(took) == 0 {
		return "no requests"
	}
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(time.Millisecond / 10) }
	return fmt.Sprintf("%d of %d requests failed; p50 %s, p99 %s, at most %s", c.fails, len(took), at(0.5), at(0.99), at(1))
}
