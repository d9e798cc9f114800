package wire

import (
	"encoding/json"
	"time"
)

// Values of ParkedListRequest.Order.
const (
	ParkedNewest = "newest" // parked last, first
	ParkedOldest = "oldest" // parked first, first
)

// ParkedListRequest is the optional body of parked.list.
type ParkedListRequest struct {
	Offset int    `json:"offset,omitempty"`
	Limit  int    `json:"limit,omitempty"` // default 256, at most 1000
	Order  string `json:"order,omitempty"` // default ParkedNewest
	// Match is a pattern over the event document, as in a selector.
	Match json.RawMessage `json:"match,omitempty"`
	// Reason is a leaf of a pattern, over the reason of the park.
	Reason json.RawMessage `json:"reason,omitempty"`
}

// ParkedListResponse answers parked.list. Total and the counts are of all parked
// events that the request asks for, not of the page alone.
type ParkedListResponse struct {
	Head
	Total  int          `json:"total"`
	Offset int          `json:"offset"`
	Limit  int          `json:"limit"`
	Parked []Parked     `json:"parked"`
	Counts ParkedCounts `json:"counts"`
}

// MaxParkedData bounds, in bytes, what a row shows of an event's body, and
// MaxParkedHeaders what it shows of its headers.
const (
	MaxParkedData    = 4 << 10
	MaxParkedHeaders = 8 << 10
)

// Parked is one parked event of a list.
type Parked struct {
	ParkedSequence uint64    `json:"parked_sequence"` // in the parked stream
	Store          string    `json:"store"`
	Sequence       uint64    `json:"sequence"` // in the store
	Subject        string    `json:"subject"`
	Type           string    `json:"type"`
	Stream         string    `json:"stream"`
	Time           time.Time `json:"time"` // when the store stored it
	Reason         string    `json:"reason"`
	Attempts       int       `json:"attempts"`
	ParkedAt       time.Time `json:"parked_at"`
	// History says, of an event that was replayed and parked again, when and why
	// it was parked before, the oldest first.
	History []string `json:"history,omitempty"`
	// Headers are the event's own, as far as deliveries have them.
	Headers map[string]StringList `json:"headers,omitempty"`
	// Data is the body where that is JSON, and DataBase64 where it is not.
	Data       json.RawMessage `json:"data,omitempty"`
	DataBase64 []byte          `json:"data_base64,omitempty"`
	Size       int             `json:"size"` // of the body, in bytes
	// Cut is set where the row does not show all of body and headers.
	Cut bool `json:"cut,omitempty"`
	// Omitted names what could not be parked and is in the store alone: "body",
	// "headers".
	Omitted []string `json:"omitted,omitempty"`
}

// ParkedCounts are how many parked events were found, and which.
type ParkedCounts struct {
	Events   uint64        `json:"events"`
	Bytes    uint64        `json:"bytes"`     // of bodies
	ByReason []ParkedCount `json:"by_reason"` // the ten most frequent
	ByType   []ParkedCount `json:"by_type"`   // likewise
	ByAge    []ParkedCount `json:"by_age"`    // by when they were parked
	// Unjudged counts those of which is not known whether they match: it would
	// be too costly, or what the pattern asks for could not be parked.
	Unjudged uint64 `json:"unjudged,omitempty"`
	// Partial is set where there was no time to look at all of them.
	Partial bool `json:"partial,omitempty"`
}

// ParkedCount is how many events have a reason, a type or an age.
type ParkedCount struct {
	Value  string `json:"value"`
	Events uint64 `json:"events"`
}

// ParkedChoice says which parked events are meant: exactly one of Sequences,
// All, and Match and Reason, which both must hold where both are given.
type ParkedChoice struct {
	// Sequences are those of the store. All parked copies of one are meant.
	Sequences []uint64        `json:"sequences,omitempty"`
	All       bool            `json:"all,omitempty"`
	Match     json.RawMessage `json:"match,omitempty"`
	Reason    json.RawMessage `json:"reason,omitempty"`
}

// ParkedReplayRequest is the body of parked.replay.
type ParkedReplayRequest struct {
	ParkedChoice
	// Deliver is where to deliver instead of the subscription's own target.
	Deliver *Deliver `json:"deliver,omitempty"`
	Rate    int      `json:"rate,omitempty"` // deliveries a second at most; 0 is no limit
	DryRun  bool     `json:"dry_run,omitempty"`
	Confirm string   `json:"confirm,omitempty"`
}

// ParkedReplayResponse answers parked.replay: a dry run with counts, everything
// else with the replay that was made.
type ParkedReplayResponse struct {
	Head
	Replay *Replay `json:"replay,omitempty"`
	// Counts are those of the events that are meant.
	Counts *ParkedCounts `json:"counts,omitempty"`
	// Missing are sequences that were asked for and of which nothing is parked.
	Missing []uint64 `json:"missing,omitempty"`
	Confirm string   `json:"confirm,omitempty"`
}

// ParkedDiscardRequest is the body of parked.discard.
type ParkedDiscardRequest struct {
	ParkedChoice
	DryRun bool `json:"dry_run,omitempty"`
	// Confirm is what a dry run answered. It is needed where that counted more
	// events than may be discarded without.
	Confirm string `json:"confirm,omitempty"`
}

// ParkedDiscardResponse answers parked.discard. Its counts are of what was
// discarded, or of what a dry run found.
type ParkedDiscardResponse struct {
	Head
	DryRun bool         `json:"dry_run,omitempty"`
	Counts ParkedCounts `json:"counts"`
	// Complete is false where there was no time for all: the same request again
	// goes on.
	Complete bool   `json:"complete"`
	Hint     string `json:"hint,omitempty"` // what to do where it is not complete
	// FirstSequence and LastSequence are the lowest and the highest sequence in
	// the store; 0 where no event was found.
	FirstSequence uint64 `json:"first_sequence,omitempty"`
	LastSequence  uint64 `json:"last_sequence,omitempty"`
	// Missing are sequences that were asked for and of which nothing is parked.
	Missing []uint64 `json:"missing,omitempty"`
	// Confirm, of a dry run, is for the request that is to be carried out.
	Confirm string `json:"confirm,omitempty"`
}
