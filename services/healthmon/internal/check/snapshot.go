package check

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Snapshot is what was seen in one sweep.
type Snapshot struct {
	At       time.Time
	Records  []Record
	Pools    []Pool
	Emitters map[string]bool            // live instances
	Statuses map[string]wire.PoolStatus // by pool, from owners that answered
	// Answered names, by pool, the owner that answered when it was asked
	// about it, whether it has the pool or not.
	Answered map[string]string
	Stores   map[string]Store // every store that a record names
	// Listeners holds, by delivery subject, who would get a delivery.
	Listeners map[string]Listeners
	// Parked holds how many events are parked, by subscription.
	// ParkedKnown is false where that could not be learnt.
	Parked      map[string]uint64
	ParkedKnown bool
}

// Record is an entry of the subscriptions bucket.
type Record struct {
	Key      string
	Revision uint64
	Record   *wire.Record // nil where it cannot be read
	Reason   string       // why it cannot be read
	Size     int
	// Newer is set where the entry has a later schema than this version
	// knows: it is not corrupt, and nothing may be done to it.
	Newer bool
}

// Pool is an entry of the pools bucket.
type Pool struct {
	Key      string
	Revision uint64
	Pool     *wire.Pool // nil where it cannot be read
	Reason   string
	Size     int
	Newer    bool
	// Vanished is set where the entry has no record, and the bucket holds no
	// trace that there was one and was deleted, although the pool has seen it.
	Vanished bool
	// NextAt is when the first stored event that the pool has not read was
	// stored; nil where there is none or it is not known.
	NextAt *time.Time
}

// Store is what is known of a store.
type Store struct {
	Known   bool // false: it could not be asked
	Exists  bool
	Created time.Time
	First   uint64
	Last    uint64
	Reason  string // why it is not known
}

// Listeners is who listens on a delivery subject.
type Listeners struct {
	Known  bool
	Count  int
	Detail string
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
}

// Ref names an issue.
type Ref struct{ Kind, Name string }

// Held is an issue as it is remembered.
type Held struct {
	Issue wire.Issue
	UID   string // of the subscription; "" where the issue is not of one
}

// Memory is what one sweep hands to the next. The zero value is a monitor
// that remembers nothing.
type Memory struct {
	Issues   map[Ref]Held
	Statuses map[string]wire.SubscriptionHealth
	at       time.Time // of the sweep
	suspects map[Ref]suspect
	progress map[string]progress
	heard    map[string]heard
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
	claim   claim
	marks   marks
	at      time.Time
	stillAt time.Time     // since when it has had work without a sign of life; zero: not so
	watched time.Duration // how much of the time since then was watched
	looks   int           // in how many answers it was so
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
		wire.IssueLaggingPool, wire.IssueOpenBreaker, wire.IssueParkedEvents, wire.IssueGap,
		wire.IssueLostStore, wire.IssueUnobservedChange, wire.IssueCorruptRecord, wire.IssueTwoOwners,
		wire.IssueNeverMatched, wire.IssueCaptured, wire.IssueTooCostly, wire.IssueUnreadableStore,
		wire.IssueMissingBucket, wire.IssueClockSkew, wire.IssueStorageFull, wire.IssueCredentials,
	}
}

// Failing reports whether an issue of this kind means that events do not
// arrive and nothing that was declared explains it.
func Failing(kind string) bool {
	switch kind {
	case wire.IssueMissingPool, wire.IssueStalledPool, wire.IssueLostStore, wire.IssueCorruptRecord:
		return true
	default:
		return false
	}
}
