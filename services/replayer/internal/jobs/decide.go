package jobs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/subjects"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Limits of what is kept of replays that have ended.
const (
	Retention = 7 * 24 * time.Hour
	MaxEnded  = 1000
)

// Order is what a user wants of a replay.
type Order string

// The orders.
const (
	Pause  Order = "pause"
	Resume Order = "resume"
	Cancel Order = "cancel"
)

// Free reports whether an instance may claim a replay that it does not hold.
func Free(r *wire.Replay, me string, alive func(string) bool) bool {
	switch r.State {
	case wire.ReplayPending:
		return true
	case wire.ReplayRunning:
		return r.Owner == me || !alive(r.Owner)
	default:
		return false
	}
}

// claimed is a replay as its next owner claims it, over an entry at a revision.
func claimed(r *wire.Replay, rev uint64, me string, now time.Time) *wire.Replay {
	next := *r
	next.State, next.Owner, next.Reason = wire.ReplayRunning, me, ""
	next.Epoch = max(r.Epoch, rev) + 1
	if next.StartedAt == nil {
		next.StartedAt = &now
	}
	next.UpdatedAt, next.Rate, next.ETA = now, 0, nil
	return &next
}

// obey is a replay after an order, nil where nothing is to be done. The error is
// for one that has ended.
func obey(r *wire.Replay, o Order, now time.Time) (*wire.Replay, *wire.Error) {
	next := *r
	switch {
	case o == Cancel && r.State.Ended(), o == Pause && r.State == wire.ReplayPaused,
		o == Resume && (r.State == wire.ReplayPending || r.State == wire.ReplayRunning):
		return nil, nil
	case r.State.Ended():
		return nil, wire.Errorf(wire.CodeConflict, "replay %q is %s: start another one", r.ID, r.State)
	case o == Cancel:
		next.State, next.EndedAt = wire.ReplayCancelled, &now
	case o == Pause:
		next.State = wire.ReplayPaused
	case o == Resume:
		next.State, next.Owner = wire.ReplayPending, ""
	}
	next.UpdatedAt, next.Rate, next.ETA, next.Reason = now, 0, nil, ""
	return &next, nil
}

// Matches reports whether a list shows a replay.
func Matches(r *wire.Replay, req wire.ReplayListRequest) bool {
	return (req.Name == "" || r.Name == req.Name) && (req.State == "" || string(r.State) == req.State)
}

// NewestFirst sorts replays as lists show them.
func NewestFirst(rs []*wire.Replay) {
	slices.SortFunc(rs, func(a, b *wire.Replay) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// Over returns those of the replays, the newest of which comes first, that are
// kept no longer.
func Over(rs []*wire.Replay, now time.Time) (over []*wire.Replay) {
	var ended int
	for _, r := range rs {
		if !r.State.Ended() {
			continue
		}
		ended++
		if ended > MaxEnded || r.EndedAt != nil && now.Sub(*r.EndedAt) > Retention {
			over = append(over, r)
		}
	}
	return over
}

// Fault says why a replay cannot go on, "" where it can. Rec is the record of its
// subscription; nil where there is none, and deleted where somebody deleted it.
func Fault(r *wire.Replay, rec *wire.Record, deleted bool) string {
	switch {
	case rec != nil && rec.UID != r.UID:
		return fmt.Sprintf("subscription %q was restarted, or made anew, since the replay was started", r.Name)
	case rec == nil && deleted:
		return fmt.Sprintf("subscription %q was deleted", r.Name)
	default:
		return "" // a record that is gone although nobody deleted it ends nothing
	}
}

// Narrow joins a subscription's selector with a narrower one. What it can make
// part of the first it does, so that less is read; rest is what must hold besides.
func Narrow(own wire.Selector, also *wire.Selector) (joined wire.Selector, rest *wire.Selector) {
	if also == nil {
		return own, nil
	}
	left := *also
	if len(left.ByStream) > 0 && coversAll(own.ByStream, left.ByStream) {
		own.ByStream, left.ByStream = left.ByStream, nil
	}
	if len(own.ByEventType) == 0 {
		own.ByEventType, left.ByEventType = left.ByEventType, nil
	}
	if len(own.ByEventPattern) == 0 {
		own.ByEventPattern, left.ByEventPattern = left.ByEventPattern, nil
	}
	if len(own.ByEventPayload) == 0 {
		own.ByEventPayload, left.ByEventPayload = left.ByEventPayload, nil
	}
	if len(left.ByStream)+len(left.ByEventType)+len(left.ByEventPattern)+len(left.ByEventPayload) == 0 {
		return own, nil
	}
	return own, &left
}

// coversAll reports whether every subject that one of the narrow filters selects
// is surely selected by the wide ones.
func coversAll(wide, narrow []string) bool {
	if len(wide) == 0 || slices.Contains(wide, wire.AllStreams) || slices.Contains(wide, ">") {
		return true
	}
	for _, n := range narrow {
		if n == wire.AllStreams || !slices.ContainsFunc(wide, func(w string) bool { return subjects.Covers(w, n) }) {
			return false
		}
	}
	return true
}
