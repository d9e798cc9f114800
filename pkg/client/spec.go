package client

import (
	"encoding/json"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Spec is what a subscribe asks for. Only what is set is sent and the
// registry fills in the rest, so the zero value of a field means its default,
// also when a subscription that exists is changed. To change one field of
// such a subscription start from [SpecOf].
type Spec struct {
	// Store is the JetStream stream that holds the events. Required.
	Store string `json:"store,omitempty"`
	// Selector says which events match. At least one of its fields is required.
	Selector Selector `json:"selector,omitzero"`
	// Start is the first event to deliver: see [FromNew], [FromAll],
	// [FromSequence] and [FromTime].
	// Defaults to new ones.
	Start wire.Position `json:"start,omitzero"`
	// Deliver says where events go.
	Deliver Deliver `json:"deliver,omitzero"`
	// OrderBy is what the ordering key of an event is. Defaults to its stream.
	OrderBy wire.OrderBy `json:"order_by,omitzero"`
	// PoolSize bounds the events in delivery at once. Defaults to 16 and 1024.
	PoolSize PoolSize `json:"pool_size,omitzero"`
	// AckWait is how long a delivery may stay unanswered, 100ms to 1h.
	// Defaults to 30s.
	AckWait time.Duration `json:"ack_wait,omitzero"`
	// Retry says how often and after which waits a delivery is tried again.
	Retry Retry `json:"retry,omitzero"`
	// OnExhausted is one of wire.ExhaustedPark (the default),
	// wire.ExhaustedParkKey and wire.ExhaustedBlock.
	OnExhausted string `json:"on_exhausted,omitempty"`
	// Breaker configures the pool's circuit breaker.
	Breaker Breaker `json:"breaker,omitzero"`
	// ExpireAfter makes the subscription ephemeral: it is removed once it has
	// had no subscriber for this long. Defaults to 0, which is never.
	ExpireAfter time.Duration `json:"expire_after,omitzero"`
	// OnGap is wire.GapContinue (the default) or wire.GapPause.
	OnGap string `json:"on_gap,omitempty"`
	// Labels are up to 16 pairs, shown in reports.
	Labels map[string]string `json:"labels,omitempty"`
}

// Selector says which events match; all fields given must hold.
type Selector struct {
	// ByStream are subject filters, any of which must match; wire.AllStreams
	// is every event.
	ByStream []string `json:"by_stream,omitempty"`
	// ByEventType are event types, one of which must be the event's.
	ByEventType []string `json:"by_event_type,omitempty"`
	// ByEventPattern is a pattern over the event document: anything that
	// encodes as a JSON object, a json.RawMessage included.
	ByEventPattern any `json:"by_event_pattern,omitempty"`
	// ByEventPayload is a pattern over the JSON payload.
	ByEventPayload any `json:"by_event_payload,omitempty"`
}

// Deliver says where events go and whether they are answered.
type Deliver struct {
	// Subject is a literal subject. Required, unless HTTP is given.
	Subject string `json:"subject,omitempty"`
	// Stream names the JetStream stream that captures Subject where it is the
	// target: its publish answer is the ack.
	Stream string `json:"stream,omitempty"`
	// HTTP has events posted to a URL, in place of Subject.
	HTTP *HTTP `json:"http,omitempty"`
	// Mode is wire.ModeAck (the default) or wire.ModePublish.
	Mode string `json:"mode,omitempty"`
	// Ack is wire.AckAny (the default) or wire.AckExplicit.
	Ack string `json:"ack,omitempty"`
	// Rate bounds the deliveries a second, further attempts included. Defaults to 0,
	// no bound.
	Rate int `json:"rate,omitempty"`
}

// HTTP says which URL events are posted to, and how.
type HTTP struct {
	// URL is where to. Required.
	URL string `json:"url,omitempty"`
	// Method is POST (the default), PUT or PATCH.
	Method string `json:"method,omitempty"`
	// Headers are sent with each request. They are no place for secrets.
	Headers map[string]string `json:"headers,omitempty"`
	// Timeout is how long an answer may take, 100ms to AckWait. Defaults to 10s,
	// or to AckWait if that is less.
	Timeout time.Duration `json:"timeout,omitzero"`
	// SecretRef names the secret of the emitter that requests are signed with.
	SecretRef string `json:"secret_ref,omitempty"`
}

// PoolSize bounds how many events may be in delivery at once, 1 to 65536.
type PoolSize struct {
	Min int `json:"min,omitzero"` // defaults to 16
	Max int `json:"max,omitzero"` // defaults to 1024
}

// Retry says how often and after which waits a delivery is tried again.
type Retry struct {
	// MaxAttempts is the number of attempts in all. Nil is the default of 5;
	// new(0) is no limit.
	MaxAttempts *int `json:"max_attempts,omitempty"`
	// MinBackoff and MaxBackoff bound the wait between attempts, which doubles.
	// They default to 1s and 1m.
	MinBackoff time.Duration `json:"min_backoff,omitzero"`
	MaxBackoff time.Duration `json:"max_backoff,omitzero"`
}

// Breaker configures a pool's circuit breaker.
type Breaker struct {
	Failures int           `json:"failures,omitzero"` // consecutive ones that open it; defaults to 5
	OpenFor  time.Duration `json:"open_for,omitzero"` // before it is probed; defaults to 10s
}

// SpecOf returns spec, as an answer shows it, with every field set.
func SpecOf(spec wire.Spec) Spec {
	return Spec{
		Store: spec.Store,
		Selector: Selector{
			ByStream: spec.Selector.ByStream, ByEventType: spec.Selector.ByEventType,
			ByEventPattern: patternOf(spec.Selector.ByEventPattern),
			ByEventPayload: patternOf(spec.Selector.ByEventPayload),
		},
		Start: spec.Start, Deliver: deliverOf(spec.Deliver), OrderBy: spec.OrderBy,
		PoolSize: PoolSize(spec.PoolSize), AckWait: spec.AckWait.Std(),
		Retry: Retry{
			MaxAttempts: &spec.Retry.MaxAttempts,
			MinBackoff:  spec.Retry.MinBackoff.Std(), MaxBackoff: spec.Retry.MaxBackoff.Std(),
		},
		OnExhausted: spec.OnExhausted,
		Breaker:     Breaker{Failures: spec.Breaker.Failures, OpenFor: spec.Breaker.OpenFor.Std()},
		ExpireAfter: spec.ExpireAfter.Std(), OnGap: spec.OnGap, Labels: spec.Labels,
	}
}

func deliverOf(d wire.Deliver) Deliver {
	out := Deliver{Subject: d.Subject, Stream: d.Stream, Mode: d.Mode, Ack: d.Ack, Rate: d.Rate}
	if h := d.HTTP; h != nil {
		out.HTTP = &HTTP{URL: h.URL, Method: h.Method, Headers: h.Headers, Timeout: h.Timeout.Std(), SecretRef: h.SecretRef}
	}
	return out
}

func patternOf(raw json.RawMessage) any {
	if len(raw) == 0 {
		return nil // an interface that holds an empty RawMessage would encode as null
	}
	return raw
}

// FromNew is the position after the last event that the store holds.
func FromNew() wire.Position { return wire.Position{Kind: wire.PositionNew} }

// FromAll is the position of the first event that the store holds.
func FromAll() wire.Position { return wire.Position{Kind: wire.PositionAll} }

// FromSequence is the position of the event with sequence n, from 1.
func FromSequence(n uint64) wire.Position {
	return wire.Position{Kind: wire.PositionSequence, Sequence: n}
}

// FromTime is the position of the first event stored at or after t.
func FromTime(t time.Time) wire.Position {
	return wire.Position{Kind: wire.PositionTime, Time: t}
}

// OrderBySubject orders events of the same subject.
func OrderBySubject() wire.OrderBy { return wire.OrderBy{Kind: wire.OrderSubject} }

// OrderByNone orders nothing: every event is its own key.
func OrderByNone() wire.OrderBy { return wire.OrderBy{Kind: wire.OrderNone} }

// OrderByToken orders events with the same n-th token of the subject, from 1.
func OrderByToken(n int) wire.OrderBy { return wire.OrderBy{Kind: wire.OrderToken, Token: n} }

// OrderByHeader orders events with the same value of the header name.
func OrderByHeader(name string) wire.OrderBy {
	return wire.OrderBy{Kind: wire.OrderHeader, Header: name}
}
