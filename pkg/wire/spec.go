package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Spec is what a user asks for: which events of which store go where.
type Spec struct {
	Store       string            `json:"store"`
	Selector    Selector          `json:"selector"`
	Start       Position          `json:"start"`
	Deliver     Deliver           `json:"deliver"`
	OrderBy     OrderBy           `json:"order_by"`
	PoolSize    PoolSize          `json:"pool_size"`
	AckWait     Duration          `json:"ack_wait"`
	Retry       Retry             `json:"retry"`
	OnExhausted string            `json:"on_exhausted"`
	Breaker     Breaker           `json:"breaker"`
	ExpireAfter Duration          `json:"expire_after"`
	OnGap       string            `json:"on_gap"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// Selector says which events match; all members given must hold.
type Selector struct {
	ByStream       StringList      `json:"by_stream,omitempty"`
	ByEventType    StringList      `json:"by_event_type,omitempty"`
	ByEventPattern json.RawMessage `json:"by_event_pattern,omitempty"`
	ByEventPayload json.RawMessage `json:"by_event_payload,omitempty"`
}

// AllStreams is the by_stream value that selects every event.
const AllStreams = "$all"

// Deliver says where events go and whether they are answered.
type Deliver struct {
	Subject string `json:"subject,omitempty"`
	// Stream names the JetStream stream that captures Subject where it is the
	// target: its publish answer is the ack.
	Stream string `json:"stream,omitempty"`
	// HTTP is the target in place of Subject; nil: there is none.
	HTTP *HTTP  `json:"http,omitempty"`
	Mode string `json:"mode"`
	Ack  string `json:"ack,omitempty"`
	Rate int    `json:"rate,omitempty"` // deliveries a second, at most; 0 is no bound
}

// Values of Deliver.Ack.
const (
	AckAny      = "any"      // every answer that is no failure is an ack
	AckExplicit = "explicit" // only +ACK is
)

// Delivery modes.
const (
	ModeAck     = "ack"     // at least once, each event answered
	ModePublish = "publish" // sent once, no answer waited for
)

// PoolSize bounds how many events a pool may have in delivery at once.
type PoolSize struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// Retry says how often and after which waits a delivery is tried again.
type Retry struct {
	MaxAttempts int      `json:"max_attempts"` // in all; 0 is no limit
	MinBackoff  Duration `json:"min_backoff"`
	MaxBackoff  Duration `json:"max_backoff"`
}

// Breaker configures a pool's circuit breaker.
type Breaker struct {
	Failures int      `json:"failures"` // consecutive ones that open it
	OpenFor  Duration `json:"open_for"`
}

// Values of Spec.OnExhausted.
const (
	ExhaustedPark    = "park"
	ExhaustedParkKey = "park_key"
	ExhaustedBlock   = "block"
)

// Values of Spec.OnGap.
const (
	GapContinue = "continue"
	GapPause    = "pause"
)

// StringList is one string or a list of them.
type StringList []string

// MarshalJSON writes a list of one as a plain string.
func (l StringList) MarshalJSON() ([]byte, error) {
	if len(l) == 1 {
		return Marshal(l[0])
	}
	return Marshal([]string(l))
}

// UnmarshalJSON accepts a string or a list of strings.
func (l *StringList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = StringList{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("want a string or a list of strings")
	}
	*l = many
	return nil
}

// Position is a place in a store: "new", "all", a sequence or a time.
type Position struct {
	Kind     PositionKind
	Sequence uint64    // with PositionSequence; the event at Sequence is included
	Time     time.Time // with PositionTime; events stored at or after Time
}

// PositionKind tells which of its forms a Position has.
type PositionKind int

// The forms of a Position. The zero value is "new".
const (
	PositionNew PositionKind = iota
	PositionAll
	PositionSequence
	PositionTime
)

// MarshalJSON writes the form that the contract shows.
func (p Position) MarshalJSON() ([]byte, error) {
	switch p.Kind {
	case PositionAll:
		return []byte(`"all"`), nil
	case PositionSequence:
		return Marshal(map[string]uint64{"sequence": p.Sequence})
	case PositionTime:
		return Marshal(map[string]string{"time": p.Time.UTC().Format(time.RFC3339Nano)})
	default:
		return []byte(`"new"`), nil
	}
}

// UnmarshalJSON accepts "new", "all", {"sequence": n} and {"time": RFC 3339}.
func (p *Position) UnmarshalJSON(b []byte) error {
	var given struct {
		Sequence *uint64    `json:"sequence"`
		Time     *time.Time `json:"time"`
	}
	word, ok := wordOr(b, &given)
	switch n, t := given.Sequence, given.Time; {
	case word == "new":
		*p = Position{Kind: PositionNew}
	case word == "all":
		*p = Position{Kind: PositionAll}
	case ok && n != nil && *n > 0 && t == nil:
		*p = Position{Kind: PositionSequence, Sequence: *n}
	case ok && t != nil && n == nil:
		*p = Position{Kind: PositionTime, Time: t.UTC()}
	default:
		return errors.New(`want "new", "all", {"sequence": n from 1} or {"time": RFC 3339}`)
	}
	return nil
}

// wordOr reads JSON that is a word, or an object of known members. Ok tells that it
// is such an object.
func wordOr(b []byte, object any) (word string, ok bool) {
	if json.Unmarshal(b, &word) == nil {
		return word, false
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return "", dec.Decode(object) == nil
}

// OrderBy says what the ordering key of an event is.
type OrderBy struct {
	Kind   OrderKind
	Token  int    // with OrderToken: n-th token of the subject, from 1
	Header string // with OrderHeader
}

// OrderKind tells which of its forms an OrderBy has.
type OrderKind int

// The forms of an OrderBy. The zero value is "stream".
const (
	OrderStream OrderKind = iota
	OrderSubject
	OrderNone
	OrderToken
	OrderHeader
)

// MarshalJSON writes the form that the contract shows.
func (o OrderBy) MarshalJSON() ([]byte, error) {
	switch o.Kind {
	case OrderSubject:
		return []byte(`"subject"`), nil
	case OrderNone:
		return []byte(`"none"`), nil
	case OrderToken:
		return Marshal(map[string]int{"token": o.Token})
	case OrderHeader:
		return Marshal(map[string]string{"header": o.Header})
	default:
		return []byte(`"stream"`), nil
	}
}

// UnmarshalJSON accepts the forms of the contract.
func (o *OrderBy) UnmarshalJSON(b []byte) error {
	var given struct {
		Token  *int    `json:"token"`
		Header *string `json:"header"`
	}
	word, ok := wordOr(b, &given)
	switch n, name := given.Token, given.Header; {
	case word == "stream":
		*o = OrderBy{Kind: OrderStream}
	case word == "subject":
		*o = OrderBy{Kind: OrderSubject}
	case word == "none":
		*o = OrderBy{Kind: OrderNone}
	case ok && n != nil && *n > 0 && name == nil:
		*o = OrderBy{Kind: OrderToken, Token: *n}
	case ok && name != nil && *name != "" && n == nil:
		*o = OrderBy{Kind: OrderHeader, Header: *name}
	default:
		return errors.New(`want "stream", "subject", "none", {"token": n from 1} or {"header": name}`)
	}
	return nil
}

// Duration is a time.Duration that JSON writes as "1m30s" and reads as such a
// string or as whole nanoseconds.
type Duration time.Duration

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return Marshal(d.String()) }

func (d Duration) String() string { return time.Duration(d).String() }

// Std returns the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalJSON accepts "1m30s" or whole nanoseconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	var n int64
	err := json.Unmarshal(b, &n)
	if json.Unmarshal(b, &s) == nil {
		var v time.Duration
		v, err = time.ParseDuration(s)
		n = int64(v)
	}
	if err != nil {
		return fmt.Errorf("want a duration such as %q or whole nanoseconds", "1m30s")
	}
	*d = Duration(n)
	return nil
}
