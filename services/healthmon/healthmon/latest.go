package healthmon

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/endpoint"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// verbLatest is the leader's verb for the last report, whatever the leader is at.
const verbLatest = "health.latest"

// latest is a report, and what it was judged by. Nobody changes it.
type latest struct {
	report wire.Report
	taken  map[string]time.Time // by part
	seen   *seen                // nil: not known
}

// seen is what a sweep saw in the local copies.
type seen struct {
	records  []decodedEntry[check.Record]
	pools    []decodedEntry[check.Pool]
	emitters map[string]bool
}

// remember makes a report known to whoever asks the leader while it sweeps. It has no
// more issues of a kind than could be told.
func (m *monitor) remember(r wire.Report, start time.Time, snap check.Snapshot) {
	most := max(int(m.src.nc.MaxPayload())/smallIssue, 1)
	for _, l := range issueLists(&r.Issues) {
		if len(*l) > most {
			*l, r.Truncated = slices.Clone((*l)[:most]), true
		}
	}
	r.CheckDurationMS = time.Since(start).Milliseconds()
	begun := m.src.clock.now().Add(-time.Since(start))
	now := &latest{report: r, taken: map[string]time.Time{}}
	if was := m.latest.Load(); was != nil {
		maps.Copy(now.taken, was.taken)
	}
	if snap.Buckets.Blind { // all else is as it was
		m.latest.Store(now)
		return
	}
	now.seen = &seen{m.src.records.entries, m.src.poolEntries.entries, snap.Emitters}
	now.taken[wire.PartEntries] = begun
	for _, part := range []string{wire.PartOwners, wire.PartListeners, wire.PartStores} {
		now.taken[part] = snap.Began
	}
	if snap.ParkedKnown {
		now.taken[wire.PartParked] = snap.Began
	}
	m.latest.Store(now)
}

// inherited is the report of the leader before, nil where there is none.
func (m *monitor) inherited(ctx context.Context) *latest {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	e, err := m.health.Get(ctx, keyReport)
	if err != nil || (remembered{e.Value(), e.Created()}).report() != nil {
		return nil
	}
	l := &latest{taken: map[string]time.Time{}}
	if json.Unmarshal(e.Value(), &l.report) != nil {
		return nil
	}
	begun := l.report.Timestamp.Add(-time.Duration(l.report.CheckDurationMS) * time.Millisecond)
	for _, part := range []string{wire.PartEntries, wire.PartOwners, wire.PartListeners, wire.PartStores, wire.PartParked} {
		l.taken[part] = begun
	}
	return l
}

// tellLatest answers with the last report and what is known to have changed since.
func (m *monitor) tellLatest(msg *nats.Msg) {
	l := m.latest.Load()
	if l == nil {
		m.answer(msg, verbLatest, nil, wire.Errorf(wire.CodeUnavailable, "no sweep has been finished yet"))
		return
	}
	body, err := fitReport(m.src.since(l), int(m.src.nc.MaxPayload())-reserve)
	if err != nil {
		m.answer(msg, verbLatest, nil, wire.Errorf(wire.CodeInternal, "%s", err))
		return
	}
	m.answer(msg, verbLatest, json.RawMessage(body), nil)
}

