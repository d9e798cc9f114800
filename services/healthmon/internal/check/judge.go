package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Judge compares what was seen with what was seen before. It changes neither.
func Judge(cfg Config, prev Memory, s Snapshot) Result {
	j := &judge{
		cfg: cfg, prev: prev, s: s,
		found: map[Ref]Held{}, expired: map[string]bool{}, stores: map[string][]Ref{}, rank: map[string]int{},
		pools: make(map[string]*Pool, len(s.Pools)), records: make(map[string]*Record, len(s.Records)),
		next: Memory{
			at: s.At, suspects: map[Ref]suspect{}, progress: make(map[string]progress, len(s.Records)),
			heard: make(map[string]heard, len(s.Records)), counts: make(map[Ref]count, 2*len(s.Records)),
		},
	}
	for i, k := range Kinds() {
		j.rank[k] = i
	}
	j.buckets()
	j.clocks()
	j.storage()
	if s.Buckets.Blind {
		j.carry()
		return j.result(nil)
	}
	return j.result(j.installation())
}

// installation judges the records, the pools and the stores, and returns the
// rates at which the pools finish events.
func (j *judge) installation() map[string]float64 {
	s := j.s
	for i := range s.Pools {
		j.pools[s.Pools[i].Key] = &s.Pools[i]
	}
	for i := range s.Records {
		j.records[s.Records[i].Key] = &s.Records[i]
	}
	rates := make(map[string]float64, len(s.Records))
	for i := range s.Records {
		r := &s.Records[i]
		if r.Record == nil {
			j.corrupt("subscriptions", r.Entry)
			continue
		}
		rates[r.Key] = j.record(r, j.pools[r.Key])
	}
	for i := range s.Pools {
		j.pool(&s.Pools[i])
	}
	for _, g := range s.Gone {
		j.gone(g)
	}
	j.readStores()
	j.unparked()
	return rates
}

// carry leaves everything as it was: what was seen proves nothing, and nothing
// is done about it.
func (j *judge) carry() {
	for ref, held := range j.prev.Issues {
		if OfStore(ref.Kind) || OfSubscription(ref.Kind) {
			held.Issue.Repair = ""
			j.found[ref] = held
		}
	}
	for ref, sus := range j.prev.suspects {
		if _, ok := j.next.suspects[ref]; !ok && (OfStore(ref.Kind) || OfSubscription(ref.Kind)) {
			j.next.suspects[ref] = sus
		}
	}
	j.next.progress, j.next.heard, j.next.counts = j.prev.progress, j.prev.heard, j.prev.counts
}

type judge struct {
	cfg     Config
	prev    Memory
	s       Snapshot
	pools   map[string]*Pool
	records map[string]*Record
	next    Memory
	found   map[Ref]Held
	expired map[string]bool
	stores  map[string][]Ref // by subscription: the issues of streams that concern it
	rank    map[string]int   // by kind: its place in the order of Kinds
	recheck time.Duration
}

// again asks for another look after d.
func (j *judge) again(d time.Duration) {
	d = max(d, time.Millisecond)
	if j.recheck == 0 || d < j.recheck {
		j.recheck = d
	}
}

// finding is an issue before it is known since when.
type finding struct {
	kind, name, uid string
	detail          string
	evidence        map[string]any
	repair          string
	claim           claim     // the one that it is about; zero: whatever the claim
	notBefore       time.Time // when it was last seen not to be so; zero: not known
}

// raise reports an issue that has lasted since the given time, or longer if
// it is remembered so.
func (j *judge) raise(f finding, since time.Time) time.Time {
	ref := Ref{f.kind, f.name}
	if held, ok := j.prev.Issues[ref]; ok && held.UID == f.uid {
		since = held.Issue.Since
	}
	since = later(since, f.notBefore)
	if f.evidence == nil {
		f.evidence = map[string]any{}
	}
	if f.uid != "" {
		f.evidence["uid"] = f.uid
	}
	if r := j.records[f.name]; r != nil && r.Record != nil && r.Record.UID == f.uid && len(r.Record.Spec.Labels) > 0 {
		f.evidence["labels"] = r.Record.Spec.Labels // by which people know whose it is
	}
	j.found[ref] = Held{UID: f.uid, Issue: wire.Issue{
		Kind: f.kind, Name: f.name, Since: since.UTC().Round(0),
		Detail: f.detail, Evidence: f.evidence, Repair: f.repair,
	}}
	return since
}

// keep leaves an issue as it was, because nothing was learnt about it.
func (j *judge) keep(kind, name, uid string) {
	ref := Ref{kind, name}
	if held, ok := j.prev.Issues[ref]; ok && held.UID == uid {
		j.found[ref] = held
	}
	if sus, ok := j.prev.suspects[ref]; ok && sus.uid == uid {
		j.next.suspects[ref] = sus
	}
}

// keepOnly is keep for an issue whose repair depends on what was not learnt.
func (j *judge) keepOnly(kind, name, uid string) {
	j.keep(kind, name, uid)
	ref := Ref{kind, name}
	if held, ok := j.found[ref]; ok {
		held.Issue.Repair = ""
		j.found[ref] = held
	}
}

