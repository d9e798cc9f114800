package healthmon

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
	"github.com/sluicehq/sluice/services/healthmon/internal/repair"
)

// byHand makes a repair that somebody asked for. It looks anew, with no
// patience for what may still come right by itself, and ignores the switch
// and the count of attempts.
func (m *monitor) byHand(ctx context.Context, t task) {
	r, e := m.repairByHand(ctx, *t.repair)
	if e != nil {
		m.answer(t.msg, wire.VerbHealthRepair, nil, e)
		return
	}
	m.answer(t.msg, wire.VerbHealthRepair, wire.RepairResponse{
		Head: wire.Head{Type: wire.ResponseType(wire.VerbHealthRepair)}, Repair: r,
	}, nil)
	m.wake() // the report should say how it is now
}

func (m *monitor) repairByHand(ctx context.Context, req wire.RepairRequest) (*wire.Repair, *wire.Error) {
	snap, e := m.lookAtOne(ctx, req)
	if e != nil {
		return nil, e
	}
	cfg := m.check
	cfg.Grace = 0
	mem := m.mem
	res := check.Judge(cfg, mem, snap)
	issue, ok := find(res.Issues, req)
	out := &wire.Repair{
		Kind: req.Kind, Name: req.Name, At: m.src.clock.now().UTC(), DryRun: req.DryRun, Outcome: outcomeNothing,
	}
	if !ok {
		out.Detail = "there is no such issue"
		return out, nil
	}
	action, reason := repair.Plan(issue, facts(issue, res, snap, true))
	out.Action, out.Detail = action, reason
	switch {
	case action == "":
		return out, nil
	case req.DryRun:
		out.Outcome, out.Detail, out.Observed = outcomeWouldDo, issue.Detail, words(issue.Evidence)
		return out, nil
	}
	r := m.act(ctx, issue, action)
	return &r, nil
}

// lookAtOne gathers what the issue is judged by.
func (m *monitor) lookAtOne(ctx context.Context, req wire.RepairRequest) (check.Snapshot, *wire.Error) {
	switch {
	case check.OfStore(req.Kind):
		return m.lookAtStore(ctx, req.Name)
	case !check.OfSubscription(req.Kind):
		snap, err := m.src.all(ctx, m.mem.Known())
		if err != nil {
			return snap, away(err)
		}
		return snap, nil
	}
	snap, err := m.src.only(ctx, req.Name, slices.Contains(m.src.alsoAbsent(m.mem.Known()), req.Name))
	if err != nil {
		return snap, away(err)
	}
	if len(snap.Records) == 0 && len(snap.Pools) == 0 && len(snap.Gone) == 0 {
		return snap, wire.Errorf(wire.CodeNoSubscription, "there is no subscription %q", req.Name)
	}
	return snap, nil
}

// lookAtStore gathers what concerns the subscriptions of one store.
func (m *monitor) lookAtStore(ctx context.Context, store string) (check.Snapshot, *wire.Error) {
	snap, err := m.src.all(ctx, m.mem.Known())
	if err != nil {
		return snap, away(err)
	}
	for _, r := range snap.Records {
		if r.Record != nil && r.Record.Spec.Store == store {
			return snap, nil
		}
	}
	if _, err := m.src.js.Stream(ctx, store); errors.Is(err, jetstream.ErrStreamNotFound) {
		return snap, wire.Errorf(wire.CodeNoStore, "there is no store %q and no subscription to it", store)
	}
	return snap, nil
}

func find(issues []wire.Issue, req wire.RepairRequest) (wire.Issue, bool) {
	for _, i := range issues {
		if i.Kind == req.Kind && i.Name == req.Name {
			return i, true
		}
	}
	return wire.Issue{}, false
}

// away is the error for a request that NATS did not let us carry out; nothing
// was done.
func away(err error) *wire.Error {
	return wire.Errorf(wire.CodeUnavailable, "nothing was done: %s", err)
}
