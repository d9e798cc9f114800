package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AnswerKind is what an answer says of a delivery.
type AnswerKind int

// The kinds of answer.
const (
	AnswerNone     AnswerKind = iota // says nothing: as if it had not come
	AnswerAck                        // done
	AnswerNak                        // failed: try again
	AnswerWPI                        // still working
	AnswerTerm                       // park it now
	AnswerNobody                     // reads like the server's own "no responders", which anybody can write
	AnswerCaptured                   // the publish answer of a stream that is not the target: passed over
)

// Answer is what came back for a delivery.
type Answer struct {
	Kind   AnswerKind
	Delay  time.Duration // with AnswerNak, at most MaxNakDelay; negative: none was given
	Reason string        // with AnswerNak why it failed, with AnswerTerm what the subscriber said
}

// Bounds of what a stranger may say.
const (
	MaxNakDelay      = time.Hour
	MaxAnswerReason  = 1024 // bytes of Answer.Reason that are the sender's own
	maxPublishAnswer = 8192 // bytes; JetStream's are far below
)

// ReadAnswer says what an answer to a delivery by d means. Headers that are not
// named in the contract mean nothing.
func (d *Deliver) ReadAnswer(body []byte, header map[string][]string) Answer {
	if noResponders(body, header) {
		return Answer{Kind: AnswerNobody}
	}
	if p, ok := readPublishAnswer(body); ok {
		return p.answer(d.Stream)
	}
	if d.Stream != "" {
		return Answer{Kind: AnswerNone} // only the stream's own answer counts
	}
	if text, failed := headerValue(header, HeaderServiceError); failed {
		return nak("answered with an error", text)
	}
	return d.readText(body)
}

// Empty is what an empty answer means. It is what AnswerNobody means where
// somebody does listen.
func (d *Deliver) Empty() Answer {
	if d.Stream != "" {
		return Answer{Kind: AnswerNone}
	}
	return d.readText(nil)
}

// JetStream's words for the answers of a consumer.
const (
	wordAck  = "+ACK"
	wordNak  = "-NAK"
	wordWPI  = "+WPI"
	wordTerm = "+TERM"
)

func (d *Deliver) readText(body []byte) Answer {
	switch {
	case bytes.HasPrefix(body, []byte(wordNak)):
		return readNak(body[len(wordNak):])
	case bytes.HasPrefix(body, []byte("-")):
		return nak("refused by the subscriber", string(cut(body)))
	case bytes.HasPrefix(body, []byte(wordTerm)):
		return Answer{Kind: AnswerTerm, Reason: reasonText(body[len(wordTerm):])}
	case isWord(body, wordWPI):
		return Answer{Kind: AnswerWPI}
	case d.Ack == AckExplicit && !isWord(body, wordAck):
		return Answer{Kind: AnswerNone}
	}
	return Answer{Kind: AnswerAck}
}

// isWord reports whether the first word of body is word.
func isWord(body []byte, word string) bool {
	rest, ok := bytes.CutPrefix(body, []byte(word))
	return ok && (len(rest) == 0 || rest[0] <= ' ')
}

// readNak reads what follows -NAK: a delay, the reason, or nothing.
func readNak(rest []byte) Answer {
	rest = bytes.TrimSpace(rest)
	if len(rest) == 0 {
		return nak("refused by the subscriber (-NAK)", "")
	}
	if delay, ok := readDelay(rest); ok {
		a := nak("refused by the subscriber (-NAK)", "")
		a.Delay = delay
		return a
	}
	return nak("refused by the subscriber", reasonText(rest))
}

func nak(what, text string) Answer {
	if text = reasonText([]byte(text)); text != "" {
		what += ": " + text
	}
	return Answer{Kind: AnswerNak, Delay: -1, Reason: what}
}

// readDelay reads {"delay": ns}, {"delay": "300ms"} or 300ms. Ok is false where
// it is no delay, or a negative one.
func readDelay(text []byte) (delay time.Duration, ok bool) {
	if len(text) > MaxAnswerReason {
		return 0, false
	}
	if text[0] != '{' {
		return duration(string(text))
	}
	var opt struct {
		Delay json.RawMessage `json:"delay"`
	}
	if json.Unmarshal(text, &opt) != nil || len(opt.Delay) == 0 {
		return 0, false
	}
	var word string
	if opt.Delay[0] == '"' && json.Unmarshal(opt.Delay, &word) == nil {
		return duration(word)
	}
	ns, err := strconv.ParseFloat(string(opt.Delay), 64)
	switch {
	case ns < 0 || err != nil && ns == 0: // too large a number is an error too, and a large one
		return 0, false
	case ns > float64(MaxNakDelay):
		return MaxNakDelay, true
	}
	return time.Duration(ns), true
}

func duration(word string) (delay time.Duration, ok bool) {
	delay, err := time.ParseDuration(word)
	return min(delay, MaxNakDelay), err == nil && delay >= 0
}

// noResponders reports whether an answer reads like the one that a server gives
// where nobody listens: no body, the status 503, and nothing else but the
// subject. Anybody can write the same.
func noResponders(body []byte, header map[string][]string) bool {
	if status := header["Status"]; len(body) > 0 || len(status) != 1 || status[0] != "503" {
		return false
	}
	_, subject := header["Nats-Subject"] // servers before 2.11 leave it out
	return len(header) == 1 || len(header) == 2 && subject
}

// publishAnswer is what JetStream answers to a message that it was sent.
type publishAnswer struct {
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Error  *struct {
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// JetStream's own error codes; those of other systems lie outside.
const (
	minJetStreamError = 10000
	maxJetStreamError = 29999
)

func readPublishAnswer(body []byte) (p publishAnswer, ok bool) {
	trimmed := bytes.TrimSpace(body[:min(len(body), maxPublishAnswer+1)])
	if len(trimmed) == 0 || trimmed[0] != '{' || len(body) > maxPublishAnswer || json.Unmarshal(body, &p) != nil {
		return p, false
	}
	if e := p.Error; e != nil {
		return p, e.ErrCode >= minJetStreamError && e.ErrCode <= maxJetStreamError
	}
	return p, p.Stream != "" && p.Seq > 0
}

// answer is what the publish answer means where target, if not empty, names the
// stream that events are delivered to.
func (p publishAnswer) answer(target string) Answer {
	switch {
	case target == "" || p.Stream != "" && p.Stream != target:
		return Answer{Kind: AnswerCaptured}
	case p.Error != nil:
		return nak(fmt.Sprintf("stream %s refused it (%d)", target, p.Error.ErrCode), p.Error.Description)
	}
	return Answer{Kind: AnswerAck}
}

// headerValue returns the first value of a header, in any case.
func headerValue(header map[string][]string, name string) (value string, ok bool) {
	for k, values := range header {
		if strings.EqualFold(k, name) {
			if len(values) > 0 {
				value = values[0]
			}
			return value, true
		}
	}
	return "", false
}

// reasonText makes a reason of what a stranger wrote: valid UTF-8 of at most
// MaxAnswerReason bytes.
func reasonText(b []byte) string {
	return strings.TrimSpace(strings.ToValidUTF8(string(cut(bytes.TrimLeft(b, " \t\r\n"))), ""))
}

func cut(b []byte) []byte { return b[:min(len(b), MaxAnswerReason)] }
