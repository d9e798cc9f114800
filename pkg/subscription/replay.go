package subscription

import (
	"time"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

// maxConfirm bounds the confirm value of a replay, in bytes.
const maxConfirm = 256

// DecodeReplay reads the body of replay.start for the subscription name. Its
// error names every fault that the body alone shows.
func DecodeReplay(body []byte, name string, ns wire.Namespace) (wire.ReplayRequest, *wire.Error) {
	given := struct {
		wire.ReplayRequest
		Selector wire.Selector `json:"selector"`
		Deliver  wire.Deliver  `json:"deliver"`
	}{Deliver: Default().Deliver}
	bad := decode(body, false, &given, func(f *fields) {
		f.Name("name", name)
		for _, field := range []string{"from", "to"} {
			if !f.Given(field) {
				f.Add(field, "is required")
			}
		}
		check := f.checker()
		check("from", func(p string) { f.replayFrom(p, given.ReplayRequest) })
		if f.Given("selector") {
			f.selectorRules(check, given.Selector)
			compactPatterns(&given.Selector)
			given.ReplayRequest.Selector = &given.Selector
		}
		if f.Given("deliver") {
			f.deliverRules(check, &wire.Spec{Deliver: given.Deliver}, ns)
			given.ReplayRequest.Deliver = &given.Deliver
		}
		check("rate", func(p string) {
			if f.Given("rate") {
				f.between(p, given.Rate, 1, MaxRate)
			}
		})
		if len(given.Confirm) > maxConfirm {
			f.Add("confirm", "want what a dry run answered, and no more than that")
		}
	})
	return given.ReplayRequest, bad
}

// replayFrom judges where a replay begins, and that this is before its end.
func (f *fields) replayFrom(path string, req wire.ReplayRequest) {
	from, to := req.From, req.To
	switch {
	case from.Kind == wire.PositionNew:
		f.Add(path, `nothing is stored yet that is "new": want "all", {"sequence": n} or {"time": RFC 3339}`)
	case from.Kind == wire.PositionSequence && to.Sequence > 0 && to.Sequence < from.Sequence:
		f.Add("to", "ends before it begins: %d is below from, %d", to.Sequence, from.Sequence)
	case from.Kind == wire.PositionTime && !to.Time.IsZero() && !from.Time.Before(to.Time):
		f.Add("to", "ends before it begins: want a time after from, %s", from.Time.Format(time.RFC3339Nano))
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
	bad := decode(body, true, &req, func(f *fields) {
		f.page(req.Offset, req.Limit)
		if req.State != "" && !f.Has("state") {
			f.OneOf("state", req.State, replayStates...)
		}
	})
	return req, bad
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
		return nil, corrupt(e, err)
	}
	r := &wire.Replay{Spec: Default()}
	f := newFields()
	f.stored(tree, r, "replay", ns)
	if r.Selector != nil {
		f.selectorRules(f.checker(), *r.Selector)
		compactPatterns(r.Selector)
	}
	if r.Choice != nil {
		f.choiceRules("parked_events", r.Choice)
	}
	f.ascend("checkpoint.ranges", r.Checkpoint.Ranges, r.Checkpoint.Floor)
	f.entry(r.Name, r.Name, r.UID)
	if r.ID != e.Key || !wire.ValidName(e.Key) {
		f.Add("id", "%q is not the key", strictjson.Clip(r.ID))
	}
	f.implausibleReplay(r, e)
	if err := f.entryError(); err != nil {
		return nil, corrupt(e, err)
	}
	return r, nil
}

// implausibleReplay finds fault with what can be read in a replay and cannot be
// true.
func (f *fields) implausibleReplay(r *wire.Replay, e Entry) {
	f.schema(r.Schema)
	if !f.Given("spec") {
		f.Add("spec", "is required")
	}
	f.atMost("generation", r.Generation, maxGeneration)
	f.atMost("to_sequence", r.ToSequence, maxSequence)
	if r.FromSequence == 0 || r.ToSequence+1 < r.FromSequence {
		f.implausible("from_sequence", "%d to %d is no range", r.FromSequence, r.ToSequence)
	}
	f.atMost("checkpoint", reach(r.Checkpoint), maxSequence)
	f.atMost("epoch", r.Epoch, latestRevision(e))
	if !word(string(r.State)) {
		f.implausible("state", "%q is no state", strictjson.Clip(string(r.State)))
	}
	if r.Owner != "" && !wire.ValidName(r.Owner) {
		f.implausible("owner", "want the name of an instance, got %q", strictjson.Clip(r.Owner))
	}
	if len(r.Reason) > maxReplayReason {
		f.implausible("reason", "%s", longer(maxReplayReason))
	}
	if r.MaxRate < 0 || r.MaxRate > MaxRate || r.Rate < 0 {
		f.implausible("max_rate", "want 0 to %d, got %d and %d", MaxRate, r.MaxRate, r.Rate)
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
