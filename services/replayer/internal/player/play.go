package player

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool/core"
	"github.com/sluicehq/sluice/services/replayer/internal/jobs"
)

const (
	// writeEvery is how often a play looks at its pool, and writes what moved. With
	// the write itself it keeps the promise of 250 ms.
	writeEvery = 100 * time.Millisecond
	// checkEvery is how often it asks for the subscription, and measures the rate.
	checkEvery = time.Second
	// pauseDrain is how long a replay that is paused waits for answers.
	pauseDrain = 2 * time.Second
	// judgeFor is how long a replay at its end waits to know what the store lost.
	judgeFor = 5 * time.Second
	// lastTries is how often the last write is tried.
	lastTries = 5
)

// play is one replay that runs.
type play struct {
	player   *Player
	held     *jobs.Held
	delivery *delivery
	told     chan struct{} // cap 1: the entry has changed

	before wire.ReplayCounts // what earlier owners did
	pace   meter
	left   time.Time // when it had read all; zero before
	// removed is up to where parked events that were replayed are removed.
	removed uint64
}

func (p *Player) newPlay(ctx context.Context, h *jobs.Held) (*play, error) {
	if why := p.fault(ctx, &h.Replay); why != "" {
		return nil, errors.New(why)
	}
	y := &play{player: p, held: h, told: make(chan struct{}, 1), before: h.ReplayCounts, removed: h.FromSequence - 1}
	y.tell() // the entry may have changed already
	shown := h.Replay
	var err error
	y.delivery, err = p.cfg.Engine.start(h, func(n core.Notice) {
		if n.What != wire.AdvPoolLive { // which is said of subscriptions
			p.tell(&shown, n)
		}
	}, func() {})
	return y, err
}

// tell says that the entry has changed.
func (y *play) tell() {
	select {
	case y.told <- struct{}{}:
	default:
	}
}

// run runs the replay until it ends, somebody stops it, or ctx ends: then it is
// handed over.
func (y *play) run(ctx context.Context) {
	defer y.delivery.halt()
	base := context.WithoutCancel(ctx)
	write, check := time.NewTicker(writeEvery), time.NewTicker(checkEvery)
	defer write.Stop()
	defer check.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			y.handOver(base)
			return
		case <-y.told:
			ended = y.obey(ctx)
		case <-check.C:
			y.pace.measure(y.progress(), time.Now())
			ended = y.checkFaults(ctx)
		case <-write.C:
			ended = y.step(ctx)
		}
	}
}

// progress is the replay as its pool stands now.
func (y *play) progress() wire.Replay {
	r := y.held.Replay
	cp, s := y.delivery.Progress()
	r.Checkpoint, r.Gap = cp, y.delivery.Gap()
	r.Sent = y.before.Sent + s.Delivered
	r.Finished = y.before.Finished + s.Finished
	r.Parked = y.before.Parked + s.Parked
	r.Reason = ""
	switch s.State {
	case wire.PoolLive, wire.PoolCatchingUp:
	default:
		r.Reason = string(s.State) + ": " + s.Reason
	}
	r.Rate, r.ETA = y.pace.rate(), y.pace.eta(&r, time.Now())
	return r
}

// apply returns the change that writes progress. An order that was given meanwhile
// stands.
func apply(p wire.Replay, also func(*wire.Replay)) func(*wire.Replay) {
	return func(r *wire.Replay) {
		r.Checkpoint, r.Gap, r.ReplayCounts = p.Checkpoint, p.Gap, p.ReplayCounts
		r.Reason, r.ETA = p.Reason, p.ETA
		if r.State != wire.ReplayRunning {
			r.Reason, r.ETA, r.Rate = "", nil, 0
		}
		if also != nil {
			also(r)
		}
	}
}

// step writes what moved, and ends the replay where it is at its end.
func (y *play) step(ctx context.Context) (ended bool) {
	if !y.player.cfg.Session.Valid() || y.delivery.halted.Load() {
		y.lose("the session could not be renewed in time")
		return true
	}
	now := y.progress()
	atEnd := y.atEnd(&now)
	if (!atEnd || y.held.Choice != nil) && differs(&y.held.Replay, &now) && y.save(ctx, apply(now, nil)) {
		return true
	}
	if gone := y.remove(ctx); !atEnd || !gone {
		return false
	}
	y.end(ctx, wire.ReplayFinished, "")
	return true
}

// atEnd reports whether everything up to the end is finished. The pool leaves its
// reader as soon as it has read so far.
func (y *play) atEnd(now *wire.Replay) bool {
	if y.delivery.Position() < now.ToSequence {
		return false
	}
	if y.left.IsZero() {
		y.left = time.Now()
		y.delivery.leave()
	}
	if now.Checkpoint.Floor < now.ToSequence {
		return false
	}
	select {
	case <-y.delivery.passed: // and what the store lost is known
		return true
	default:
		return time.Since(y.left) > judgeFor
	}
}

// save writes a change, and reports whether the replay is to run no longer.
func (y *play) save(ctx context.Context, change func(*wire.Replay)) (ended bool) {
	p := y.player
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := y.write(ctx, change)
	switch {
	case errors.Is(err, jobs.ErrLost):
		y.lose("its checkpoint was refused: " + err.Error())
		return true
	case err != nil:
		p.cfg.Log.Warn().Err(err).Str("replay", y.held.ID).Msg("progress of a replay not written yet")
		return false
	case y.held.State != wire.ReplayRunning:
		y.stop(ctx)
		return true
	}
	return false
}

