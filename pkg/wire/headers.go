package wire

// Headers of a delivery.
const (
	HeaderSubscription = "Sluice-Subscription"
	HeaderStore        = "Sluice-Store"
	HeaderSequence     = "Sluice-Sequence"
	HeaderSubject      = "Sluice-Subject"
	HeaderTime         = "Sluice-Time" // RFC 3339 with nanoseconds, UTC
	HeaderAttempt      = "Sluice-Attempt"
	HeaderEpoch        = "Sluice-Epoch"
	HeaderReplay       = "Sluice-Replay"
	// HeaderHops counts how often an event went through Sluice, from 2 on.
	HeaderHops = "Sluice-Hops"
	// HeaderEvent holds all of the above in one value, in the compact form.
	HeaderEvent = "Sluice-Event"
)

// Headers that a parked event carries beside those of its delivery.
const (
	HeaderParkReason = "Sluice-Park-Reason"
	HeaderAttempts   = "Sluice-Attempts"
	HeaderParkedAt   = "Sluice-Parked-At"
	// HeaderParkHistory has, for an event that was parked before, one value for
	// each of the last ten times: when, after how many attempts, and why.
	HeaderParkHistory = "Sluice-Park-History"
	// HeaderParkedBody is "omitted" where event and park headers together
	// exceed the server's max_payload, or the parked stream refused the body:
	// it is then in the store, at Sluice-Sequence.
	HeaderParkedBody = "Sluice-Parked-Body"
	// HeaderParkedHeaders is "omitted" where the parked stream refused the
	// event's own headers: they are in the store too.
	HeaderParkedHeaders = "Sluice-Parked-Headers"

	// Omitted is the value of both.
	Omitted = "omitted"

	// ParkedTooCostly is the reason of an event that could not be judged within
	// the budget of matching.
	ParkedTooCostly = "too costly to judge"
	// ParkedLoop is the reason of an event that went through Sluice MaxHops times.
	ParkedLoop = "loop"
)

// HeaderAdvisory is on each advisory, with what it says (one of Adv…).
const HeaderAdvisory = "Sluice-Advisory"

// HeaderMsgID is the id by which a stream knows a message that it has stored
// before.
const HeaderMsgID = "Nats-Msg-Id"

// Headers of CloudEvents' binary mode that Sluice reads.
const (
	HeaderCEType   = "ce-type"
	HeaderCEID     = "ce-id"
	HeaderCESource = "ce-source"
	// HeaderCESpecVersion says that the event is a CloudEvent, so that the
	// values of its ce- headers are percent-encoded.
	HeaderCESpecVersion = "ce-specversion"
)

// Headers of an error answer, set by the NATS micro framework.
const (
	HeaderServiceError     = "Nats-Service-Error"
	HeaderServiceErrorCode = "Nats-Service-Error-Code"
)
