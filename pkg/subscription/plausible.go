package subscription

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Bounds of what an entry can truly say. They are wide: an entry beyond them is
// taken out of use, so none that a writer of ours makes may be, whatever its
// version, unless its clock is ahead by more than a month.
const (
	// maxAhead is by how much a time, or a revision made from one, may be ahead
	// of the server's clock.
	maxAhead = 30 * 24 * time.Hour
	// firstYear is before any entry was written, in seconds since 1970.
	firstYear = 1_577_836_800 // 2020
	// maxGeneration is more changes than one subscription can see.
	maxGeneration = 1 << 40
	// maxReason bounds, in bytes, what an owner says of a state.
	maxReason = 16 << 10
	// maxHoles bounds the ranges of a pool's holes; a pool keeps far fewer.
	maxHoles = 4096
)

// maxSequence is above every sequence of a store, whose first one its owner may
// have chosen.
const maxSequence = 1<<63 - 1

// word is how states and kinds are written. One that is not known is no fault: a
// later version may write it.
func word(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// implausibleRecord finds fault with what can be read in a record and cannot be true.
func (f *fields) implausibleRecord(r *wire.Record, e Entry) {
	f.schema(r.Schema)
	f.atMost("generation", r.Generation, maxGeneration)
	f.atMost("start_sequence", r.StartSequence, maxSequence)
	if at := r.Spec.Start; f.Given("start_sequence") && at.Kind == wire.PositionSequence && r.StartSequence < at.Sequence && !f.Has("spec.start") {
		f.implausible("start_sequence", "%d is before the start that was asked for, %d", r.StartSequence, at.Sequence)
	}
	if f.Given("created_at") {
		f.written("created_at", r.CreatedAt, e)
	}
	if f.Given("updated_at") {
		f.written("updated_at", r.UpdatedAt, e)
	}
	if r.StoreCreated.Unix() >= firstYear { // a server without a clock may have made it in 1970
		f.written("store_created", r.StoreCreated, e)
	}
}

// implausiblePool is implausibleRecord for an entry of the pools bucket. What only
// the store can tell, as how far it goes, is for whoever knows the store.
func (f *fields) implausiblePool(p *wire.Pool, e Entry) {
	f.schema(p.Schema)
	f.atMost("epoch", p.Epoch, latestRevision(e))
	f.atMost("observed_generation", p.ObservedGeneration, maxGeneration)
	f.atMost("observed_revision", p.ObservedRevision, latestElsewhere(e.Created))
	f.atMost("checkpoint", reach(p.Checkpoint), maxSequence)
	if p.Begin > p.Checkpoint.Floor+1 && !f.Has("checkpoint") {
		f.implausible("begin", "%d is beyond what is to be read next, %d", p.Begin, p.Checkpoint.Floor+1)
	}
	f.atMost("lost_from", p.LostFrom, maxSequence)
	if f.Given("state") && !word(string(p.State)) {
		f.implausible("state", "%q is no state", strictjson.Clip(string(p.State)))
	}
	if len(p.Reason) > maxReason {
		f.implausible("reason", "%s", longer(maxReason))
	}
	if f.Given("claimed_at") && (p.Owner != "" || !p.ClaimedAt.IsZero()) { // after a seek nobody may have claimed it yet
		f.written("claimed_at", p.ClaimedAt, e)
	}
	if f.Given("updated_at") {
		f.written("updated_at", p.UpdatedAt, e)
	}
	if p.Gap != nil {
		f.implausibleGap(p.Gap, e)
	}
	if p.Holes != nil {
		f.implausibleHoles(p.Holes)
	}
}

func (f *fields) implausibleGap(g *wire.Gap, e Entry) {
	f.atMost("gap.to", g.To, maxSequence)
	switch {
	case f.Has("gap"):
	case g.From == 0 || g.To < g.From:
		f.implausible("gap", "%d to %d is no range", g.From, g.To)
	case g.Count > g.To-g.From+1:
		f.implausible("gap.count", "%d is more than there are from %d to %d", g.Count, g.From, g.To)
	case g.Kind != "" && !word(g.Kind):
		f.implausible("gap.kind", "%q is no kind", strictjson.Clip(g.Kind))
	}
	f.atMost("gap.generation", g.Generation, maxGeneration)
	if !g.At.IsZero() {
		f.written("gap.at", g.At, e)
	}
}

func (f *fields) implausibleHoles(h *wire.Holes) {
	f.atMost("holes.to", h.To, maxSequence)
	if n := len(h.Ranges); n > maxHoles {
		f.implausible("holes.ranges", "%d ranges: want at most %d", n, maxHoles)
	} else if n > 0 && h.Ranges[n-1][1] > h.To {
		f.implausible("holes.ranges", "they end at %d, beyond %d", h.Ranges[n-1][1], h.To)
	}
}

// reach is the last sequence that a checkpoint names.
func reach(c wire.Checkpoint) uint64 {
	if n := len(c.Ranges); n > 0 {
		return max(c.Floor, c.Ranges[n-1][1])
	}
	return c.Floor
}

func (f *fields) schema(v int) {
	if v < 0 {
		f.implausible("schema", "want a whole number from 1, got %d", v)
	}
}

func (f *fields) atMost(field string, v, most uint64) {
	if v > most {
		f.implausible(field, "%d is beyond all that there can be, %d", v, most)
	}
}

// written finds fault with a time that a writer took from its own clock when it
// wrote e, or earlier. A clock that was never set begins at 1970; nothing is
// concluded from these times, so they are let be.
func (f *fields) written(field string, at time.Time, e Entry) {
	if why := TimeFault(at, e.Created); why != "" && at.UTC().Year() != 1970 {
		f.implausible(field, "%s", why)
	}
}

// TimeFault says why no writer can have taken a time from its clock for an entry
// that the server stored at another, "" where one can. A server that shows a time
// before there were such entries has no clock, and proves nothing.
func TimeFault(at, stored time.Time) string {
	now, ok := serverTime(stored)
	switch {
	case ok && at.Unix() < firstYear:
		return at.Format(time.RFC3339) + " is before there were such entries"
	case ok && at.After(now.Add(maxAhead)):
		return fmt.Sprintf("%s is long after it was stored, %s", at.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	return ""
}

// implausible is fault for a field that has none yet.
func (f *fields) implausible(field, format string, args ...any) {
	if !f.Has(field) {
		f.Add(field, format, args...)
	}
}

// serverTime is the server's time when it stored an entry; not ok where it is not
// known, or the server has no clock itself.
func serverTime(stored time.Time) (at time.Time, ok bool) {
	return stored, stored.Unix() >= firstYear
}

// latestRevision is the highest that e can name of its own bucket. An entry may
// outlive its bucket: it is written back into the one that takes its place, which
// begins higher, unless a clock was off meanwhile or somebody made it by hand.
func latestRevision(e Entry) uint64 {
	if e.Revision < firstYear*1e6 { // the bucket was not made by us: one before may have been
		return latestElsewhere(e.Created)
	}
	return min(e.Revision+uint64(maxAhead.Microseconds()), wire.MaxRevision)
}

// latestElsewhere is the highest revision of any bucket that an entry can name which was
// stored then: none can be far above the microseconds since 1970.
func latestElsewhere(stored time.Time) uint64 {
	if at, ok := serverTime(stored); ok {
		return min(uint64(at.Add(maxAhead).UnixMicro()), wire.MaxRevision)
	}
	return wire.MaxRevision
}
