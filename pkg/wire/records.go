package wire

import (
	"encoding/json"
	"strings"
	"time"
)

// SchemaVersion is the schema of the records that this version writes.
const SchemaVersion = 1

// Record is what lies in the subscriptions bucket under the subscription's name.
type Record struct {
	Schema     int       `json:"schema"`
	Name       string    `json:"name"`
	UID        string    `json:"uid"`        // new each time the name is created or restarted
	Generation uint64    `json:"generation"` // grows with every change, from 1
	Paused     bool      `json:"paused"`
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	// StartSequence is Spec.Start resolved against the store when the
	// subscription was created or restarted: the first sequence to read.
	StartSequence uint64 `json:"start_sequence"`
	// StoreCreated is when the store was created: a store of the same name
	// but another time is another store, whose sequences mean nothing here.
	StoreCreated time.Time `json:"store_created"`
	Spec         Spec      `json:"spec"`
}

// Subscription is a record as answers show it.
type Subscription struct {
	Name          string    `json:"name"`
	UID           string    `json:"uid"`
	Generation    uint64    `json:"generation"`
	Revision      uint64    `json:"revision"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
	Paused        bool      `json:"paused"`
	StartSequence uint64    `json:"start_sequence"`
	Spec          Spec      `json:"spec"`
}

// Subscription returns the record as answers show it.
func (r *Record) Subscription(revision uint64) Subscription {
	return Subscription{
		Name: r.Name, UID: r.UID, Generation: r.Generation, Revision: revision,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Paused: r.Paused,
		StartSequence: r.StartSequence, Spec: r.Spec,
	}
}

// Pool is what lies in the pools bucket under the subscription's name: claim
// and checkpoint in one entry, written by compare-and-swap only.
type Pool struct {
	Schema int    `json:"schema"`
	Name   string `json:"name"`
	UID    string `json:"uid"`   // the uid of the subscription that it serves
	Owner  string `json:"owner"` // emitter instance; "" is free
	Epoch  uint64 `json:"epoch"` // the fencing token
	// ObservedGeneration is the generation of the record that the pool runs by.
	ObservedGeneration uint64 `json:"observed_generation"`
	// ObservedRevision is the KV revision of that record.
	ObservedRevision uint64     `json:"observed_revision"`
	Checkpoint       Checkpoint `json:"checkpoint"`
	// Begin is the first sequence to read where a seek named one that the
	// store had not reached; else 0.
	Begin uint64 `json:"begin,omitempty"`
	// LostFrom is the sequence from which on the store had lost what the pool
	// had read; 0 if it never did. The pool stays lost, also when the store
	// grows past its checkpoint, until a seek or a restart.
	LostFrom uint64    `json:"lost_from,omitempty"`
	State    PoolState `json:"state"`
	// Reason says why the state is not live, in a sentence.
	Reason string `json:"reason,omitempty"`
	Gap    *Gap   `json:"gap,omitempty"` // the last range lost
	// Holes is nil until the pool's first owner, since its start or a seek,
	// has looked at the store.
	Holes     *Holes    `json:"holes,omitempty"`
	ClaimedAt time.Time `json:"claimed_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Checkpoint is what a pool has finished: everything at or below Floor, and
// Ranges above it, each a first and a last sequence, ascending and disjoint.
type Checkpoint struct {
	Floor  uint64      `json:"floor"`
	Ranges [][2]uint64 `json:"ranges,omitempty"`
}

// Gap is a range of sequences that the store no longer held when the pool
// came to read them.
type Gap struct {
	From uint64    `json:"from"`
	To   uint64    `json:"to"`
	At   time.Time `json:"at"`
	// Count is how many events were lost, where they are fewer than the range
	// has sequences; 0 is all of them.
	Count uint64 `json:"count,omitempty"`
	// Kind is where the store lost them: GapFront or GapMiddle. "" is GapFront.
	Kind       string `json:"kind,omitempty"`
	Generation uint64 `json:"generation"` // the record's generation at that time
	// Paused says that the subscription has been paused since: whoever
	// resumes it wants it to go on behind the gap.
	Paused bool `json:"paused,omitempty"`
}

// Holes are what a store lacked up to To when a pool began to read it there:
// what is known to have been missing then is no loss of the pool's.
type Holes struct {
	To     uint64      `json:"to"`
	Ranges [][2]uint64 `json:"ranges,omitempty"` // each a first and a last sequence, ascending and disjoint
	// Many is set where there were too many to keep. Nothing that the store
	// lacks up to To is then taken for a loss.
	Many bool `json:"many,omitempty"`
}

// Values of Gap.Kind.
const (
	GapFront  = "front"  // below the store's first sequence
	GapMiddle = "middle" // deleted or displaced above it
)

// PoolState is what a pool is doing.
type PoolState string

// The states of a pool.
const (
	PoolCatchingUp  PoolState = "catching_up"  // reading history, or fallen behind
	PoolLive        PoolState = "live"         // reading near the end of the store
	PoolWaiting     PoolState = "waiting"      // nobody listens on the delivery subject
	PoolBreakerOpen PoolState = "breaker_open" // too many failures in a row
	PoolBlocked     PoolState = "blocked"      // a lane holds an exhausted event (on_exhausted block), or events cannot be parked, or what is delivered would become an event of the store
	PoolPaused      PoolState = "paused"
	PoolNotBegun    PoolState = "not_begun"          // the store has not reached the start yet
	PoolNoReader    PoolState = "waiting_for_reader" // behind, and every reader is in use; or the store cannot be read
	PoolStoreLost   PoolState = "store_lost"         // the store is gone or is another one
	PoolReleased    PoolState = "released"           // handed over; the next owner takes it from here
)

// PoolStatus is the live state of a pool as its owner sees it.
type PoolStatus struct {
	Name      string     `json:"name"`
	UID       string     `json:"uid"`
	Owner     string     `json:"owner"`
	Epoch     uint64     `json:"epoch"`
	State     PoolState  `json:"state"`
	Reason    string     `json:"reason,omitempty"`
	Floor     uint64     `json:"floor"`
	Position  uint64     `json:"position"` // last sequence read
	StoreLast uint64     `json:"store_last"`
	Pending   int        `json:"pending"`   // matched, not finished
	InFlight  int        `json:"in_flight"` // delivered, not answered
	Limit     int        `json:"limit"`     // how many deliveries may be in flight now
	Retrying  int        `json:"retrying"`  // waiting for a backoff to end
	Parking   int        `json:"parking"`   // given up, not yet in the parked stream
	Breaker   string     `json:"breaker"`   // closed, half-open, open
	Evaluated uint64     `json:"evaluated"` // events that its readers have taken while they served it
	Matched   uint64     `json:"matched"`   // those of them that it took on
	Delivered uint64     `json:"delivered"` // deliveries sent, repeats included
	Finished  uint64     `json:"finished"`
	Parked    uint64     `json:"parked"`
	OldestAt  *time.Time `json:"oldest_pending_at,omitempty"` // store time of the oldest unfinished event
	LastAckAt *time.Time `json:"last_finished_at,omitempty"`
	// HeardAt is when a subscriber last answered anything.
	HeardAt *time.Time `json:"last_heard_at,omitempty"`
	// ExtendedAt is when a subscriber last said that it is still working:
	// a wait that it declared, so that nobody takes it for a stall.
	ExtendedAt *time.Time `json:"last_extended_at,omitempty"`
	Gap        *Gap       `json:"gap,omitempty"`
	Generation uint64     `json:"observed_generation"`
	// Unreadable is why the store cannot be read for this pool; "" where it can.
	Unreadable string `json:"unreadable,omitempty"`
	// Unparked is why events of this pool cannot be parked, for want of room; ""
	// where they can.
	Unparked string `json:"unparked,omitempty"`
	// Reopened counts how often the pool's reader was opened anew without
	// having moved in between; 0 once it moves.
	Reopened int `json:"reopened,omitempty"`
	// Captured counts the publish answers of streams that capture the delivery
	// subject without being the target.
	Captured uint64 `json:"captured,omitempty"`
	// TooCostly counts the events that were parked because judging them
	// exceeded the budget of matching.
	TooCostly uint64 `json:"too_costly,omitempty"`
}

// Session is what lies in the sessions bucket while an instance lives.
type Session struct {
	Service   string    `json:"service"`
	Instance  string    `json:"instance"`
	StartedAt time.Time `json:"started_at"`
	Pools     int       `json:"pools"`
	InFlight  int       `json:"in_flight"`
	Version   string    `json:"version"`
	// Draining is set by an instance that is stopping: it takes no new pools.
	Draining bool `json:"draining,omitempty"`
}

// Lease is what lies under leader.<role> in the sessions bucket.
type Lease struct {
	Role     string    `json:"role"`
	Instance string    `json:"instance"`
	Epoch    uint64    `json:"epoch"` // grows with every change of leader
	Since    time.Time `json:"since"`
}

// Advisory is something that happened, for whoever wants to know.
type Advisory struct {
	Type      string         `json:"type"` // io.sluice.advisory.v1.<what>, e.g. …v1.pool.claimed
	ID        string         `json:"id"`
	Timestamp time.Time      `json:"timestamp"`
	Name      string         `json:"name"` // the subscription, role or record that it is about
	Instance  string         `json:"instance,omitempty"`
	Detail    string         `json:"detail,omitempty"`
	Data      map[string]any `json:"data,omitempty"`
	Error     *Error         `json:"error,omitempty"`
}

// AdvisoryType returns the type of an advisory, e.g. of "pool.claimed".
func AdvisoryType(what string) string { return "io.sluice.advisory.v1." + what }

// What an advisory can say.
const (
	AdvSubscriptionCreated  = "subscription.created"
	AdvSubscriptionUpdated  = "subscription.updated"
	AdvSubscriptionDeleted  = "subscription.deleted"
	AdvSubscriptionPaused   = "subscription.paused"
	AdvSubscriptionResumed  = "subscription.resumed"
	AdvSubscriptionRejected = "subscription.rejected"
	AdvSubscriptionExpired  = "subscription.expired"
	AdvSubscriptionSought   = "subscription.sought"
	AdvPoolClaimed          = "pool.claimed"
	AdvPoolReleased         = "pool.released"
	AdvPoolLost             = "pool.lost"
	AdvPoolLive             = "pool.live"
	AdvPoolWaiting          = "pool.waiting"
	AdvPoolBlocked          = "pool.blocked"
	AdvPoolRestarted        = "pool.restarted"
	AdvBreakerOpened        = "breaker.opened"
	AdvBreakerHalfOpened    = "breaker.half_opened"
	AdvBreakerClosed        = "breaker.closed"
	AdvEventParked          = "event.parked"
	AdvEventLost            = "event.lost"
	AdvEventDiscarded       = "event.discarded" // parked events, by request
	AdvLeaderElected        = "leader.elected"
	AdvLeaderLost           = "leader.lost"
	AdvLifecycleMissed      = "lifecycle.missed"
	AdvLifecycleReplayed    = "lifecycle.replayed"
	AdvReplayStarted        = "replay.started"
	AdvReplayFinished       = "replay.finished"
	AdvReplayFailed         = "replay.failed"
	AdvReplayCancelled      = "replay.cancelled"
	AdvReplayPaused         = "replay.paused"
	AdvReplayResumed        = "replay.resumed"
	AdvIssueRaised          = "health.issue_raised"
	AdvIssueCleared         = "health.issue_cleared"
	AdvCleanupSwitched      = "health.cleanup_switched"
	AdvRepaired             = "health.repaired"
	AdvRepairFailed         = "health.repair_failed"
	AdvRepairSkipped        = "health.repair_skipped" // asked for without a reply: there was nothing to do, or it was a dry run
	AdvHealthRejected       = "health.rejected"       // a request without a reply, other than a repair, that was refused
	AdvRecordQuarantined    = "record.quarantined"
	AdvRequestRefused       = "request.refused" // a request whose reply subject is no inbox
)

// ResponseType returns the type of an answer to verb, e.g.
// io.sluice.api.v1.subscription_get_response.
func ResponseType(verb string) string {
	return "io.sluice.api.v1." + strings.ReplaceAll(verb, ".", "_") + "_response"
}

// SubscribeRequest is the body of a subscribe: the subscription and how to apply it.
type SubscribeRequest struct {
	Spec
	IfRevision *uint64 `json:"if_revision,omitempty"`
	Restart    bool    `json:"restart,omitempty"`
}

// Head begins every answer.
type Head struct {
	Type  string `json:"type"`
	Error *Error `json:"error,omitempty"`
}

// SubscribeResponse answers subscribe.
type SubscribeResponse struct {
	Head
	Subscription *Subscription `json:"subscription,omitempty"`
	Created      bool          `json:"created"`
	Changed      bool          `json:"changed"`
	// Warnings are what was taken although it may not be what was meant.
	Warnings []Fault `json:"warnings,omitempty"`
}

// UnsubscribeRequest is the optional body of unsubscribe.
type UnsubscribeRequest struct {
	IfRevision *uint64 `json:"if_revision,omitempty"`
}

// UnsubscribeResponse answers unsubscribe.
type UnsubscribeResponse struct {
	Head
	Deleted bool `json:"deleted"`
	// Parked is how many of its events stay parked; nil where that could not be
	// learnt.
	Parked *uint64 `json:"parked,omitempty"`
}

// GetResponse answers subscription.get. Pool is absent while no emitter has
// claimed the subscription; Status is what the pool's owner says right now,
// absent where no owner answers.
type GetResponse struct {
	Head
	Subscription *Subscription `json:"subscription,omitempty"`
	Pool         *Pool         `json:"pool,omitempty"`
	Status       *PoolStatus   `json:"status,omitempty"`
}

// SubscriptionResponse answers subscription.pause and .resume.
type SubscriptionResponse struct {
	Head
	Subscription *Subscription `json:"subscription,omitempty"`
}

// ListRequest is the optional body of subscription.list.
type ListRequest struct {
	Store  string            `json:"store,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	State  string            `json:"state,omitempty"` // a PoolState, or "unclaimed"
	Offset int               `json:"offset,omitempty"`
	Limit  int               `json:"limit,omitempty"` // default 256, at most 1000
}

// StateUnclaimed is the state of a subscription that no emitter has claimed.
const StateUnclaimed = "unclaimed"

// ListedSubscription is one row of a list.
type ListedSubscription struct {
	Subscription
	State string `json:"state"`
}

// ListResponse answers subscription.list, ordered by name.
type ListResponse struct {
	Head
	Total         int                  `json:"total"`
	Offset        int                  `json:"offset"`
	Limit         int                  `json:"limit"`
	Subscriptions []ListedSubscription `json:"subscriptions"`
}

// SeekRequest is the body of subscription.seek.
type SeekRequest struct {
	To     Position `json:"to"`
	DryRun bool     `json:"dry_run,omitempty"`
}

// SeekResponse answers subscription.seek: the next sequence to be read before
// and after, and how many stored events lie between.
type SeekResponse struct {
	Head
	FromSequence uint64 `json:"from_sequence"`
	ToSequence   uint64 `json:"to_sequence"`
	Events       uint64 `json:"events"`
	DryRun       bool   `json:"dry_run,omitempty"`
}

// Quarantined is the body of an entry in the quarantine stream.
type Quarantined struct {
	Bucket   string          `json:"bucket"`
	Key      string          `json:"key"`
	Revision uint64          `json:"revision"`
	Reason   string          `json:"reason"`
	At       time.Time       `json:"at"`
	Value    []byte          `json:"value"`          // as it was, base64 in JSON
	JSON     json.RawMessage `json:"json,omitempty"` // the value, where it is JSON
}

// PoolsRequest is the body of a question on Namespace.EmitterPools.
type PoolsRequest struct {
	Names []string `json:"names,omitempty"` // empty: all
}

// PoolsResponse answers it. Names that the instance does not own are left out.
type PoolsResponse struct {
	Pools []PoolStatus `json:"pools"`
	// At is when it answered, by its own clock.
	At *time.Time `json:"at,omitempty"`
}
