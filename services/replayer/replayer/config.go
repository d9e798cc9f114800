package replayer

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/service"
)

// Config configures a Service. The zero value is not valid: service.Parse
// fills in the defaults.
type Config struct {
	// Settle is how long it must be quiet after a move of leadership before a
	// run begins, so that a burst of moves is one run. The emitters get as
	// long again for what they are about to observe. Defaults to 250ms.
	Settle time.Duration `env:"SLUICE_RECONCILE_SETTLE" envDefault:"250ms" desc:"quiet time after a move of leadership before the history is reconciled"`

	// Pace is the least time from one run to the next while leadership does not
	// move, and pools only begin, end or start over; 0 is none. Defaults to 5s.
	Pace time.Duration `env:"SLUICE_RECONCILE_PACE" envDefault:"5s" desc:"least time between two reconciliations while only pools begin and end"`

	// Wait is how long a run waits for the emitters to observe what it
	// replays. Defaults to 10s.
	Wait time.Duration `env:"SLUICE_RECONCILE_WAIT" envDefault:"10s" desc:"how long a run waits for replayed transitions to be observed"`

	// Retry is the pause before a run is repeated that left something
	// unobserved. Defaults to 30s.
	Retry time.Duration `env:"SLUICE_RECONCILE_RETRY" envDefault:"30s" desc:"pause before what stayed unobserved is replayed again"`

	// MaxReplays is how many replays there may be that have not ended, 1 to
	// 10,000. Defaults to 64.
	MaxReplays int `env:"SLUICE_REPLAYS_MAX" envDefault:"64" desc:"most replays that have not ended, in all"`

	// MaxRunning is how many replays this instance runs at once, 1 to 1,000; the
	// others wait. Defaults to 8.
	MaxRunning int `env:"SLUICE_REPLAYS_PER_INSTANCE" envDefault:"8" desc:"most replays that one replayer runs at once"`

	// ConfirmAbove is how many events a replay may deliver, or a request discard,
	// without the confirm value of a dry run; 0 asks for it always. Defaults to 10,000.
	ConfirmAbove int `env:"SLUICE_REPLAY_CONFIRM_ABOVE" envDefault:"10000" desc:"most events that a replay may deliver, or a request discard, unconfirmed"`
}

// settleFactor times Settle is the longest that an unbroken series of moves
// can hold a run up.
const settleFactor = 8

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name     string
		d        time.Duration
		min, max time.Duration
	}{
		{"SLUICE_RECONCILE_SETTLE", c.Settle, time.Millisecond, time.Minute},
		{"SLUICE_RECONCILE_PACE", c.Pace, 0, 10 * time.Minute},
		{"SLUICE_RECONCILE_WAIT", c.Wait, time.Millisecond, 10 * time.Minute},
		{"SLUICE_RECONCILE_RETRY", c.Retry, 10 * time.Millisecond, time.Hour},
	} {
		if d.d < d.min || d.d > d.max {
			errs = append(errs, fmt.Errorf("%s: %s: want %s to %s", d.name, d.d, d.min, d.max))
		}
	}
	for _, n := range []struct {
		name         string
		n, low, high int
	}{
		{"SLUICE_REPLAYS_MAX", c.MaxReplays, 1, 10_000},
		{"SLUICE_REPLAYS_PER_INSTANCE", c.MaxRunning, 1, 1000},
		{"SLUICE_REPLAY_CONFIRM_ABOVE", c.ConfirmAbove, 0, 1_000_000_000},
	} {
		if n.n < n.low || n.n > n.high {
			errs = append(errs, fmt.Errorf("%s: %d: want %d to %d", n.name, n.n, n.low, n.high))
		}
	}
	return errors.Join(errs...)
}

// FromEnv makes the replayer that an environment describes.
func FromEnv() service.Factory { return service.FromEnv(New) }
