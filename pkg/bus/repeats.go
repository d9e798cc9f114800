package bus

import (
	"time"

	"github.com/rs/zerolog"
)

// repeatWarnings is how often a failure that does not change is worth a
// warning.
const repeatWarnings = 30 * time.Second

// atOnce is how many lines of a kind are written of as many as there may be.
const atOnce = 5

// Rarely returns a logger for what may fail for many at once, and fails again at
// every try: it writes 5 lines in 30 s at most.
func Rarely(log zerolog.Logger) zerolog.Logger {
	return log.Sample(&zerolog.BurstSampler{Burst: atOnce, Period: repeatWarnings})
}

// Repeats tells new failures from those that have been logged. It is for one
// goroutine; the zero value has seen none.
type Repeats struct {
	last string
	at   time.Time
}

// New reports whether err is worth a warning: it says something else than the
// last one that was, or that was 30 s ago.
func (r *Repeats) New(err error) bool {
	now := time.Now()
	if err.Error() == r.last && now.Sub(r.at) < repeatWarnings {
		return false
	}
	r.last, r.at = err.Error(), now
	return true
}

// Over reports whether there was a failure to be over, and forgets it.
func (r *Repeats) Over() bool {
	was := r.last != ""
	*r = Repeats{}
	return was
}
