package wire

import (
	"bytes"
	"encoding/json"
	"time"
)

// AnswerKind is what a subscriber says of a delivery.
type AnswerKind int

// The answers, JetStream's own words.
const (
	AnswerAck  AnswerKind = iota // empty, +ACK or any other text
	AnswerNak                    // -NAK, or -NAK {"delay": ns}
	AnswerWPI                    // +WPI: still working
	AnswerTerm                   // +TERM reason
)

// Answer is a subscriber's answer to a delivery.
type Answer struct {
	Kind   AnswerKind
	Delay  time.Duration // with AnswerNak; negative: none was given
	Reason string        // with AnswerTerm
}

// ParseAnswer reads the body of an answer. Whatever it does not know is an
// ack, so that any program that replies at all is a subscriber.
func ParseAnswer(body []byte) Answer {
	switch {
	case len(body) == 0 || bytes.HasPrefix(body, []byte("+ACK")):
		return Answer{Kind: AnswerAck}
	case bytes.HasPrefix(body, []byte("-NAK")):
		a := Answer{Kind: AnswerNak, Delay: -1}
		var opt struct {
			Delay *int64 `json:"delay"`
		}
		if json.Unmarshal(body[len("-NAK"):], &opt) == nil && opt.Delay != nil && *opt.Delay >= 0 {
			a.Delay = time.Duration(*opt.Delay)
		}
		return a
	case bytes.HasPrefix(body, []byte("+WPI")):
		return Answer{Kind: AnswerWPI}
	case bytes.HasPrefix(body, []byte("+TERM")):
		return Answer{Kind: AnswerTerm, Reason: string(bytes.TrimSpace(body[len("+TERM"):]))}
	default:
		return Answer{Kind: AnswerAck}
	}
}
