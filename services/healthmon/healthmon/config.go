package healthmon

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/service"
)

// Config configures a Service. The zero value is not valid: service.Parse
// fills in the defaults.
type Config struct {
	// Interval is the time between two sweeps, 100ms to 24h. Defaults to 60s.
	Interval time.Duration `env:"SLUICE_HEALTH_INTERVAL" envDefault:"60s" desc:"time between two sweeps"`

	// StallAfter is how long a pool may have work and show no sign of life in
	// its owner's answers, 300ms to 24h. Defaults to 30s. It is watched in
	// three steps, each at least as long as what a healthy emitter may need
	// to come back by itself: its client opens a reader anew after two missed
	// heartbeats, 10s, and an emitter that gets too little processor time to
	// renew its session loses its pools after SLUICE_SESSION_TTL, 10s.
	StallAfter time.Duration `env:"SLUICE_HEALTH_STALL_AFTER" envDefault:"30s" desc:"how long a pool may have work and not move"`

	// LagAge is the age of the oldest unfinished event from which a pool
	// counts as lagging. Defaults to 5m.
	LagAge time.Duration `env:"SLUICE_HEALTH_LAG_AGE" envDefault:"5m" desc:"age of the oldest unfinished event that counts as lagging"`

	// CleanupEnabled is the switch of automatic repair until somebody sets
	// it by a request, which is kept. Defaults to true.
	CleanupEnabled bool `env:"SLUICE_CLEANUP_ENABLED" envDefault:"true" desc:"automatic repair, until a request switches it"`

	// CleanupMaxAttempts is how often an issue is repaired before the monitor
	// gives up on it, 1 to 1000. Defaults to 3.
	CleanupMaxAttempts int `env:"SLUICE_CLEANUP_MAX_ATTEMPTS" envDefault:"3" desc:"automatic repairs of one issue before giving up"`

	// CleanupRetryDelay is the time between two of them. Defaults to 5s.
	CleanupRetryDelay time.Duration `env:"SLUICE_CLEANUP_RETRY_DELAY" envDefault:"5s" desc:"time between two automatic repairs of one issue"`
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name        string
		d, min, max time.Duration
	}{
		{"SLUICE_HEALTH_INTERVAL", c.Interval, 100 * time.Millisecond, 24 * time.Hour},
		{"SLUICE_HEALTH_STALL_AFTER", c.StallAfter, 300 * time.Millisecond, 24 * time.Hour},
		{"SLUICE_HEALTH_LAG_AGE", c.LagAge, time.Millisecond, 10 * 365 * 24 * time.Hour},
		{"SLUICE_CLEANUP_RETRY_DELAY", c.CleanupRetryDelay, time.Millisecond, 24 * time.Hour},
	} {
		if d.d < d.min || d.d > d.max {
			errs = append(errs, fmt.Errorf("%s: %s: want %s to %s", d.name, d.d, d.min, d.max))
		}
	}
	if c.CleanupMaxAttempts < 1 || c.CleanupMaxAttempts > 1000 {
		errs = append(errs, fmt.Errorf("SLUICE_CLEANUP_MAX_ATTEMPTS: %d: want 1 to 1000", c.CleanupMaxAttempts))
	}
	return errors.Join(errs...)
}

// FromEnv makes the healthmon that an environment describes.
func FromEnv() service.Factory { return service.FromEnv(New) }
