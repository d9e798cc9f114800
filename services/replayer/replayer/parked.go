package replayer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nuid"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/replayer/internal/parked"
)

// replayParked begins a replay of parked events, or says which those would be.
func (a *api) replayParked(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeParkedReplay(r.body, r.name, a.ns)
	if bad != nil {
		return nil, bad
	}
	rec, _, err := a.records.Get(ctx, r.name)
	if err != nil {
		return nil, failed(r, err)
	}
	if bad := a.checkTarget(ctx, r, &wire.ReplayRequest{Deliver: req.Deliver}, rec, nil); bad != nil {
		return nil, bad
	}
	found, err := a.parked.Find(ctx, r.name, req.ParkedChoice, req.Confirm)
	if err != nil {
		return nil, failed(r, err)
	}
	answer := &wire.ParkedReplayResponse{Head: r.head(), Counts: &found.Counts, Missing: found.Missing}
	switch {
	case req.DryRun:
		answer.Confirm = found.Confirm
		return answer, nil
	case req.Confirm == "" && (found.Counts.Events > uint64(a.cfg.ConfirmAbove) || !found.Whole):
		return nil, unconfirmed(fmt.Sprintf("more than %d events may be sent, or there was no time to count them", a.cfg.ConfirmAbove))
	}
	for _, other := range a.player.All() {
		if other.Name == r.name && other.Choice != nil && !other.State.Ended() {
			return nil, wire.Errorf(wire.CodeConflict, "replay %q of parked events of %q has not ended: wait, or cancel it", other.ID, r.name)
		}
	}
	if answer.Replay, err = a.create(ctx, parkedJob(rec, &req, found)); err != nil {
		return nil, failed(r, err)
	}
	return answer, nil
}

// parkedJob is a new replay of parked events.
func parkedJob(rec *wire.Record, req *wire.ParkedReplayRequest, found *parked.Found) *wire.Replay {
	now := time.Now().UTC()
	from, to := found.Sequences()
	job := &wire.Replay{
		Schema: wire.SchemaVersion, ID: nuid.Next(), Name: rec.Name, UID: rec.UID, Generation: rec.Generation,
		FromSequence: from, ToSequence: to, StoreCreated: found.Created(), Spec: rec.Spec, Choice: &req.ParkedChoice, MaxRate: req.Rate,
		State: wire.ReplayPending, Checkpoint: wire.Checkpoint{Floor: from - 1},
		ReplayCounts: wire.ReplayCounts{Total: found.Counts.Events, Estimated: !found.Whole},
		ReplayTimes:  wire.ReplayTimes{CreatedAt: now, UpdatedAt: now},
	}
	if req.Deliver != nil {
		job.Spec.Deliver = *req.Deliver
	}
	if found.Counts.Events == 0 && found.Whole {
		job.ToSequence = from - 1 // nothing is to be done
	}
	return job
}