// since returns a report as of now, by what the local copies show.
func (s *source) since(l *latest) wire.Report {
	r, now := l.report, s.clock.now().UTC()
	r.AsOf = &wire.AsOf{AnsweredAt: now, Ages: make(map[string]wire.Duration, len(l.taken))}
	for part, at := range l.taken {
		r.AsOf.Ages[part] = wire.Duration(max(0, now.Sub(at)).Round(time.Millisecond))
	}
	if l.seen == nil {
		return r
	}
	records, pools := s.subs.Live(), s.pools.Live()
	c := &wire.Changed{Joined: []string{}, Departed: []string{}}
	r.TotalSubscriptions, c.Created, c.Updated, c.Deleted = compare(l.seen.records, records)
	var added, gone int
	r.TotalPools, added, c.Pools, gone = compare(l.seen.pools, pools)
	c.Pools += added + gone
	alive := map[string]bool{}
	for _, e := range s.emitters() {
		if alive[e.Instance] = true; !l.seen.emitters[e.Instance] {
			c.Joined = append(c.Joined, e.Instance)
		}
	}
	for _, e := range slices.Sorted(maps.Keys(l.seen.emitters)) {
		if !alive[e] {
			c.Departed = append(c.Departed, e)
		}
	}
	r.TotalEmitters, r.AsOf.Changed = len(alive), c
	if c.Deleted > 0 {
		s.dropDeleted(&r)
	}
	return r
}

// compare counts the live entries, and those that are new, others or gone since.
func compare[V any](before []decodedEntry[V], live []mirror.Entry) (total, created, updated, deleted int) {
	for _, e := range live {
		if !wire.ValidName(e.Key) {
			continue
		}
		total++
		for len(before) > 0 && before[0].key < e.Key {
			deleted, before = deleted+1, before[1:]
		}
		switch {
		case len(before) == 0 || before[0].key != e.Key:
			created++
			continue
		case before[0].revision != e.Revision || !before[0].created.Equal(e.Created):
			updated++
		}
		before = before[1:]
	}
	return total, created, updated, deleted + len(before)
}

// dropDeleted leaves out the issues of subscriptions that were deleted, with their
// pools.
func (s *source) dropDeleted(r *wire.Report) {
	var left []wire.Issue
	dropped := map[string]int{}
	for kind, l := range issueLists(&r.Issues) {
		if check.OfSubscription(kind) {
			before := len(*l)
			*l = slices.DeleteFunc(slices.Clone(*l), func(i wire.Issue) bool { return s.isDeleted(i.Name) })
			dropped[kind] = before - len(*l)
			r.Summary.Total -= dropped[kind]
		}
		left = append(left, *l...)
	}
	r.Summary.Stale -= dropped[wire.IssueStale]
	r.Summary.Orphaned -= dropped[wire.IssueOrphanedPool]
	r.Summary.Missing -= dropped[wire.IssueMissingPool]
	if !r.Truncated { // else there are others
		r.Status = check.Worst(left)
	}
}

// isDeleted reports whether a subscription was deleted, and its pool is gone.
func (s *source) isDeleted(name string) bool {
	r, ok := s.subs.Get(name)
	p, there := s.pools.Get(name)
	return ok && r.Deleted && !r.Absent && (!there || p.Deleted)
}

// check has a sweep made. Where that takes too long the last one has to do.
func (a *api) check(ctx context.Context, req *endpoint.Request) (any, *wire.Error) {
	within := wire.Duration(patience)
	r := wire.CheckRequest{Within: &within}
	e := strictjson.Read(req.Body, true, &r, func(d *strictjson.Decoder) {
		if within = *r.Within; within < 0 || within.Std() > longestWait {
			d.Add("within", "want 0s to %s", longestWait)
		}
	})
	if e != nil {
		return nil, e
	}
	for {
		quick, cancel := context.WithTimeout(ctx, within.Std())
		body, e := a.leader(quick, wire.VerbHealthCheck, nil)
		late := e != nil && (quick.Err() != nil || e.ErrCode == wire.CodeTooMany)
		cancel()
		if !late {
			return body, e
		}
		if last, none := a.lastReport(ctx); none == nil {
			return last, nil
		}
		if ctx.Err() != nil || e.ErrCode == wire.CodeTooMany {
			return nil, e
		}
		within = max(within, wire.Duration(patience)) // there is nothing older to tell
	}
}

// lastReport asks the leader for its last report.
func (a *api) lastReport(ctx context.Context) (any, *wire.Error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return a.leader(ctx, verbLatest, nil)
}
