package subscription

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Limits of a replay's fields.
const (
	MaxReplayRate = 1_000_000 // deliveries a second
	maxConfirm    = 256       // bytes
)

// DecodeReplay reads the body of replay.start for the subscription name. Its
// error names every fault that the body alone shows.
func DecodeReplay(body []byte, name string, ns wire.Namespace) (wire.ReplayRequest, *wire.Error) {
	var (
		req   wire.ReplayRequest
		to    = Default() // what is given of a spec, to be judged by its rules
		given map[string]bool
	)
	tree, bad := requestTree(body)
	if bad != nil {
		return req, bad
	}
	var f fields
	given = f.object("", tree, map[string]reader{
		"from":     f.position(&req.From),
		"to":       f.replayEnd(&req.To),
		"selector": f.selector(&to.Selector),
		"deliver":  f.deliver(&to.Deliver),
		"rate":     f.whole(&req.Rate),
		"dry_run":  f.yes(&req.DryRun),
		"confirm":  f.text(&req.Confirm),
	})
	f.name(name)
	for _, field := range []string{"from", "to"} {
		if !given[field] {
			f.fault(field, "is required")
		}
	}
	check := f.checker()
	check("from", func(p string) { f.replayFrom(p, req) })
	if given["selector"] {
		f.selectorRules(check, to.Selector)
		compactPatterns(&to.Selector)
		req.Selector = &to.Selector
	}
	if given["deliver"] {
		f.deliverRules(check, &to, ns)
		req.Deliver = &to.Deliver
	}
	check("rate", func(p string) {
		if given["rate"] {
			f.between(p, req.Rate, 1, MaxReplayRate)
		}
	})
	if len(req.Confirm) > maxConfirm {
		f.fault("confirm", "want what a dry run answered, and no more than that")
	}
	return req, f.error()
}

// replayEnd reads where a replay ends.
func (f *fields) replayEnd(into *wire.ReplayEnd) reader {
	const want = `want "now", {"sequence": n} or {"time": RFC 3339}`
	return func(path string, n *node) {
		switch {
		case n.kind == kindString && n.text == "now":
			*into = wire.ReplayEnd{}
		case n.kind == kindString:
			f.fault(path, "%s, got %q", want, clip(n.text))
		case n.kind != kindObject:
			f.fault(path, "%s, got %s", want, n.kind)
		default:
			var p wire.Position
			f.positionObject(path, n, &p, want)
			*into = wire.ReplayEnd{Sequence: p.Sequence, Time: p.Time}
		}
	}
}

// replayFrom judges where a replay begins, and that this is before its end.
func (f *fields) replayFrom(path string, req wire.ReplayRequest) {
	from, to := req.From, req.To
	switch {
	case from.Kind == wire.PositionNew:
		f.fault(path, `nothing is stored yet that is "new": want "all", {"sequence": n} or {"time": RFC 3339}`)
	case from.Kind == wire.PositionSequence && to.Sequence > 0 && to.Sequence < from.Sequence:
		f.fault("to", "ends before it begins: %d is below from, %d", to.Sequence, from.Sequence)
	case from.Kind == wire.PositionTime && !to.Time.IsZero() && !from.Time.Before(to.Time):
		f.fault("to", "ends before it begins: want a time after from, %s", from.Time.Format(time.RFC3339Nano))
	}
}

// replayStates are the words that filter a list of replays by state.
var replayStates = []string{
	string(wire.ReplayPending), string(wire.ReplayRunning), string(wire.ReplayPaused),
	string(wire.ReplayFinished), string(wire.ReplayFailed), string(wire.ReplayCancelled),
}

// DecodeReplayList reads the optional body of replay.list and fills in the
// default limit.
func DecodeReplayList(body []byte) (wire.ReplayListRequest, *wire.Error) {
	req := wire.ReplayListRequest{Limit: DefaultListLimit}
	err := decodeBody(body, false, func(f *fields) map[string]reader {
		return map[string]reader{
			"name":   f.text(&req.Name),
			"state":  f.text(&req.State),
			"offset": f.whole(&req.Offset),
			"limit":  f.whole(&req.Limit),
		}
	}, func(f *fields) {
		f.page(req.Offset, req.Limit)
		if req.State != "" && !f.bad("state") {
			f.oneOf("state", req.State, replayStates...)
		}
	})
	return req, err
}

// Replay entries of the replays bucket are bounded by these.
const (
	maxReplayReason = 4 << 10 // bytes
	maxCount        = 1 << 53
)

