package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/sluicehq/sluice/pkg/wire"
)

// ErrNoInbox is the error for an answer that was asked for on a subject that
// is no inbox.
var ErrNoInbox = errors.New("the reply subject is no inbox")

// Responder sends all answers of one instance, to inboxes only (wire.IsInbox).
// What asks for an answer elsewhere is refused, counted, and told by the
// advisory request.refused, one for all refusals of a second.
//
// It is safe for concurrent use.
type Responder struct {
	nc       *nats.Conn
	refusals *refusals
}

// ResponderConfig says for whom a Responder answers. The zero value counts and
// tells nothing.
type ResponderConfig struct {
	Service string // one of wire.Service…
	Advisor *Advisor
	Meter   metric.Meter
	Log     zerolog.Logger
}

// NewResponder returns a Responder that answers on nc. The inboxes of nc are
// inboxes for it too.
func NewResponder(nc *nats.Conn, cfg ResponderConfig) (*Responder, error) {
	if cfg.Meter == nil {
		cfg.Meter = noop.NewMeterProvider().Meter("")
	}
	count, err := cfg.Meter.Int64Counter("replies.refused", metric.WithUnit("{reply}"),
		metric.WithDescription("Answers asked for on subjects that are no inboxes, by service."))
	if err != nil {
		return nil, fmt.Errorf("count refused replies: %w", err)
	}
	return &Responder{nc: nc, refusals: &refusals{
		cfg: cfg, count: count, closed: make(chan struct{}),
		by: metric.WithAttributes(attribute.String("service", cfg.Service)),
	}}, nil
}

// On returns a Responder that answers on nc and counts with r.
func (r *Responder) On(nc *nats.Conn) *Responder { return &Responder{nc: nc, refusals: r.refusals} }

// Close tells of what was refused in the last second. What comes later is
// counted only.
func (r *Responder) Close() { r.refusals.close() }

// Accepts reports whether m may be carried out: whether it asks for no answer,
// or for one in an inbox. Else m is counted as refused.
func (r *Responder) Accepts(m *nats.Msg) bool {
	if m.Reply == "" || wire.IsInbox(m.Reply, r.nc.Opts.InboxPrefix) {
		return true
	}
	r.refusals.add(m)
	return false
}

// Answer sends the answer that m asks for, if it asks for one. Where it asks
// for it elsewhere than in an inbox, m is counted as refused and the error is
// ErrNoInbox.
func (r *Responder) Answer(m *nats.Msg, body []byte, header nats.Header) error {
	switch {
	case m.Reply == "":
		return nil
	case !r.Accepts(m):
		return ErrNoInbox
	}
	return r.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Data: body, Header: header})
}

// tellEvery is how long refusals are gathered for one advisory.
const tellEvery = time.Second

// refusals counts and tells what was refused.
type refusals struct {
	cfg   ResponderConfig
	count metric.Int64Counter
	by    metric.MeasurementOption

	closed  chan struct{}
	telling sync.WaitGroup

	mu    sync.Mutex
	n     int    // not told yet
	asked string // the subject of the last one
	reply string // and where it wanted its answer
	ended bool
}

func (f *refusals) add(m *nats.Msg) {
	f.count.Add(context.Background(), 1, f.by)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || f.cfg.Advisor == nil {
		return
	}
	f.n++
	f.asked, f.reply = shown(m.Subject), shown(m.Reply)
	if f.n == 1 {
		f.telling.Go(f.tellSoon)
	}
}

// tellSoon tells what was gathered within tellEvery.
func (f *refusals) tellSoon() {
	soon := time.NewTimer(tellEvery)
	defer soon.Stop()
	select {
	case <-soon.C:
	case <-f.closed:
	}
	f.mu.Lock()
	n, asked, reply := f.n, f.asked, f.reply
	f.n = 0
	f.mu.Unlock()
	f.cfg.Log.Warn().Int("count", n).Str("subject", asked).Str("reply", reply).Msg("requests refused, their reply subjects are no inboxes")
	f.cfg.Advisor.Advise(wire.AdvRequestRefused, f.cfg.Service,
		fmt.Sprintf("%d requests wanted their answers elsewhere than in an inbox", n),
		map[string]any{"count": n, "subject": asked, "reply": reply})
}

func (f *refusals) close() {
	f.mu.Lock()
	if !f.ended {
		f.ended = true
		close(f.closed)
	}
	f.mu.Unlock()
	f.telling.Wait()
}

// maxShown bounds what is shown of a stranger's subject, in bytes.
const maxShown = 128

// shown is subject for people. Of an inner subject it is the beginning: the
// rest of an answer's subject is what makes it hard to forge.
func shown(subject string) string {
	if strings.HasPrefix(subject, wire.InternalPrefix) {
		tokens := strings.SplitN(subject, ".", 4)
		subject = strings.Join(tokens[:min(len(tokens), 3)], ".") + ".…"
	}
	return HeaderText(subject, maxShown)
}

// HeaderText makes s fit for a header: one line of valid UTF-8 of at most
// limit bytes, and "…" where it was cut.
func HeaderText(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
