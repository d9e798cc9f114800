package healthmon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
	"github.com/sluicehq/sluice/services/healthmon/internal/repair"
)

// reserve is what a message needs beside a report's JSON.
const reserve = 4096

// smallIssue is less than what one issue takes in a report's JSON: there is no need to
// encode those that cannot fit.
const smallIssue = 128

// encodedReport is a report as it goes out.
type encodedReport struct {
	body []byte
	all  []wire.Issue // also those that did not fit
}

// sweep looks, judges, repairs, keeps and publishes. It returns how soon to
// look again, 0 for the interval.
func (m *monitor) sweep(ctx context.Context, start time.Time) (encodedReport, time.Duration, error) {
	snap, err := m.src.all(ctx, m.mem.Known())
	if err != nil {
		return encodedReport{}, 0, err
	}
	keeps := m.keeps(snap)
	enabled, err := m.cleanup(ctx, keeps)
	if err != nil {
		return encodedReport{}, 0, err
	}
	if snap.Clocks == nil {
		snap.Clocks = map[string]check.Clock{}
	}
	snap.Clocks[m.instance] = m.src.clock.own()
	res := check.Judge(m.check, m.mem, snap)
	m.markNeeds(&res, snap)
	m.tell(res)
	m.mem = res.Memory
	m.show(res, snap)
	r := m.report(res, snap, enabled)
	m.remember(r, start, snap)
	recheck := res.Recheck
	if keeps {
		var again time.Duration
		r.Repairs, again, err = m.settle(ctx, res, snap, enabled)
		if err = m.bear(err); err != nil {
			return encodedReport{}, 0, err
		}
		if again > 0 && (recheck == 0 || again < recheck) {
			recheck = again
		}
	}
	r.CheckDurationMS = time.Since(start).Milliseconds()
	m.remember(r, start, snap)
	body, err := fitReport(r, int(m.src.nc.MaxPayload())-reserve)
	if err != nil {
		return encodedReport{}, 0, err
	}
	if keeps {
		if err := m.bear(m.kept.put(ctx, keyReport, json.RawMessage(body))); err != nil {
			return encodedReport{}, 0, err
		}
	}
	if err := m.src.nc.Publish(m.ns.HealthReport(), body); err != nil {
		m.log.Warn().Err(err).Msg("report not published")
	}
	return encodedReport{body: body, all: res.Issues}, recheck, ctx.Err()
}

// bear makes nothing of it where there is no room to keep what was found: that is
// said, and the report goes out all the same.
func (m *monitor) bear(err error) error {
	var full *jsapi.FullError
	if !errors.As(err, &full) {
		return err
	}
	m.rarely.Warn().Err(err).Msg("what was found cannot be kept")
	return nil
}

// settle keeps what was found and makes the repairs that are due. First it is
// kept, then acted upon: a leader that dies in between leaves to the next one
// what it knew and how often it tried.
func (m *monitor) settle(ctx context.Context, res check.Result, snap check.Snapshot, enabled bool) (
	repairs []wire.Repair, again time.Duration, err error,
) {
	repairs = []wire.Repair{}
	if err := m.keepIssues(ctx, res.Memory); err != nil {
		return repairs, 0, err
	}
	if enabled && !snap.Buckets.Blind {
		if repairs, again, err = m.repairAll(ctx, res, snap); err != nil {
			return repairs, 0, err
		}
	}
	return repairs, again, m.keepStatuses(ctx, res.Statuses)
}

// keeps reports whether there is a bucket to keep things in. Of one that was made
// anew nothing is known: all is written again.
func (m *monitor) keeps(snap check.Snapshot) bool {
	bucket := m.ns.BucketHealth()
	if !snap.Buckets.Has(bucket) {
		return false
	}
	if m.kept.madeAnew(m.src.created(bucket)) {
		m.log.Warn().Str("bucket", bucket).Msg("bucket was made anew, everything is written again")
	}
	return true
}

// show makes the statuses of this sweep known to whoever asks the leader.
func (m *monitor) show(res check.Result, snap check.Snapshot) {
	if !snap.Buckets.Blind {
		m.uids = make(map[string]string, len(snap.Records))
		for _, r := range snap.Records {
			if r.Record != nil {
				m.uids[r.Key] = r.Record.UID
			}
		}
		m.totalPools = len(snap.Pools)
	}
	shown := make(map[string]keptStatus, len(res.Statuses))
	for _, st := range res.Statuses {
		shown[st.Name] = keptStatus{UID: m.uids[st.Name], SubscriptionHealth: st}
	}
	m.shown.Store(&shown)
}

