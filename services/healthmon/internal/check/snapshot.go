package check

import (
	"slices"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Snapshot is what was seen in one sweep.
type Snapshot struct {
	At       time.Time // by the server's clock, as is every time but those that an owner tells
	Began    time.Time // when owners, stores and the rest were asked
	Records  []Record
	Pools    []Pool
	Emitters map[string]bool            // live instances
	Statuses map[string]wire.PoolStatus // by pool, from owners that answered
	// Unconfirmed are the names of which record and pool do not fit together in what
	// was seen, and the server was not asked whether that is so. It raises nothing,
	// and nothing is done about it.
	Unconfirmed map[string]bool
	// Answered names, by pool, the owner that answered when it was asked
	// about it, whether it has the pool or not.
	Answered map[string]string
	Stores   map[string]Store // every store that a record names
	// Listeners holds, by delivery subject, who would get a delivery.
	Listeners map[string]Listeners
	Captures  Captures
	// Gone are the subscriptions that were there at an earlier sweep, and are
	// not any more without ever having been deleted.
	Gone    []Gone
	Buckets Buckets
	// Clocks are those that were compared with the server's, by instance.
	Clocks map[string]Clock
	// Parked holds how many events are parked, by subscription.
	// ParkedKnown is false where that could not be learnt.
	Parked      map[string]uint64
	ParkedKnown bool
}

// Entry is what is known of an entry of a bucket whatever lies there.
type Entry struct {
	Key      string
	Revision uint64
	Size     int    // the bytes of its value
	Reason   string // why it cannot be read; "" where it can
	// Newer is set where the entry has a later schema than this version
	// knows: it is not corrupt, and nothing may be done to it.
	Newer bool
}

// Record is an entry of the subscriptions bucket.
type Record struct {
	Entry
	// Created is when the server stored this revision; zero: not known.
	Created time.Time
	Record  *wire.Record // nil where it cannot be read
}

// Pool is an entry of the pools bucket.
type Pool struct {
	Entry
	Pool *wire.Pool // nil where it cannot be read
	// Vanished is set where the entry has no record, and the bucket holds no
	// trace that there was one and was deleted, although the pool has seen it.
	Vanished bool
	Next     Next
}

// Next is the first stored event that a pool has not read. The zero value says
// that there is none.
type Next struct {
	// Behind is set where the store goes on beyond what the pool has read, and
	// it is not known that nothing is stored there any more.
	Behind   bool
	Sequence uint64    // from which on there is more
	At       time.Time // when it was stored; zero: not known
	Fault    string    // why it could not be looked at
}

// Store is what is known of a store.
type Store struct {
	Known   bool // false: it could not be asked
	Exists  bool
	Created time.Time
	First   uint64
	Last    uint64
	Reason  string // why it is not known
	Refused string // why the monitor may not look at it, or read it; "" where it may
}

// Listeners is who listens on a delivery subject.
type Listeners struct {
	Known  bool
	Count  int // how many subscribers there are
	Detail string
	// Streams store what is delivered. They are nobody, but where one is the
	// target that a subscription names.
	Streams []string
}

// count is how many get the deliveries of rec.
func (l Listeners) count(rec *wire.Record) int {
	if to := rec.Spec.Deliver.Stream; to != "" && slices.Contains(l.Streams, to) {
		return l.Count + 1
	}
	return l.Count
}

// Gone is a subscription whose record went without having been deleted.
type Gone struct {
	Name   string
	Detail string
	Last   *wire.Record // the record as it was known last; nil where that is not known
}

// Clock is how far the clock of an instance is ahead of the server's, which is
// known but for Doubt.
type Clock struct {
	Service    string
	Off, Doubt time.Duration
}

// Config sets the thresholds.
type Config struct {
	// Grace is how long what is normal during a change may last.
	Grace time.Duration
	// StallAfter is how long a pool may have work and show no progress in
	// its owner's answers, none of which vouches for more than a third of it.
	StallAfter time.Duration
	// LagAge is the age of the oldest unfinished event that counts as lagging.
	LagAge time.Duration
	// Skew is how far a clock may be off.
	Skew time.Duration
}

// Ref names an issue.
type Ref struct{ Kind, Name string }

// Held is an issue as it is remembered.
type Held struct {
	Issue wire.Issue
	UID   string // the uid of the subscription; "" where the issue is not about one
}

// Memory is what one sweep hands to the next. The zero value is a monitor
// that remembers nothing.
type Memory struct {
	Issues   map[Ref]Held
	Statuses map[string]wire.SubscriptionHealth
	at       time.Time // when the sweep was made
	suspects map[Ref]suspect
	progress map[string]progress
	heard    map[string]heard
	counts   map[Ref]count
}

// suspect is a condition that has not lasted long enough to be an issue.
type suspect struct {
	uid   string
	claim claim // that it is about; zero: whatever the claim
	since time.Time
	// notBefore is when it was last seen not to be so; zero: not known.
	notBefore time.Time
}

// claim is who owns a pool, and since which change of owner.
type claim struct {
	uid, owner string
	epoch      uint64
}

// progress is what the owner of a pool said when it last answered.
type progress struct {
	claim    claim
	finished uint64
	at       time.Time
	still    still
	growing  growing
}

// still is how long work has stood still. The zero value: it has not.
type still struct {
	marks    marks
	patience time.Duration // how long it may
	since    time.Time
	watched  time.Duration // how much of the time since then was watched
	looks    int           // in how many answers it was so
}

// marks are the numbers of which any change is progress.
type marks struct {
	floor, position, matched, delivered, finished, parked uint64
	extended                                              time.Time
}

// Result is the outcome of one sweep.
type Result struct {
	Issues   []wire.Issue // by kind in the order of Kinds, then by name
	Statuses []wire.SubscriptionHealth
	Status   string
	Raised   []wire.Issue
	Cleared  []wire.Issue
	Memory   Memory
	// Recheck is how long until something that is only suspected may become
	// an issue, or an ephemeral subscription may expire; 0 is never.
	Recheck time.Duration
	// Expired are the ephemeral subscriptions whose time without a subscriber is over.
	Expired map[string]bool
}

// Kinds are the kinds of issue, in the order of the report.
func Kinds() []string {
	return []string{
		wire.IssueStale, wire.IssueOrphanedPool, wire.IssueMissingPool, wire.IssueStalledPool,
		wire.IssueLaggingPool, wire.IssueSlowReading, wire.IssueOpenBreaker, wire.IssueParkedEvents, wire.IssueGap,
		wire.IssueLostStore, wire.IssueUnobservedChange, wire.IssueCorruptRecord, wire.IssueTwoOwners,
		wire.IssueNeverMatched, wire.IssueCaptured, wire.IssueTooCostly, wire.IssueUnreadableStore,
		wire.IssueMissingBucket, wire.IssueClockSkew, wire.IssueStorageFull, wire.IssueCredentials,
	}
}

// Failing reports whether an issue of this kind means that events do not
// arrive and nothing that was declared explains it.
func Failing(kind string) bool {
	switch kind {
	case wire.IssueMissingPool, wire.IssueStalledPool, wire.IssueLostStore, wire.IssueCorruptRecord,
		wire.IssueUnreadableStore, wire.IssueMissingBucket:
		return true
	default:
		return false
	}
}

// OfStore reports whether issues of this kind have the name of a store, and
// concern the subscriptions that read it.
func OfStore(kind string) bool {
	return kind == wire.IssueLostStore || kind == wire.IssueUnreadableStore
}

// OfSubscription reports whether issues of this kind have the name of a
// subscription.
func OfSubscription(kind string) bool {
	switch kind {
	case wire.IssueMissingBucket, wire.IssueClockSkew, wire.IssueStorageFull, wire.IssueCredentials:
		return false
	default:
		return !OfStore(kind)
	}
}
