package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Captures is what is known of the streams that store deliveries.
type Captures struct {
	BySubject map[string][]Capture // by delivery subject: the streams that store what is delivered there
	Origins   map[string][]string  // by store: the streams that its events come from, itself included
	Known     bool                 // false where not every stream could be looked at
}

// Capture is a stream that stores what is published on a subject, and its filter
// that says so.
type Capture struct{ Stream, Filter string }

// of returns the streams that store the deliveries of a subscription and are not
// its target, in order, and whether one of them leads back to its store.
func (c Captures) of(spec *wire.Spec) (streams []string, loop bool) {
	origins := c.Origins[spec.Store]
	for _, stored := range c.BySubject[spec.Deliver.Subject] {
		back := slices.Contains(origins, stored.Stream)
		if stored.Stream != spec.Deliver.Stream || back {
			streams = append(streams, stored.Stream)
			loop = loop || back
		}
	}
	slices.Sort(streams)
	return streams, loop
}

// captured judges whether a stream that is not the target stores the deliveries
// of a subscription: by its subjects, and by a publish answer that the owner saw.
func (j *judge) captured(r *Record) {
	rec := r.Record
	to := rec.Spec.Deliver
	streams, loop := j.s.Captures.of(&rec.Spec)
	st, ok := j.live(rec)
	var total, more uint64
	if ok {
		_, knew := j.prev.counts[Ref{wire.IssueCaptured, rec.Name}]
		total, more = j.counted(wire.IssueCaptured, rec, st, st.Captured)
		if !knew && j.s.Captures.Known {
			more = 0 // nobody knows how long ago those were
		}
	}
	if len(streams) == 0 && more == 0 {
		byStreams := j.byStreams(rec)
		if byStreams && !j.s.Captures.Known || !byStreams && (!ok && j.owned(rec) || ok && j.quiet(rec, st)) {
			j.keep(wire.IssueCaptured, rec.Name, rec.UID)
		}
		return
	}
	j.raise(finding{
		kind: wire.IssueCaptured, name: rec.Name, uid: rec.UID, detail: capturedDetail(to, streams, loop),
		evidence: map[string]any{
			"subject": to.Subject, "stream": to.Stream, "store": rec.Spec.Store, "streams": streams[:min(len(streams), maxNames)],
			"stream_count": len(streams), "loop": loop, "answers": total,
		},
	}, j.s.At)
}

// byStreams reports whether the issue that is there was raised for the subjects
// of streams.
func (j *judge) byStreams(rec *wire.Record) bool {
	held, ok := j.prev.Issues[Ref{wire.IssueCaptured, rec.Name}]
	return ok && !equal(held.Issue.Evidence["stream_count"], 0)
}

// quiet reports whether nothing was finished since the sweep before: then no
// answer could have come from a stream either.
func (j *judge) quiet(rec *wire.Record, st wire.PoolStatus) bool {
	prev, ok := j.prev.progress[rec.Name]
	return ok && prev.finished == st.Finished
}

func capturedDetail(to wire.Deliver, streams []string, loop bool) string {
	which := "a stream has"
	if len(streams) > 0 {
		which = "the stream " + strings.Join(streams[:min(len(streams), maxNames)], ", ") + " has"
	}
	switch {
	case loop:
		return fmt.Sprintf("%s the subject %q, and events of the store come from there: deliveries become events again", which, to.Subject)
	case to.Stream != "":
		return fmt.Sprintf("%s the subject %q, and is not the target %s", which, to.Subject, to.Stream)
	default:
		return fmt.Sprintf("%s the subject %q, and its answers are no subscriber's: name it as deliver.stream if it is the target", which, to.Subject)
	}
}