// cleanup reads whether automatic repair is on. It is off while there is no bucket
// that could say so, and in which attempts are counted.
func (m *monitor) cleanup(ctx context.Context, keeps bool) (bool, error) {
	if !keeps {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	e, err := m.health.Get(ctx, keyCleanup)
	switch {
	case err == nil:
		var sw cleanupSwitch // off where it cannot be read: nothing is repaired on a guess
		_ = json.Unmarshal(e.Value(), &sw)
		m.kept.cleanup = &sw
	case deleted(err):
		m.kept.cleanup = nil
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return false, fmt.Errorf("read the cleanup switch: %w", err)
	case m.kept.cleanup != nil: // it went with the bucket
		if err := m.kept.put(ctx, keyCleanup, *m.kept.cleanup); err != nil {
			return false, err
		}
	}
	if m.kept.cleanup == nil {
		return m.CleanupEnabled, nil
	}
	return m.kept.cleanup.Enabled, nil
}

// report puts a sweep into the words of the contract.
func (m *monitor) report(res check.Result, snap check.Snapshot, enabled bool) wire.Report {
	r := wire.Report{
		Type: wire.ReportType, ID: nuid.Next(), Timestamp: m.src.clock.now().UTC(), Namespace: m.ns,
		Leader: m.instance, CleanupEnabled: enabled, Status: res.Status,
		TotalSubscriptions: len(res.Statuses), TotalPools: m.totalPools, TotalEmitters: len(snap.Emitters),
		Repairs: []wire.Repair{},
	}
	lists := issueLists(&r.Issues)
	for _, l := range lists {
		*l = []wire.Issue{}
	}
	for _, i := range res.Issues {
		*lists[i.Kind] = append(*lists[i.Kind], i)
	}
	r.Summary = wire.Summary{
		Stale: len(r.Issues.Stale), Orphaned: len(r.Issues.Orphaned), Missing: len(r.Issues.Missing),
		Total: len(res.Issues),
	}
	return r
}

// issueLists returns the list of each kind.
func issueLists(i *wire.Issues) map[string]*[]wire.Issue {
	return map[string]*[]wire.Issue{
		wire.IssueStale: &i.Stale, wire.IssueOrphanedPool: &i.Orphaned, wire.IssueMissingPool: &i.Missing,
		wire.IssueStalledPool: &i.Stalled, wire.IssueLaggingPool: &i.Lagging, wire.IssueSlowReading: &i.SlowReading, wire.IssueOpenBreaker: &i.OpenBreaker,
		wire.IssueParkedEvents: &i.Parked, wire.IssueGap: &i.Gaps, wire.IssueLostStore: &i.LostStores,
		wire.IssueUnobservedChange: &i.Unobserved, wire.IssueCorruptRecord: &i.Corrupt,
		wire.IssueTwoOwners: &i.TwoOwners, wire.IssueNeverMatched: &i.NeverMatch, wire.IssueCaptured: &i.Captured,
		wire.IssueTooCostly: &i.TooCostly, wire.IssueUnreadableStore: &i.Unreadable, wire.IssueMissingBucket: &i.NoBucket,
		wire.IssueClockSkew: &i.ClockSkew, wire.IssueStorageFull: &i.StorageFull, wire.IssueCredentials: &i.Credentials,
	}
}

// fitReport encodes r, with as many issues of each kind, and as many repairs,
// as fit into limit bytes.
func fitReport(r wire.Report, limit int) ([]byte, error) {
	most := min(longest(&r), max(limit/smallIssue, 1))
	r.Truncated = r.Truncated || most < longest(&r)
	for ; ; most /= 2 {
		for _, l := range issueLists(&r.Issues) {
			*l = (*l)[:min(len(*l), most)]
		}
		r.Repairs = r.Repairs[:min(len(r.Repairs), most)]
		body, err := wire.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encode report: %w", err)
		}
		if len(body) <= limit || most == 0 {
			return body, nil
		}
		r.Truncated = true
	}
}

func longest(r *wire.Report) int {
	n := len(r.Repairs)
	for _, l := range issueLists(&r.Issues) {
		n = max(n, len(*l))
	}
	return n
}

// facts are what the plan for an issue depends on.
func facts(i wire.Issue, res check.Result, snap check.Snapshot, byHand bool) repair.Facts {
	f := repair.Facts{Expired: res.Expired[i.Name], Durable: true, Emitters: len(snap.Emitters), ByHand: byHand}
	at, ok := slices.BinarySearchFunc(snap.Records, i.Name, func(r check.Record, name string) int {
		return cmp.Compare(r.Key, name)
	})
	if ok && snap.Records[at].Record != nil {
		f.Durable = snap.Records[at].Record.Spec.ExpireAfter <= 0
	}
	return f
}
