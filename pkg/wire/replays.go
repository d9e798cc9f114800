package wire

import (
	"encoding/json"
	"errors"
	"time"
)

// ReplayRequest is the body of replay.start.
type ReplayRequest struct {
	From Position  `json:"from"`
	To   ReplayEnd `json:"to"`
	// Selector narrows the subscription's own: both must hold.
	Selector *Selector `json:"selector,omitempty"`
	// Deliver is where to deliver instead of the subscription's own target.
	Deliver *Deliver `json:"deliver,omitempty"`
	Rate    int      `json:"rate,omitempty"` // deliveries a second at most; 0 is no limit
	DryRun  bool     `json:"dry_run,omitempty"`
	// Confirm is what a dry run answered where it counted many events.
	Confirm string `json:"confirm,omitempty"`
}

// ReplayEnd is the last event of a replay: "now", which is the last one that is
// stored, a sequence, or the last one stored before a time. The zero value is "now".
type ReplayEnd struct {
	Sequence uint64    // included; 0: not given
	Time     time.Time // excluded; zero: not given
}

// MarshalJSON writes the form that the contract shows.
func (e ReplayEnd) MarshalJSON() ([]byte, error) {
	switch {
	case e.Sequence > 0:
		return Marshal(map[string]uint64{"sequence": e.Sequence})
	case !e.Time.IsZero():
		return Marshal(map[string]string{"time": e.Time.UTC().Format(time.RFC3339Nano)})
	default:
		return []byte(`"now"`), nil
	}
}

// UnmarshalJSON accepts "now", {"sequence": n} and {"time": RFC 3339}.
func (e *ReplayEnd) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil && word == "now" {
		*e = ReplayEnd{}
		return nil
	}
	var p Position
	if err := p.UnmarshalJSON(b); err != nil || p.Kind != PositionSequence && p.Kind != PositionTime {
		return errors.New(`want "now", {"sequence": n} or {"time": RFC 3339}`)
	}
	*e = ReplayEnd{Sequence: p.Sequence, Time: p.Time}
	return nil
}

// ReplayState is what has become of a replay.
type ReplayState string

// The states of a replay. The last three are final.
const (
	ReplayPending   ReplayState = "pending" // waits for a replayer that takes it
	ReplayRunning   ReplayState = "running"
	ReplayPaused    ReplayState = "paused"
	ReplayFinished  ReplayState = "finished"
	ReplayFailed    ReplayState = "failed"
	ReplayCancelled ReplayState = "cancelled"
)

// Ended reports whether a replay in this state never goes on.
func (s ReplayState) Ended() bool {
	return s == ReplayFinished || s == ReplayFailed || s == ReplayCancelled
}

// Replay is what lies in the replays bucket under the replay's id, and what
// answers show of it.
type Replay struct {
	Schema int    `json:"schema"`
	ID     string `json:"id"`
	Name   string `json:"name"` // of the subscription
	UID    string `json:"uid"`  // of the subscription, which the replay ends with
	// Generation of the record that the replay was made from. Later changes
	// of the subscription do not change the replay.
	Generation   uint64    `json:"generation"`
	FromSequence uint64    `json:"from_sequence"` // the first one to be read
	ToSequence   uint64    `json:"to_sequence"`   // the last one
	StoreCreated time.Time `json:"store_created"`
	// Spec is what is delivered, and how: the subscription's, with the
	// replay's own target if it has one.
	Spec     Spec      `json:"spec"`
	Selector *Selector `json:"selector,omitempty"` // must hold beside that of Spec
	// Choice is set where parked events are replayed: it says which. The sequences
	// are then those of the parked stream.
	Choice  *ParkedChoice `json:"parked_events,omitempty"`
	MaxRate int           `json:"max_rate,omitempty"` // deliveries a second; 0 is no limit
	State   ReplayState   `json:"state"`
	// Reason says why it does not move, or why it failed, in a sentence.
	Reason     string     `json:"reason,omitempty"`
	Owner      string     `json:"owner,omitempty"` // replayer instance; "" is nobody
	Epoch      uint64     `json:"epoch"`           // the fencing token
	Checkpoint Checkpoint `json:"checkpoint"`
	Gap        *Gap       `json:"gap,omitempty"` // the last range that the store lost before it was read
	ReplayCounts
	ReplayTimes
}

// ReplayCounts are how far a replay is.
type ReplayCounts struct {
	Total     uint64 `json:"total"`               // events to be delivered, as counted at the start
	Estimated bool   `json:"estimated,omitempty"` // Total is an estimate
	Sent      uint64 `json:"sent"`                // deliveries, repeats included
	Finished  uint64 `json:"finished"`            // events that were acked, or sent where no ack is waited for
	Parked    uint64 `json:"parked"`              // events that were given up
	Rate      int    `json:"rate"`                // events a second that finish, lately
}

// ReplayTimes are when what happened to a replay.
type ReplayTimes struct {
	CreatedAt time.Time  `json:"created_at"`
	StartedAt *time.Time `json:"started_at,omitempty"` // when it was first taken
	UpdatedAt time.Time  `json:"updated_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	ETA       *time.Time `json:"eta,omitempty"` // when it may be finished, at the rate that it has lately
}

// ReplayResponse answers replay.start, .get, .cancel, .pause and .resume. A dry
// run has a Preview, everything else a Replay.
type ReplayResponse struct {
	Head
	Replay  *Replay        `json:"replay,omitempty"`
	Preview *ReplayPreview `json:"preview,omitempty"`
	// Changed tells whether the request has changed anything.
	Changed bool `json:"changed"`
	// Confirm is what a start of the same replay has to give back where many
	// events would be sent.
	Confirm string `json:"confirm,omitempty"`
}

// ReplayPreview is what a replay would deliver.
type ReplayPreview struct {
	FromSequence uint64 `json:"from_sequence"`
	ToSequence   uint64 `json:"to_sequence"`
	Events       uint64 `json:"events"`
	Bytes        uint64 `json:"bytes"` // of bodies
	// Exact is false where the range was too large to be read in time. Events is
	// then an estimate, which lies in Low to High with a probability of 95 %.
	Exact   bool          `json:"exact"`
	Low     uint64        `json:"low"`
	High    uint64        `json:"high"`
	Looked  uint64        `json:"looked"`            // events of the store that were read for it
	Costly  uint64        `json:"costly,omitempty"`  // of these, those that are too costly to judge: they would be parked
	First   *ReplayPlace  `json:"first,omitempty"`   // the first event that was found; absent where none was
	Last    *ReplayPlace  `json:"last,omitempty"`    // the last one
	ByType  []ReplayCount `json:"by_type,omitempty"` // the ten most frequent
	ByKey   []ReplayCount `json:"by_key,omitempty"`  // likewise, by ordering key
	Partial bool          `json:"partial,omitempty"` // there are more types or keys than could be counted
}

// ReplayPlace is where an event lies in its store.
type ReplayPlace struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
}

// ReplayCount is how many events have a type or a key.
type ReplayCount struct {
	Value  string `json:"value"`
	Events uint64 `json:"events"`
}

// ReplayListRequest is the optional body of replay.list.
type ReplayListRequest struct {
	Name   string `json:"name,omitempty"`
	State  string `json:"state,omitempty"` // a ReplayState
	Offset int    `json:"offset,omitempty"`
	Limit  int    `json:"limit,omitempty"` // default 256, at most 1000
}

// ReplayListResponse answers replay.list, the newest first.
type ReplayListResponse struct {
	Head
	Total   int      `json:"total"`
	Offset  int      `json:"offset"`
	Limit   int      `json:"limit"`
	Replays []Replay `json:"replays"`
}