// lasting raises f once it has lasted grace. The condition holds at least
// since the time at, if that is not zero. An issue that is raised
// already stays so, but what is about one claim is repaired only once it has
// lasted grace for that very claim.
func (j *judge) lasting(f finding, at time.Time, grace time.Duration) {
	ref := Ref{f.kind, f.name}
	since := j.s.At
	if sus, ok := j.prev.suspects[ref]; ok && sus.uid == f.uid && sus.claim == f.claim {
		since, f.notBefore = sus.since, later(sus.notBefore, f.notBefore)
	}
	since = later(since, f.notBefore)
	j.next.suspects[ref] = suspect{uid: f.uid, claim: f.claim, since: since, notBefore: f.notBefore}
	lasted := j.s.At.Sub(since)
	if !at.IsZero() && f.notBefore.IsZero() {
		lasted = max(lasted, j.s.At.Sub(at))
	}
	held, was := j.prev.Issues[ref]
	was = was && held.UID == f.uid
	unconfirmed := j.s.Unconfirmed[f.name] && f.kind != wire.IssueStale // which no entry has to do with
	switch {
	case lasted >= grace && !unconfirmed:
	case !was:
		j.again(grace - lasted)
		return
	case f.claim != claim{} || unconfirmed:
		j.again(grace - lasted)
		f.repair = ""
	}
	j.raise(f, since)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// corrupt reports an entry that cannot be read.
func (j *judge) corrupt(bucket string, e Entry) {
	if _, ok := j.found[Ref{wire.IssueCorruptRecord, e.Key}]; ok {
		return // the record goes first, the pool's turn comes when it is repaired
	}
	f := finding{
		kind: wire.IssueCorruptRecord, name: e.Key,
		detail:   fmt.Sprintf("the entry in %s cannot be read: %s", bucket, e.Reason),
		evidence: map[string]any{"bucket": bucket, "revision": e.Revision, "reason": e.Reason, "size": e.Size},
		repair:   "quarantine_record",
	}
	if e.Newer {
		f.detail = fmt.Sprintf("the entry in %s was written by a later version and is not looked after by this one", bucket)
		f.repair = ""
	}
	if j.s.Unconfirmed[e.Key] {
		j.again(0)
		if _, was := j.prev.Issues[Ref{f.kind, e.Key}]; !was {
			return
		}
		f.repair = ""
	}
	j.raise(f, j.s.At)
}

// pool judges an entry of the pools bucket by itself.
func (j *judge) pool(p *Pool) {
	if p.Pool == nil {
		j.corrupt("pools", p.Entry)
		return
	}
	r, ok := j.records[p.Key]
	if ok && (r.Record == nil || r.Record.UID == p.Pool.UID) {
		return // a record that cannot be read says nothing about its pool
	}
	f := finding{
		kind: wire.IssueOrphanedPool, name: p.Key, uid: p.Pool.UID,
		detail: "the pool has no subscription",
		evidence: map[string]any{
			"revision": p.Revision, "owner": p.Pool.Owner, "owner_alive": j.s.Emitters[p.Pool.Owner],
			"epoch": p.Pool.Epoch, "floor": p.Pool.Checkpoint.Floor,
		},
		repair: "remove_pool",
	}
	if ok {
		f.detail = "the pool is of an earlier subscription of the same name"
		f.evidence["subscription_uid"] = r.Record.UID
	}
	if p.Vanished {
		f.detail = "the pool's subscription is gone without ever having been deleted; a person must decide"
		f.evidence["observed_revision"] = p.Pool.ObservedRevision
		f.repair = ""
	}
	j.lasting(f, time.Time{}, j.cfg.Grace)
}

// result puts everything together.
func (j *judge) result(rates map[string]float64) Result {
	res := Result{Status: wire.StatusHealthy, Recheck: j.recheck, Expired: j.expired}
	for ref, h := range j.found {
		res.Issues = append(res.Issues, h.Issue)
		if held, ok := j.prev.Issues[ref]; !ok || held.UID != h.UID {
			res.Raised = append(res.Raised, h.Issue)
		}
	}
	for ref, h := range j.prev.Issues {
		if now, ok := j.found[ref]; !ok || now.UID != h.UID {
			res.Cleared = append(res.Cleared, h.Issue)
		}
	}
	slices.SortFunc(res.Issues, j.inOrder)
	slices.SortFunc(res.Raised, j.inOrder)
	slices.SortFunc(res.Cleared, j.inOrder)
	res.Status = Worst(res.Issues)
	res.Statuses = j.statuses(rates)
	j.next.Issues = j.found
	j.next.Statuses = make(map[string]wire.SubscriptionHealth, len(res.Statuses))
	for _, st := range res.Statuses {
		j.next.Statuses[st.Name] = st
	}
	res.Memory = j.next
	return res
}

// inOrder compares issues by kind in the order of Kinds, then by name.
func (j *judge) inOrder(a, b wire.Issue) int {
	return cmp.Or(cmp.Compare(j.rank[a.Kind], j.rank[b.Kind]), cmp.Compare(a.Name, b.Name))
}

// Worst is the status that issues amount to.
func Worst(issues []wire.Issue) string {
	status := wire.StatusHealthy
	for _, i := range issues {
		if Failing(i.Kind) {
			return wire.StatusFailing
		}
		status = wire.StatusDegraded
	}
	return status
}
