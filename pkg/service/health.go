package service

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Reasons that Health gives by itself.
const (
	reasonStarting = "starting"
	reasonDraining = "draining"
)

// Health collects what must hold for a process to be ready for work. A process
// is ready when every check is OK and it is not draining.
type Health struct {
	shared *healthState
	prefix string
}

type healthState struct {
	mu       sync.Mutex
	checks   map[string]*Check
	draining bool
	changed  chan struct{} // closed and replaced at every change
}

// NewHealth returns a Health without checks, which is ready.
func NewHealth() *Health {
	return &Health{shared: &healthState{
		checks: make(map[string]*Check), changed: make(chan struct{}),
	}}
}

// Check is one thing that must hold. It is safe for concurrent use.
type Check struct {
	shared *healthState
	reason string // empty: it holds; guarded by shared.mu
}

// CheckResult is the state of one check.
type CheckResult struct {
	Name   string
	Reason string // why it fails; empty where it is OK
}

// Check returns the check of that name, and registers it as failing with the
// reason "starting" where there is none.
func (h *Health) Check(name string) *Check {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	name = h.prefix + name
	c, ok := h.shared.checks[name]
	if !ok {
		c = &Check{shared: h.shared, reason: reasonStarting}
		h.shared.checks[name] = c
		h.shared.wake()
	}
	return c
}

// For returns a Health whose checks are those of h with "<part>." before their
// names, so that several services in one process have their own.
func (h *Health) For(part string) *Health {
	return &Health{shared: h.shared, prefix: h.prefix + part + "."}
}

// OK says that the check holds.
func (c *Check) OK() { c.set("") }

// Fail says that the check does not hold, and why.
func (c *Check) Fail(reason string) { c.set(cmp.Or(reason, "failed")) }

func (c *Check) set(reason string) {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if c.reason != reason {
		c.reason = reason
		c.shared.wake()
	}
}

// Drain says that the process is stopping: it is not ready any more, whatever
// the checks say.
func (h *Health) Drain() {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	h.shared.draining = true
	h.shared.wake()
}

// Results returns the state of all checks by name, with "drain" among them
// while the process is stopping.
func (h *Health) Results() []CheckResult {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	results := make([]CheckResult, 0, len(h.shared.checks)+1)
	for _, name := range slices.Sorted(maps.Keys(h.shared.checks)) {
		results = append(results, CheckResult{name, h.shared.checks[name].reason})
	}
	if h.shared.draining {
		results = append(results, CheckResult{"drain", reasonDraining})
	}
	return results
}

// Ready reports whether the process is ready, and if not, why not.
func (h *Health) Ready() (ready bool, reasons string) {
	var failing []string
	for _, r := range h.Results() {
		if r.Reason != "" {
			failing = append(failing, r.Name+": "+r.Reason)
		}
	}
	return len(failing) == 0, strings.Join(failing, ", ")
}

// Changed returns a channel that is closed at the next change of any check.
// Get it before looking at the checks, so that no change is missed.
func (h *Health) Changed() <-chan struct{} {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	return h.shared.changed
}

// wake is called with mu held.
func (s *healthState) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}
