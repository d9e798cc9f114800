package wire

import (
	"fmt"
	"strings"
)

// ErrCode is the err_code of an error answer: stable, for programs to branch on.
type ErrCode int

// The error codes of the contract.
const (
	CodeBadJSON         ErrCode = 300001 // the body is not the JSON asked for
	CodeBadField        ErrCode = 300002 // a field is wrong
	CodeBadDelivery     ErrCode = 300003 // the delivery subject is not allowed
	CodeNoSubscription  ErrCode = 300004 // no such subscription
	CodeNoStore         ErrCode = 300005 // no such store
	CodeConflict        ErrCode = 300006 // the revision moved on
	CodeNeedsRestart    ErrCode = 300007 // the change needs "restart": true
	CodeTooLarge        ErrCode = 300008 // the request is too large
	CodeTooMany         ErrCode = 300009 // too many requests or subscriptions
	CodeUnavailable     ErrCode = 300010 // NATS, JetStream or a leader is away
	CodeInternal        ErrCode = 300011 // a fault of ours
	CodeStoreRetention  ErrCode = 300012 // the store's retention is not limits
	CodeNoReplay        ErrCode = 300013 // no such replay
	CodeNotYetSupported ErrCode = 300014 // this version does not have the verb
	CodeUnconfirmed     ErrCode = 300016 // the confirm value of a dry run is missing or no longer true
)

// Status returns the HTTP-like code that goes with c.
func (c ErrCode) Status() int {
	switch c {
	case CodeBadJSON, CodeBadField, CodeBadDelivery, CodeStoreRetention:
		return 400
	case CodeNoSubscription, CodeNoStore, CodeNoReplay:
		return 404
	case CodeConflict, CodeNeedsRestart, CodeUnconfirmed:
		return 409
	case CodeTooLarge:
		return 413
	case CodeTooMany:
		return 429
	case CodeNotYetSupported:
		return 501
	case CodeUnavailable:
		return 503
	default:
		return 500
	}
}

// Error is the error of an answer. It is also a Go error, so that a service
// can return it and a client can hand it to its user.
type Error struct {
	Code        int     `json:"code"`
	ErrCode     ErrCode `json:"err_code"`
	Description string  `json:"description"`
	Details     []Fault `json:"details,omitempty"`
	// Revision is the current revision, with CodeConflict.
	Revision uint64 `json:"revision,omitempty"`
	// Outcome is "unknown" where a write may or may not have happened.
	Outcome string `json:"outcome,omitempty"`
	// ID names the log line of a fault of ours.
	ID string `json:"id,omitempty"`
	// Limit and Remaining go with CodeTooMany.
	Limit     *int `json:"limit,omitempty"`
	Remaining *int `json:"remaining,omitempty"`
}

// OutcomeUnknown is the Outcome of a write that was sent but not confirmed.
const OutcomeUnknown = "unknown"

// Fault is one thing wrong with a request.
type Fault struct {
	Field  string `json:"field"` // path, e.g. "retry.max_attempts"; "" is the whole body
	Reason string `json:"reason"`
	// ErrCode is the kind of this fault, where a request has several kinds.
	ErrCode ErrCode `json:"err_code,omitempty"`
}

// Errorf returns an error with the given code and description.
func Errorf(code ErrCode, format string, args ...any) *Error {
	return &Error{Code: code.Status(), ErrCode: code, Description: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d)", e.Description, e.ErrCode)
	for i, f := range e.Details {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep)
		if f.Field != "" {
			b.WriteString(f.Field + ": ")
		}
		b.WriteString(f.Reason)
	}
	return b.String()
}

// Is makes errors.Is(err, &Error{ErrCode: c}) true for any error of code c.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.ErrCode == e.ErrCode
}