// write writes a change, and counts what was done since the last one.
func (y *play) write(ctx context.Context, change func(*wire.Replay)) error {
	before := y.held.ReplayCounts
	err := y.player.cfg.Jobs.Save(ctx, y.held, change)
	y.player.cfg.Metrics.moved(before, y.held.ReplayCounts)
	return err
}

// obey looks at an entry that has changed, and stops the replay where somebody has
// ordered that, or claimed it.
func (y *play) obey(ctx context.Context) (ended bool) {
	e, ok := y.player.copy.Get(y.held.ID)
	if !ok || e.Absent {
		return false // the next write tells
	}
	r := y.player.decode(e)
	if r != nil && (r.Epoch < y.held.Epoch || r.Epoch == y.held.Epoch && r.State == wire.ReplayRunning) {
		return false // it is what we wrote, or older
	}
	if r != nil && r.State == wire.ReplayCancelled {
		y.delivery.halt() // at once
	}
	return y.save(ctx, apply(y.progress(), nil))
}

// stop carries out an order that was found in the entry: it waits for answers if
// the replay is only paused, and writes how far it came.
func (y *play) stop(ctx context.Context) {
	if y.held.State == wire.ReplayPaused {
		y.delivery.drain(ctx, pauseDrain)
	}
	y.delivery.halt()
	y.last(ctx, func(r *wire.Replay) { r.Owner = "" })
	y.player.cfg.Log.Info().Str("replay", y.held.ID).Str("state", string(y.held.State)).Msg("replay stopped on request")
}

// handOver gives the replay to whoever claims it next.
func (y *play) handOver(ctx context.Context) {
	if !y.player.cfg.Session.Valid() {
		y.lose("the session could not be renewed in time")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, y.player.cfg.DrainTimeout+2*callTimeout)
	defer cancel()
	y.delivery.drain(ctx, y.player.cfg.DrainTimeout)
	y.delivery.halt()
	now := y.progress()
	if y.left.IsZero() || now.Checkpoint.Floor < now.ToSequence {
		y.last(ctx, func(r *wire.Replay) {
			if r.Owner = ""; r.State == wire.ReplayRunning {
				r.State = wire.ReplayPending
			}
		})
		return
	}
	y.end(ctx, wire.ReplayFinished, "")
}

// end ends the replay in a state, for a reason.
func (y *play) end(ctx context.Context, state wire.ReplayState, why string) {
	y.delivery.halt()
	at := time.Now().UTC()
	written := y.last(ctx, func(r *wire.Replay) {
		if r.Owner = ""; r.State == wire.ReplayRunning {
			r.State, r.Reason, r.EndedAt, r.ETA = state, why, &at, nil
		}
	})
	if !written || y.held.State != state {
		return
	}
	y.player.cfg.Metrics.ends(state)
	what, detail := wire.AdvReplayFinished, "replay finished"
	if state == wire.ReplayFailed {
		what, detail = wire.AdvReplayFailed, why
	}
	y.player.tell(&y.held.Replay, core.Notice{What: what, Detail: detail, Data: Facts(&y.held.Replay)})
	y.player.cfg.Log.Info().Str("replay", y.held.ID).Str("state", string(state)).Str("reason", why).
		Uint64("finished", y.held.Finished).Uint64("parked", y.held.Parked).Msg("replay ended")
}

// last makes the last write, of how far the replay came. If it cannot be made,
// whoever claims the replay next does that part again.
func (y *play) last(ctx context.Context, change func(*wire.Replay)) (written bool) {
	now := y.progress()
	for range lastTries {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := y.write(call, apply(now, change))
		cancel()
		switch {
		case err == nil:
			y.removeAll(ctx)
			return true
		case errors.Is(err, jobs.ErrLost):
			y.lose("its last checkpoint was refused: " + err.Error())
			return false
		}
		y.player.cfg.Log.Warn().Err(err).Str("replay", y.held.ID).Msg("end of a replay not written yet")
		if !y.player.cfg.Session.Valid() || !sleep(ctx, time.Second) {
			return false
		}
	}
	return false
}

// lose stops the replay, which is no longer ours.
func (y *play) lose(why string) {
	y.delivery.halt()
	y.player.cfg.Log.Warn().Str("replay", y.held.ID).Str("reason", why).Msg("replay lost")
}

// checkFaults ends the replay where it cannot go on.
func (y *play) checkFaults(ctx context.Context) (ended bool) {
	if s := y.delivery.Status(); s.State == wire.PoolStoreLost {
		y.end(ctx, wire.ReplayFailed, fmt.Sprintf("store %q: %s", y.held.Spec.Store, s.Reason))
		return true
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	why := y.player.fault(call, &y.held.Replay)
	if why != "" {
		y.end(ctx, wire.ReplayFailed, why)
	}
	return why != ""
}

// Facts are what an advisory says of a replay.
func Facts(r *wire.Replay) map[string]any {
	return map[string]any{
		"replay": r.ID, "uid": r.UID, "from_sequence": r.FromSequence, "to_sequence": r.ToSequence,
		"total": r.Total, "sent": r.Sent, "finished": r.Finished, "parked": r.Parked,
	}
}

// differs reports whether progress is worth a write.
func differs(a, b *wire.Replay) bool {
	if a.ReplayCounts != b.ReplayCounts || a.Reason != b.Reason || a.Checkpoint.Floor != b.Checkpoint.Floor ||
		len(a.Checkpoint.Ranges) != len(b.Checkpoint.Ranges) || (a.Gap == nil) != (b.Gap == nil) || a.Gap != nil && *a.Gap != *b.Gap {
		return true
	}
	for i, r := range a.Checkpoint.Ranges {
		if r != b.Checkpoint.Ranges[i] {
			return true
		}
	}
	return false
}
