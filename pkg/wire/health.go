package wire

import "time"

// ReportType is the type of a health report.
const ReportType = "io.sluice.health.v1.report"

// Kinds of issue. Each is a member of the report's issues.
const (
	IssueStale            = "stale_subscriptions" // nobody listens on the delivery subject
	IssueOrphanedPool     = "orphaned_pools"      // a pool entry without its subscription
	IssueMissingPool      = "missing_pools"       // a subscription that should run and has no live owner
	IssueStalledPool      = "stalled_pools"
	IssueLaggingPool      = "lagging_pools"
	IssueSlowReading      = "slow_reading" // a store is written faster than it is read
	IssueOpenBreaker      = "open_breakers"
	IssueParkedEvents     = "parked_events"
	IssueGap              = "gaps"
	IssueLostStore        = "lost_stores"
	IssueUnobservedChange = "unobserved_changes"
	IssueCorruptRecord    = "corrupt_records"
	IssueTwoOwners        = "two_owners"
	IssueNeverMatched     = "never_matched"
	IssueCaptured         = "delivery_captured" // a stream captures the delivery subject and answers for subscribers
	IssueTooCostly        = "too_costly"        // events were parked because matching exceeded its budget
	IssueUnreadableStore  = "unreadable_stores" // a store is there and cannot be read
	IssueMissingBucket    = "missing_buckets"
	IssueClockSkew        = "clock_skew"
	IssueStorageFull      = "storage_near_full"
	IssueCredentials      = "credentials_expiring"
)

// Status words of a report.
const (
	StatusHealthy  = "healthy"
	StatusDegraded = "degraded"
	StatusFailing  = "failing"
)

// Issue is one thing that is wrong, with the numbers it was judged by.
type Issue struct {
	Kind     string         `json:"kind"`
	Name     string         `json:"name"`
	Since    time.Time      `json:"since"`
	Detail   string         `json:"detail"`
	Evidence map[string]any `json:"evidence"`
	Repair   string         `json:"repair"` // what repair does or would do; "" where a person must decide
	// NeedsPerson is set where there is no repair, or the issue outlasted it.
	NeedsPerson bool `json:"needs_person"`
}

// Issues groups issues by kind; every member is present, empty or not.
type Issues struct {
	Stale       []Issue `json:"stale_subscriptions"`
	Orphaned    []Issue `json:"orphaned_pools"`
	Missing     []Issue `json:"missing_pools"`
	Stalled     []Issue `json:"stalled_pools"`
	Lagging     []Issue `json:"lagging_pools"`
	SlowReading []Issue `json:"slow_reading"`
	OpenBreaker []Issue `json:"open_breakers"`
	Parked      []Issue `json:"parked_events"`
	Gaps        []Issue `json:"gaps"`
	LostStores  []Issue `json:"lost_stores"`
	Unobserved  []Issue `json:"unobserved_changes"`
	Corrupt     []Issue `json:"corrupt_records"`
	TwoOwners   []Issue `json:"two_owners"`
	NeverMatch  []Issue `json:"never_matched"`
	Captured    []Issue `json:"delivery_captured"`
	TooCostly   []Issue `json:"too_costly"`
	Unreadable  []Issue `json:"unreadable_stores"`
	NoBucket    []Issue `json:"missing_buckets"`
	ClockSkew   []Issue `json:"clock_skew"`
	StorageFull []Issue `json:"storage_near_full"`
	Credentials []Issue `json:"credentials_expiring"`
}

// Summary counts issues.
type Summary struct {
	Stale    int `json:"stale_subscription_count"`
	Orphaned int `json:"orphaned_pool_count"`
	Missing  int `json:"missing_pool_count"`
	Total    int `json:"total_issues"`
}

// Repair says what was done, or would be done, about an issue.
type Repair struct {
	Kind     string    `json:"kind"`
	Name     string    `json:"name"`
	Action   string    `json:"action"`  // remove_subscription, remove_pool, start_pool, quarantine_record…
	Outcome  string    `json:"outcome"` // done, failed, would_do, nothing_to_do, given_up
	Attempt  int       `json:"attempt"`
	At       time.Time `json:"at"`
	Detail   string    `json:"detail"`
	DryRun   bool      `json:"dry_run,omitempty"`
	Observed string    `json:"observed,omitempty"` // what was seen just before acting
}

// Report is the outcome of one sweep.
type Report struct {
	Type               string    `json:"type"`
	ID                 string    `json:"id"`
	Timestamp          time.Time `json:"timestamp"`
	Namespace          Namespace `json:"namespace"`
	Leader             string    `json:"leader"`
	CheckDurationMS    int64     `json:"check_duration_ms"`
	CleanupEnabled     bool      `json:"cleanup_enabled"`
	Status             string    `json:"status"`
	TotalSubscriptions int       `json:"total_subscriptions"`
	TotalPools         int       `json:"total_pools"`
	TotalEmitters      int       `json:"total_emitters"`
	Issues             Issues    `json:"issues"`
	Summary            Summary   `json:"summary"`
	Repairs            []Repair  `json:"repairs"`
	// Truncated is set where the issues were too many for one message: the
	// summary counts all of them, the lists hold the first of each kind.
	Truncated bool `json:"truncated,omitempty"`
	// AsOf is set in an answer to health.check for which no sweep could be finished in
	// time: the report is that of the sweep before, with what is known to have changed.
	AsOf *AsOf `json:"as_of,omitempty"`
}

