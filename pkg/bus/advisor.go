package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Advisor publishes advisories for one instance. It is best effort: an
// advisory that cannot be sent is logged and dropped, and the caller neither
// waits nor fails. A nil Advisor drops everything.
type Advisor struct {
	nc       *nats.Conn
	ns       wire.Namespace
	instance string
	log      zerolog.Logger
}

// NewAdvisor returns an Advisor that speaks for instance on nc.
func NewAdvisor(nc *nats.Conn, ns wire.Namespace, instance string, log zerolog.Logger) *Advisor {
	return &Advisor{nc: nc, ns: ns, instance: instance, log: log}
}

// Advise says that what (one of wire.Adv…) happened to name: a subscription,
// a role or a record. Detail is a sentence for people, data the numbers.
func (a *Advisor) Advise(what, name, detail string, data map[string]any) {
	a.Publish(what, wire.Advisory{Name: name, Detail: detail, Data: data})
}

// Publish is Advise for an advisory with an error in it. Type, id, timestamp
// and instance are filled in where they are empty.
func (a *Advisor) Publish(what string, adv wire.Advisory) { a.PublishWith(nil, what, adv) }

// PublishWith is Publish for an advisory with headers. Each has
// wire.HeaderAdvisory besides.
func (a *Advisor) PublishWith(h nats.Header, what string, adv wire.Advisory) {
	if a == nil || a.nc == nil {
		return
	}
	m, err := a.message(h, what, adv)
	if err == nil {
		err = a.nc.PublishMsg(m)
	}
	if err != nil {
		a.log.Warn().Err(err).Str("what", what).Str("name", adv.Name).Msg("advisory dropped")
	}
}

// Store is Publish for an advisory that must be kept before anything else is
// done: it returns nil only once the stream of advisories has it.
func (a *Advisor) Store(ctx context.Context, js jetstream.JetStream, what string, adv wire.Advisory) error {
	m, err := a.message(nil, what, adv)
	if err == nil {
		_, err = js.PublishMsg(ctx, m, jetstream.WithExpectStream(a.ns.StreamAdvisories()))
	}
	if err != nil {
		return fmt.Errorf("store the advisory %s of %q: %w", what, adv.Name, jsapi.Full("the stream of advisories", err))
	}
	return nil
}

func (a *Advisor) message(h nats.Header, what string, adv wire.Advisory) (*nats.Msg, error) {
	adv.Type = wire.AdvisoryType(what)
	if adv.ID == "" {
		adv.ID = nuid.Next()
	}
	if adv.Timestamp.IsZero() {
		adv.Timestamp = time.Now().UTC()
	}
	if adv.Instance == "" {
		adv.Instance = a.instance
	}
	body, err := wire.Marshal(adv)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	m := nats.NewMsg(a.ns.Advisory(what, token(adv.Name)))
	maps.Copy(m.Header, h)
	m.Header[wire.HeaderAdvisory] = []string{what}
	m.Data = body
	return m, nil
}

// token makes s one token of a subject, whatever a caller was given as a name.
func token(s string) string {
	if s == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == '.' || r == '*' || r == '>' {
			return '_'
		}
		return r
	}, s)
}

// Quarantine stores q, an entry that could not be read, in the quarantine
// stream of ns. The same revision of the same key is stored once within two
// minutes, so a caller may retry after an error, a timeout included. At
// defaults to now.
func Quarantine(ctx context.Context, js jetstream.JetStream, ns wire.Namespace, q wire.Quarantined) error {
	if q.At.IsZero() {
		q.At = time.Now().UTC()
	}
	if q.JSON == nil && json.Valid(q.Value) {
		q.JSON = q.Value
	}
	body, err := wire.Marshal(q)
	if err != nil {
		return fmt.Errorf("encode quarantined %s/%s: %w", q.Bucket, q.Key, err)
	}
	if limit := js.Conn().MaxPayload(); limit > 0 && int64(len(body)) > limit {
		q.JSON = nil // Value has it
		if body, err = wire.Marshal(q); err != nil {
			return fmt.Errorf("encode quarantined %s/%s: %w", q.Bucket, q.Key, err)
		}
	}
	id := fmt.Sprintf("%s/%s/%d", q.Bucket, q.Key, q.Revision)
	if _, err := js.Publish(ctx, ns.Quarantine(token(q.Bucket)), body, jetstream.WithMsgID(id)); err != nil {
		return fmt.Errorf("quarantine %s: %w", id, jsapi.Full("the quarantine", err))
	}
	return nil
}