// DecodeReplayEntry reads an entry of the replays bucket, as DecodeRecord does.
func DecodeReplayEntry(e Entry, ns wire.Namespace) (*wire.Replay, error) {
	tree, err := entryTree(e.Value)
	if err != nil {
		return nil, &CorruptError{Key: e.Key, Revision: e.Revision, Value: e.Value, Err: err}
	}
	r := &wire.Replay{Spec: Default()}
	f := fields{open: true}
	given := f.object("", tree, f.replay(r, ns))
	f.entry(r.Name, r.Name, r.UID)
	if r.ID != e.Key || !wire.ValidName(e.Key) {
		f.fault("id", "%q is not the key", clip(r.ID))
	}
	f.implausibleReplay(r, given, e)
	if err := f.entryError(); err != nil {
		return nil, &CorruptError{Key: e.Key, Revision: e.Revision, Value: e.Value, Err: err}
	}
	return r, nil
}

// replay returns the readers of a replay's members.
func (f *fields) replay(r *wire.Replay, ns wire.Namespace) map[string]reader {
	return map[string]reader{
		"schema":        f.whole(&r.Schema),
		"id":            f.text(&r.ID),
		"name":          f.text(&r.Name),
		"uid":           f.text(&r.UID),
		"generation":    f.count(&r.Generation),
		"from_sequence": f.count(&r.FromSequence),
		"to_sequence":   f.count(&r.ToSequence),
		"store_created": f.moment(&r.StoreCreated),
		"spec":          func(path string, n *node) { f.recordSpec(path, n, &r.Spec, "replay", ns) },
		"selector": func(path string, n *node) {
			r.Selector = &wire.Selector{}
			f.selector(r.Selector)(path, n)
			f.selectorRules(f.checker(), *r.Selector)
			compactPatterns(r.Selector)
		},
		"max_rate":   f.whole(&r.MaxRate),
		"state":      func(path string, n *node) { f.text((*string)(&r.State))(path, n) },
		"reason":     f.text(&r.Reason),
		"owner":      f.text(&r.Owner),
		"epoch":      f.count(&r.Epoch),
		"checkpoint": func(path string, n *node) { f.checkpoint(path, n, &r.Checkpoint) },
		"gap":        func(path string, n *node) { r.Gap = f.gap(path, n) },
		"total":      f.count(&r.Total),
		"estimated":  f.yes(&r.Estimated),
		"sent":       f.count(&r.Sent),
		"finished":   f.count(&r.Finished),
		"parked":     f.count(&r.Parked),
		"rate":       f.whole(&r.Rate),
		"created_at": f.moment(&r.CreatedAt),
		"started_at": f.momentOf(&r.StartedAt),
		"updated_at": f.moment(&r.UpdatedAt),
		"ended_at":   f.momentOf(&r.EndedAt),
		"eta":        f.momentOf(&r.ETA),
	}
}

// momentOf is moment for a time that may not be there.
func (f *fields) momentOf(into **time.Time) reader {
	return func(path string, n *node) {
		*into = new(time.Time)
		f.moment(*into)(path, n)
	}
}

// implausibleReplay finds fault with what can be read in a replay and cannot be
// true.
func (f *fields) implausibleReplay(r *wire.Replay, given map[string]bool, e Entry) {
	f.schema(r.Schema)
	if !given["spec"] {
		f.fault("spec", "is required")
	}
	f.atMost("generation", r.Generation, maxGeneration)
	f.atMost("to_sequence", r.ToSequence, maxSequence)
	if r.FromSequence == 0 || r.ToSequence+1 < r.FromSequence {
		f.implausible("from_sequence", "%d to %d is no range", r.FromSequence, r.ToSequence)
	}
	f.atMost("checkpoint", reach(r.Checkpoint), maxSequence)
	f.atMost("epoch", r.Epoch, e.latestRevision())
	if !word(string(r.State)) {
		f.implausible("state", "%q is no state", clip(string(r.State)))
	}
	if r.Owner != "" && !wire.ValidName(r.Owner) {
		f.implausible("owner", "want the name of an instance, got %q", clip(r.Owner))
	}
	if len(r.Reason) > maxReplayReason {
		f.implausible("reason", "%s", longer(maxReplayReason))
	}
	if r.MaxRate < 0 || r.MaxRate > MaxReplayRate || r.Rate < 0 {
		f.implausible("max_rate", "want 0 to %d, got %d and %d", MaxReplayRate, r.MaxRate, r.Rate)
	}
	for field, n := range map[string]uint64{"total": r.Total, "sent": r.Sent, "finished": r.Finished, "parked": r.Parked} {
		f.atMost(field, n, maxCount)
	}
	f.written("created_at", r.CreatedAt, e)
	f.written("updated_at", r.UpdatedAt, e)
	if r.EndedAt != nil {
		f.written("ended_at", *r.EndedAt, e)
	}
	if r.Gap != nil {
		f.implausibleGap(r.Gap, e)
	}
}