// AsOf says how old a report is that was not made for the one who asked.
type AsOf struct {
	AnsweredAt time.Time `json:"answered_at"`
	// Ages tell how old what the issues were judged by was when it was answered.
	Ages map[string]Duration `json:"ages"`
	// Changed is what is known to have changed since; absent where nothing is. The
	// totals of the report have it, and issues of what was deleted are left out.
	Changed *Changed `json:"changed,omitempty"`
}

// Parts of a report, by which AsOf tells ages.
const (
	PartEntries   = "entries"   // records and pools
	PartOwners    = "owners"    // what the emitters say of their pools
	PartListeners = "listeners" // who listens on delivery subjects
	PartStores    = "stores"    // stores and other streams
	PartParked    = "parked"    // parked events
)

// Changed counts what changed since a sweep.
type Changed struct {
	Created  int      `json:"subscriptions_created"`
	Updated  int      `json:"subscriptions_updated"`
	Deleted  int      `json:"subscriptions_deleted"`
	Pools    int      `json:"pools"` // entries that were written or deleted
	Joined   []string `json:"emitters_joined"`
	Departed []string `json:"emitters_gone"`
}

// CheckRequest is the body of health.check.
type CheckRequest struct {
	// Within is how long to wait for a sweep before the last one has to do.
	Within *Duration `json:"within,omitempty"`
}

// SubscriptionHealth is the status of one subscription.
type SubscriptionHealth struct {
	Name      string    `json:"name"`
	Status    string    `json:"status"` // healthy, degraded, failing, paused
	Since     time.Time `json:"since"`
	Reasons   []string  `json:"reasons"`
	State     string    `json:"state"`
	Owner     string    `json:"owner,omitempty"`
	Epoch     uint64    `json:"epoch,omitempty"`
	Lag       uint64    `json:"lag"`     // stored events after the floor, matching or not
	LagAge    Duration  `json:"lag_age"` // age of the oldest unfinished event
	Rate      float64   `json:"rate"`    // finished events a second since the last sweep
	Parked    uint64    `json:"parked"`
	Listeners int       `json:"listeners"`
	CheckedAt time.Time `json:"checked_at"`
}

// SubscriptionHealthResponse answers health.subscription.
type SubscriptionHealthResponse struct {
	Head
	SubscriptionHealth
}

// ReportResponse answers health.check and health.report. It is the report
// itself: its type is ReportType, not that of an answer, as on the subject.
type ReportResponse struct {
	Report
	Error *Error `json:"error,omitempty"`
}

// CleanupRequest is the body of health.cleanup.
type CleanupRequest struct {
	Enabled *bool `json:"enabled"`
}

// CleanupResponse answers health.cleanup.
type CleanupResponse struct {
	Head
	Enabled bool `json:"enabled"`
}

// RepairRequest is the body of health.repair.
type RepairRequest struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// RepairResponse answers health.repair.
type RepairResponse struct {
	Head
	Repair *Repair `json:"repair,omitempty"`
}

// ReconcileReportType is the type of the replayer's report.
const ReconcileReportType = "io.sluice.lifecycle.v1.report"

// Transition is one step in the life of a subscription, folded from the
// history of the subscriptions bucket.
type Transition struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"` // created, updated, deleted, recreated
	UID        string `json:"uid"`
	Generation uint64 `json:"generation"`
	Revision   uint64 `json:"revision"`
	Missed     bool   `json:"missed"`   // no pool had observed it when it was looked at
	Replayed   bool   `json:"replayed"` // sent to the emitters
	Observed   bool   `json:"observed"` // a pool has observed it by the end
}

// Kinds of transition.
const (
	TransitionCreated   = "created"
	TransitionUpdated   = "updated"
	TransitionDeleted   = "deleted"
	TransitionRecreated = "recreated"
)

// ReconcileReport says what the replayer found and did after leadership moved.
type ReconcileReport struct {
	Type         string       `json:"type"`
	ID           string       `json:"id"`
	Timestamp    time.Time    `json:"timestamp"`
	Leader       string       `json:"leader"`
	Trigger      string       `json:"trigger"`
	FromRevision uint64       `json:"from_revision"`
	ToRevision   uint64       `json:"to_revision"` // the barrier
	DurationMS   int64        `json:"duration_ms"`
	Transitions  []Transition `json:"transitions"`
	// Total counts the transitions. Truncated is set where they were too many
	// for one message: Transitions then holds some of them, unobserved first.
	Total      int  `json:"total"`
	Truncated  bool `json:"truncated,omitempty"`
	Missed     int  `json:"missed"`
	Replayed   int  `json:"replayed"`
	Unobserved int  `json:"unobserved"` // still, at the end; looked at again
}
