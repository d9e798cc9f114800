package replayer

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"
)

// What moved, as a report's trigger names it.
const (
	moveElected   = "elected"       // this instance became the leader
	movePool      = "pool"          // a pool's owner or epoch changed, or it began or ended
	moveLease     = "lease"         // another role's leader lease changed hands
	moveStream    = "stream_leader" // JetStream elected a leader for one of our buckets
	moveReconnect = "reconnected"   // our own connection was away
	moveRetry     = "retry"         // something stayed unobserved, or the last run failed
)

// moves collects what moved until a run takes it. Its size is bounded by the
// number of kinds of move.
type moves struct {
	mu     sync.Mutex
	kinds  []string
	urgent bool          // one of them was a move of leadership
	signal chan struct{} // cap 1: there may be something to take
}

func newMoves() *moves { return &moves{signal: make(chan struct{}, 1)} }

// add notes a move of leadership. It never blocks.
func (m *moves) add(kind string) { m.note(kind, true) }

// note is add for a move that may be none of leadership: then it is not urgent.
func (m *moves) note(kind string, urgent bool) {
	m.mu.Lock()
	if !slices.Contains(m.kinds, kind) {
		m.kinds = append(m.kinds, kind)
	}
	m.urgent = m.urgent || urgent
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default: // the signal that is there stands for this move too
	}
}

// pressing reports whether leadership has moved since the last take.
func (m *moves) pressing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.urgent
}

// take returns the kinds noted since the last take, in the order in which
// they first came, and forgets them.
func (m *moves) take() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	kinds := strings.Join(m.kinds, ",")
	m.kinds, m.urgent = nil, false
	return kinds
}

// scheduler decides when runs happen: one at a time, one for a burst of moves,
// one more if moves came meanwhile.
type scheduler struct {
	moves  *moves
	settle time.Duration
	pace   time.Duration // from one run to the next, while leadership does not move
	retry  time.Duration
	log    zerolog.Logger
	// run does one run and says how many transitions it left unobserved.
	run func(ctx context.Context, trigger string) (unobserved int, err error)

	began time.Time // the last run
}

// minRunRetry is the first pause after a failed run; the pauses grow up to
// scheduler.retry.
const minRunRetry = 500 * time.Millisecond

// schedule runs until ctx ends.
func (c *scheduler) schedule(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = min(minRunRetry, c.retry), c.retry
	again := time.NewTimer(0)
	defer again.Stop()
	again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			c.moves.add(moveRetry)
			continue
		case <-c.moves.signal:
		}
		if !c.quiet(ctx) {
			return
		}
		again.Stop()
		c.began = time.Now()
		unobserved, err := c.run(ctx, c.moves.take())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait := pause.NextBackOff()
			c.log.Warn().Err(err).Int64("retry_ms", wait.Milliseconds()).Msg("reconciliation failed")
			again.Reset(wait)
		case unobserved > 0:
			pause.Reset()
			again.Reset(c.retry)
		default:
			pause.Reset()
		}
	}
}

// quiet waits until leadership has not moved for settle, but no longer than
// settleFactor times that. Where it does not move, and pools only come and go, it
// waits until pace is over, too. It returns false when ctx has ended.
func (c *scheduler) quiet(ctx context.Context) bool {
	settled := time.NewTimer(c.settle)
	defer settled.Stop()
	longest := time.NewTimer(settleFactor * c.settle)
	defer longest.Stop()
	paced := time.NewTimer(c.pace - time.Since(c.began))
	defer paced.Stop()
	calm, due, pressing := false, false, false
	for {
		if !pressing && c.moves.pressing() {
			pressing, calm = true, false
			settled.Reset(c.settle)
			longest.Reset(settleFactor * c.settle)
		}
		if calm && (due || pressing) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-settled.C:
			calm = true
		case <-longest.C:
			calm = true
		case <-paced.C:
			due = true
		case <-c.moves.signal:
			settled.Reset(c.settle)
		}
	}
}
