package player

import (
	"context"
	"time"
)

// removeFor bounds what a replay that is stopped removes before it is left.
const removeFor = 5 * time.Second

// remove removes a few of the parked events that are finished, and reports whether
// none is left. It goes by the checkpoint that is stored: so the next owner never
// misses an event that it still has to read. An event that was parked again is
// finished once the new copy is stored.
func (y *play) remove(ctx context.Context) (gone bool) {
	if y.held.Choice == nil || y.removed >= y.floor() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	to, err := y.player.cfg.Engine.parked.Remove(ctx, &y.held.Replay, y.removed)
	if err != nil {
		y.player.cfg.Log.Warn().Err(err).Str("replay", y.held.ID).Msg("parked events that were replayed are not removed yet")
	}
	y.removed = max(y.removed, to)
	return y.removed >= y.floor()
}

// floor is up to where all is finished, as far as the replay goes.
func (y *play) floor() uint64 { return min(y.held.Checkpoint.Floor, y.held.ToSequence) }

// removeAll is remove for a replay that is stopped. What it leaves the next owner
// removes.
func (y *play) removeAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, removeFor)
	defer cancel()
	for before := y.removed; !y.remove(ctx) && y.removed > before; before = y.removed {
		if ctx.Err() != nil {
			return
		}
	}
}
