package wire

import (
	"encoding/json"
	"time"
)

// ExplainRequest is the body of subscription.explain: exactly one of an event
// of the subscription's store, by its sequence, and one that is made up.
type ExplainRequest struct {
	Sequence uint64        `json:"sequence,omitempty"`
	Event    *ExplainEvent `json:"event,omitempty"`
}

// ExplainEvent is an event that is made up. Only Subject is required.
type ExplainEvent struct {
	Subject string                `json:"subject"`
	Headers map[string]StringList `json:"headers,omitempty"`
	Data    json.RawMessage       `json:"data,omitempty"` // any JSON; absent is an empty payload
	Time    *time.Time            `json:"time,omitempty"` // when it was stored; absent is now
}

// ExplainResponse answers subscription.explain. Reasons is empty exactly where
// the event matches. Delivery is there where an event of the store matches.
type ExplainResponse struct {
	Head
	Name     string          `json:"name"`
	Matches  bool            `json:"matches"`
	Reasons  []ExplainReason `json:"reasons"`
	Event    ExplainedEvent  `json:"event"`
	Delivery ExplainDelivery `json:"delivery,omitempty"`
}

// ExplainReason is why one member of a selector does not hold for an event. The
// texts are for people, and cut where they are long.
type ExplainReason struct {
	Member string `json:"member"` // e.g. selector.by_event_payload
	// Path is where in the event document, or in the payload for
	// selector.by_event_payload; empty for all of it.
	Path  string `json:"path"`
	Want  string `json:"want"`  // what the member asks for there
	Found string `json:"found"` // what there is
}

// ExplainedEvent is the event as a selector sees it, without its headers and
// its payload.
type ExplainedEvent struct {
	Store    string    `json:"store"`
	Sequence uint64    `json:"sequence"` // 0 for one that is made up
	Subject  string    `json:"subject"`
	Type     string    `json:"type"`
	Stream   string    `json:"stream"`
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
}

// ExplainDelivery is how far the pool has come with an event that matches.
type ExplainDelivery string

// What the pool's checkpoint says of an event that matches.
const (
	DeliveryFinished    ExplainDelivery = "finished"         // delivered, parked, or passed over: by a seek, or as before the start
	DeliveryPending     ExplainDelivery = "pending"          // read, and not finished
	DeliveryNotYetRead  ExplainDelivery = "not yet read"     // the pool has not come to it
	DeliveryBeforeStart ExplainDelivery = "before the start" // the event is before the start of a subscription that has no pool yet, or asks for a later time
)
